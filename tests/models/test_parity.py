"""Every recorded output of the reference, tiny and base, against ReferenceMolAE and MolAE."""

import json

import goldens
import pytest
import torch
import torch.nn.functional as F

from molae_pyg import MolAE, ReferenceMolAE, cloze_loss
from molae_pyg.models.ablations import dense_kept
from molae_pyg.official_checkpoint import official_name

ATOL = {"tiny": 1e-5, "base": 1e-4}
VARIANTS = [
    "readme",
    "full_input",
    *(
        f"{base}+{flag}"
        for flag in (
            "decoder_no_pe",
            "feed_token_rep_to_decoder",
            "decoder_noise",
            "feed_pair_rep_to_decoder",
        )
        for base in ("readme", "full_input")
    ),
]
LOSS_NAMES = {
    "token": "masked_token_loss",
    "coordinate": "masked_coord_loss",
    "distance": "masked_dist_loss",
    "encoder_x_norm": "encoder_x_norm_loss",
    "encoder_pair_norm": "encoder_delta_pair_repr_norm_loss",
    "decoder_x_norm": "decoder_x_norm_loss",
    "decoder_pair_norm": "decoder_delta_pair_repr_norm_loss",
    "total": "total",
}


class Run:
    """A forward pass with the dense states of both stacks, in the names of the recordings."""

    def __init__(self, model: MolAE, inputs: dict, drop: bool = True):
        self.model, self.inputs, self.data = model, inputs, goldens.batch(inputs)
        data, self.states = self.data, {}
        if not drop:
            data.drop_mask = torch.zeros_like(data.drop_mask)
        hooks = [
            stack.transformer.register_forward_hook(
                lambda _, args, out, name=name: self.states.update(
                    {name: out, f"{name}_in": args[0]}
                )
            )
            for name, stack in (("encoder", model.encoder), ("decoder", model.decoder))
        ]
        self.out = model(data.z, data.pos, data.batch, data.drop_mask, data.pos_noisy, data.z_noisy)
        for hook in hooks:
            hook.remove()
        self.valid = goldens.slots(inputs)[1]  # [B, L]
        self.atom = self.valid.clone()
        self.atom[:, :2] = False
        self.pairs = self.valid[:, :, None] & self.valid[:, None, :]

    def encoded(self) -> dict[str, torch.Tensor]:
        """Encoder tensors, where dropped atoms kept their slots."""
        length = self.valid.size(1)
        bias = self.states["encoder"].pair_in.permute(0, 2, 3, 1)[:, :length, :length]
        entered = self.states["encoder_in"] * self.states["encoder"].mask.unsqueeze(-1)
        named = {
            "gbf_proj_out": bias[self.pairs],
            "encoder_in_emb": entered[:, :length][self.valid],  # recorded as 0 where dropped
        }
        return {**named, **self._stack("encoder", self.model.encoder.pair_norm)}

    def decoded(self) -> dict[str, torch.Tensor]:
        """What has all atoms, also where dropped ones really left the encoder."""
        state, head = self.states["decoder"], self.model.distance_head
        start = torch.zeros(*self.valid.shape, 3)
        start[self.atom] = self.data.pos_noisy
        pos = self.model.coordinate_head(state.delta(), start, state.mask)  # [B, L, 3]
        if isinstance(self.model, ReferenceMolAE):
            pos = pos + self.model.pull(state, start)
        assert torch.allclose(self.out.pos, pos[self.atom], atol=1e-5)
        bias = torch.zeros_like(state.pair) if state.pair_in is None else state.pair_in
        return {
            **self._stack("decoder", self.model.coordinate_head.norm),
            "decoder_in_emb": self.states["decoder_in"][self.valid],
            "decoder_in_bias": bias.permute(0, 2, 3, 1)[self.pairs],
            "logits": self.out.token_logits,
            "encoder_distance": ((head(state.pair) - head.MEAN) / head.STD)[self.pairs],
            "encoder_coord": pos[self.valid],
            "encoder_x_norm": self.out.encoder_x_norm,
            "encoder_delta_norm": self.out.encoder_pair_norm,
            "decoder_x_norm": self.out.decoder_x_norm,
            "decoder_delta_norm": self.out.decoder_pair_norm,
        }

    def _stack(self, name: str, norm: torch.nn.Module) -> dict[str, torch.Tensor]:
        state, length = self.states[name], self.valid.size(1)
        pair = (state.pair * state.mask[:, None, None, :]).permute(0, 2, 3, 1)  # 0 where hidden
        delta = norm(state.delta().permute(0, 2, 3, 1))
        return {
            f"{name}_rep": state.x[:, :length][self.valid],
            f"{name}_pair_rep": pair[:, :length, :length][self.pairs],
            f"{name}_delta_pair_rep": delta[:, :length, :length][self.pairs],
        }

    def recorded(self, name: str) -> dict[str, torch.Tensor]:
        """A recording, tokens and pairs that exist only, in our order of tokens."""
        named = {}
        for key, x in goldens.arrays(name).items():
            if key == "decoder_in_bias":  # [B * H, N, N]
                x = x.unflatten(0, (len(self.valid), -1)).permute(0, 2, 3, 1)
            if key == "logits" or x.dim() == 0:
                named[key] = x
            elif x.dim() == 4 or key == "encoder_distance":
                named[key] = goldens.pairs_in_our_order(x, self.inputs)[self.pairs]
            elif x.dim() == 3 and x.size(0) == len(self.valid):
                named[key] = goldens.tokens_in_our_order(x, self.inputs)[self.valid]
        return named


def compare(mine: dict, theirs: dict, atol: float) -> set[str]:
    """Checks what both have; returns the names, and prints the differences (``pytest -rP``)."""
    names = mine.keys() & theirs.keys()
    for name in sorted(names):
        difference = (mine[name] - theirs[name]).abs().max().item()
        scale = theirs[name].abs().item() if theirs[name].dim() == 0 else 0  # norms: relative
        print(f"{name} max difference {difference:.1e}")
        assert difference <= atol * max(scale, 1.0), f"{name}: {difference:.2e}"
    return names


def cut(inputs: dict, molecules: slice, length: int) -> dict:
    """Some molecules of the batch with less padding."""
    return {
        k: v[molecules, :length, :length] if v.dim() == 3 and v.size(2) != 3
        else v[molecules, :length]
        for k, v in inputs.items()
    }  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_reference_outputs_losses_and_gradients(size, variant):
    recorded = goldens.meta(size)["variants"][variant]
    model = goldens.model(size, recorded["flags"], ReferenceMolAE)
    run = Run(model, goldens.arrays(f"{size}/inputs"))
    theirs = run.recorded(f"{size}/{variant.replace('+', '__')}")
    if "feed_pair" in variant:  # overwritten after the fact, a part of the reshape error
        theirs.pop("encoder_pair_rep", None)
    names = compare({**run.encoded(), **run.decoded()}, theirs, ATOL[size])
    assert names >= {"logits", "encoder_distance", "encoder_coord"}

    losses = cloze_loss(run.out, run.data)
    for ours, official in LOSS_NAMES.items():
        assert losses[ours].item() == pytest.approx(recorded["losses"][official], rel=1e-5), ours

    losses["total"].backward()
    grads = {official_name(k): p.grad for k, p in model.named_parameters()}
    assert grads.keys() == recorded["grad_norms"].keys()
    for name, norm in recorded["grad_norms"].items():
        mine = 0.0 if grads[name] is None else grads[name].norm().item()
        assert mine == pytest.approx(norm or 0.0, rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("variant", ["readme", "full_input"])
def test_every_gradient_entry(variant):
    flags = goldens.meta("tiny")["variants"][variant]["flags"]
    model = goldens.model("tiny", flags, ReferenceMolAE)
    run = Run(model, goldens.arrays("tiny/inputs"))
    cloze_loss(run.out, run.data)["total"].backward()
    mine = {official_name(k): p.grad for k, p in model.named_parameters() if p.grad is not None}
    recorded = goldens.arrays(f"tiny/{variant}_grads")
    assert recorded.keys() == mine.keys()
    for name, grad in recorded.items():
        assert torch.allclose(mine[name], grad, atol=1e-5, rtol=1e-3), name


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_molae_equals_the_reference_but_for_coordinates(size):
    """Atoms that really leave change nothing but the corrected coordinates."""
    recorded = goldens.meta(size)["variants"]["readme"]
    run = Run(goldens.model(size, recorded["flags"]), goldens.arrays(f"{size}/inputs"))
    theirs = run.recorded(f"{size}/readme")
    kept = run.valid.clone()  # the tokens that the encoder of MolAE sees
    kept[run.atom] = ~run.data.drop_mask

    state = run.states["encoder"]
    pairs = state.mask[:, :, None] & state.mask[:, None, :]
    mine = {
        "encoder_rep": state.x[state.mask],
        "encoder_pair_rep": state.pair.permute(0, 2, 3, 1)[pairs],
    }
    kept_pairs = (kept[:, :, None] & kept[:, None, :])[run.pairs]
    visible = {
        "encoder_rep": theirs["encoder_rep"][kept[run.valid]],
        "encoder_pair_rep": theirs["encoder_pair_rep"][kept_pairs],
    }
    assert len(compare(mine, visible, ATOL[size])) == 2
    theirs.pop("encoder_coord")
    assert len(compare(run.decoded(), theirs, ATOL[size])) == (11 if size == "tiny" else 10)

    losses = cloze_loss(run.out, run.data)
    for ours, official in LOSS_NAMES.items():
        if ours not in ("coordinate", "total"):
            expected = recorded["losses"][official]
            assert losses[ours].item() == pytest.approx(expected, rel=1e-5), ours


@pytest.mark.parametrize("name", ["readme__corrected_coord", "readme__corrected_mask"])
def test_corrected_recordings(name):
    """Coordinates that do not see padding; dropped atoms whose distances are really blanked."""
    run = Run(
        goldens.model("tiny", ["encoder_unmasked_tokens_only"]), goldens.arrays("tiny/inputs")
    )
    theirs = run.recorded(f"tiny/{name}")
    if name == "readme__corrected_mask":
        theirs.pop("encoder_coord")  # recorded with the padding error
    assert len(compare(run.decoded(), theirs, 1e-5)) == (1 if "coord" in name else 2)


def test_pairs_fed_to_the_decoder_in_the_right_order():
    run = Run(goldens.model("tiny", ["feed_pair_rep_to_decoder"]), goldens.arrays("tiny/inputs"))
    theirs = run.recorded("tiny/full_input__feed_pair_rep_to_decoder__permuted")
    theirs.pop("encoder_coord")  # recorded with the padding error
    assert len(compare({**run.encoded(), **run.decoded()}, theirs, 1e-5)) == 4


class PermutedPairs(ReferenceMolAE):
    """Dropped atoms keep their slots, but the pair tensor is passed on in the right order."""

    def _decoder_pair(self, enc, test):
        length = test.slots.mask.size(1)
        return (enc.state.pair * enc.state.mask[:, None, None, :])[..., :length, :length]


class PermutedBlankedPairs(PermutedPairs):
    """As above, with distance and pair type of dropped atoms blanked."""

    def _encode(self, test, positions):
        project = self.encoder.pair_bias.project
        visible = dense_kept(test)
        visible = F.pad(visible, (0, self.padded_length(visible.size(1)) - visible.size(1)))
        shown = visible[:, :, None] & visible[:, None, :]
        self.encoder.pair_bias.project = lambda d, t: project(d * shown, t * shown)
        return super()._encode(test, positions)


@pytest.mark.parametrize(
    ("cls", "name"),
    [(PermutedPairs, "permuted"), (PermutedBlankedPairs, "permuted_and_mask_fixed")],
)
def test_pairs_of_kept_slots_in_the_right_order(cls, name):
    flags = ["encoder_unmasked_tokens_only", "feed_pair_rep_to_decoder"]
    run = Run(goldens.model("tiny", flags, cls), goldens.arrays("tiny/inputs"))
    theirs = run.recorded(f"tiny/readme__feed_pair_rep_to_decoder__{name}")
    assert len(compare({**run.encoded(), **run.decoded()}, theirs, 1e-5)) == 5
    official = json.loads((goldens.FOLDER / "tiny/feed_pair_corrected_losses.json").read_text())
    losses = cloze_loss(run.out, run.data)
    for ours, key in LOSS_NAMES.items():
        expected = official[f"readme__feed_pair_rep_to_decoder__{name}"][key]
        assert losses[ours].item() == pytest.approx(expected, rel=1e-5), ours


@pytest.mark.parametrize("molecule", [0, 1, 2])
def test_one_molecule_alone(molecule):
    name = f"tiny/readme__single_{molecule}"
    n = int(goldens.arrays(name)["n"])
    inputs = cut(goldens.arrays("tiny/inputs"), slice(molecule, molecule + 1), n)
    model = goldens.model("tiny", ["encoder_unmasked_tokens_only"], ReferenceMolAE)
    model.pad_to_multiple = 1  # recorded without padding
    run = Run(model, inputs)
    assert len(compare({**run.encoded(), **run.decoded()}, run.recorded(name), 1e-5)) == 17


def test_other_padding():
    model = goldens.model("tiny", ["encoder_unmasked_tokens_only"], ReferenceMolAE)
    model.pad_to_multiple = 1
    run = Run(model, cut(goldens.arrays("tiny/inputs"), slice(None), 17))
    mine = {**run.encoded(), **run.decoded()}
    assert len(compare(mine, run.recorded("tiny/readme__pad17"), 1e-5)) == 17


def test_nothing_masked():
    """The corrupted molecule as it is, no atom hidden: token logits of every atom."""
    run = Run(goldens.model("tiny", [], ReferenceMolAE), goldens.arrays("tiny/inputs"), drop=False)
    theirs = goldens.arrays("tiny/readme__no_mask")
    logits = goldens.tokens_in_our_order(theirs["logits"], run.inputs)[run.atom]
    mine = run.model.token_head(run.states["decoder"].x[run.atom])
    assert torch.allclose(mine, logits, atol=1e-5)
    theirs = run.recorded("tiny/readme__no_mask")
    del theirs["logits"]
    assert len(compare(run.decoded(), theirs, 1e-5)) == 2
