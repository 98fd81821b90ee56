import numpy as np
import pytest
from torch import nn

from molae_pyg import models
from molae_pyg import nn as layers
from molae_pyg.models import AblatedMolAE, Ablation, MolAE, MolAEEncoder
from molae_pyg.nn import PairBias, PairBiasAttention, PairTransformer, PropertyHead

WRONG_SIZES = [0, -1, 2.0, "2", None, True, [2], float("nan")]
SIZES = ["hidden_channels", "ffn_channels", "heads", "num_gaussians"]


@pytest.mark.parametrize("cls", [MolAE, MolAEEncoder])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", WRONG_SIZES)
def test_sizes_are_positive_integers(cls, name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got"):
        cls(**{"hidden_channels": 8, "ffn_channels": 8, "heads": 2, "num_layers": 1, name: value})


@pytest.mark.parametrize("name", ["num_layers", "num_decoder_layers"])
@pytest.mark.parametrize("value", WRONG_SIZES[1:])
def test_a_stack_may_be_empty_but_not_negative(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 0, got"):
        MolAE(**{"hidden_channels": 8, "ffn_channels": 8, "heads": 2, "num_layers": 1, name: value})
    assert MolAE(8, 8, 2, **{name: 0}).config[name] == 0


@pytest.mark.parametrize("name", ["dropout", "attn_dropout"])
@pytest.mark.parametrize("value", [1, 1.0, -0.1, float("nan"), "0.1", None, True, 10**400])
def test_dropout_is_a_share(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a number in \[0, 1\), got"):
        MolAE(8, 8, 2, 1, 1, **{name: value})


def test_integers_of_numpy_are_integers():
    model = MolAE(*np.array([8, 8, 2, 1, 1]), num_gaussians=np.int32(4))
    assert all(type(model.config[name]) is int for name in (*SIZES, "num_layers"))


@pytest.mark.parametrize("value", [0, -3, 8.0, "8"])
def test_width_of_the_decoder(value):
    with pytest.raises(ValueError, match="decoder_ffn_channels must be an integer"):
        MolAE(8, 8, 2, 1, 1, decoder_ffn_channels=value)


def test_layers_check_their_arguments():
    with pytest.raises(ValueError, match="heads must be an integer"):
        PairBiasAttention(8, 0)
    with pytest.raises(ValueError, match="num_gaussians must be an integer"):
        PairBias(2, 0)
    with pytest.raises(ValueError, match="ffn_channels must be an integer"):
        PairTransformer(8, 0, 2, 1)
    with pytest.raises(ValueError, match="num_tasks must be an integer"):
        PropertyHead(8, 0)


@pytest.mark.parametrize("value", ["none", "true", 1, 0, None])
@pytest.mark.parametrize("name", ["drop", "decoder_position"])
def test_ablations_are_real_bools(name, value):
    for make in (lambda: Ablation(**{name: value}), lambda: AblatedMolAE(
        8, 8, 2, 1, 1, ablation={name: value})):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} must be true or false, got {value!r}"):
            make()


@pytest.mark.parametrize("given", ["none", 3, [("drop", False)], True])
def test_an_ablation_is_a_mapping(given):
    with pytest.raises(TypeError, match="ablation must be a mapping of drop, decoder_position"):
        AblatedMolAE(8, 8, 2, 1, 1, ablation=given)


def test_an_unknown_ablation_is_reported_with_the_known():
    with pytest.raises(TypeError, match="no 'decoder_pos'; the fields are drop, decoder_position"):
        AblatedMolAE(8, 8, 2, 1, 1, ablation={"decoder_pos": False})


# ------------------------------------------------------------------------ how modules are shown

#: Each class with arguments that differ from every default.
SHOWN = [
    "PairGaussian(16, init='intended')",
    "PairBias(4, num_gaussians=16, init='intended')",
    "GraphBias(8, heads=4)",
    "PairBiasAttention(8, heads=4, dropout=0.2)",
    "TransformerLayer(8, ffn_channels=12, heads=4, dropout=0.2, attn_dropout=0.3)",
    "PairTransformer(8, ffn_channels=12, heads=4, num_layers=2, dropout=0.2, attn_dropout=0.3)",
    "SinusoidalPosition(8)",
    "TokenHead(8)",
    "CoordinateHead(4)",
    "DistanceHead(4)",
    "PropertyHead(8, num_tasks=3, dropout=0.2, readout='max')",
    "MolAEEncoder(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, dropout=0.2, "
    "attn_dropout=0.3, gaussian_init='intended', graph=True)",
    "MolAEDecoder(PairTransformer(8, ffn_channels=12, heads=4, num_layers=2, dropout=0.2, "
    "attn_dropout=0.3))",
    *(
        f"{name}(8, ffn_channels=12, heads=4, num_layers=2, num_decoder_layers=3, "
        "num_gaussians=16, dropout=0.2, attn_dropout=0.3, gaussian_init='intended', "
        "decoder_ffn_channels=20, graph=True)"
        for name in ("MolAE", "ChemistryMolAE")
    ),
    *(
        f"{name}(8, ffn_channels=12, heads=4, num_layers=2, num_decoder_layers=3, "
        "num_gaussians=16, dropout=0.2, attn_dropout=0.3, gaussian_init='intended', "
        "ablation={'drop': False, 'decoder_position': False, 'decoder_token': 'encoder', "
        "'decoder_pair': 'noisy', 'position_layer': 4, 'order': 'random'}, "
        "decoder_ffn_channels=20)"
        for name in ("AblatedMolAE", "ReferenceMolAE")
    ),
    "FullMolAE(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, dropout=0.2, "
    "attn_dropout=0.3, gaussian_init='intended', graph=True, num_decoder_layers=3, "
    "decoder_ffn_channels=20)",
    "PositionedEncoder(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, dropout=0.2, "
    "attn_dropout=0.3, gaussian_init='intended', position_layer=1, order='random')",
    "UniMol(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, dropout=0.2, "
    "attn_dropout=0.3, gaussian_init='intended', position=True, rule='2024')",
    "TransformerM(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, dropout=0.3, "
    "attn_dropout=0.2, act_dropout=0.3, drop_path=0.4, reference=False, tokens=True)",
    "TransformerMEncoder(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, "
    "dropout=0.3, attn_dropout=0.2, act_dropout=0.3, drop_path=0.4, reference=True)",
    "MoleBlend(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, dropout=0.3, "
    "attn_dropout=0.2, act_dropout=0.3, drop_path=0.4, direction_channels=8, reference=True)",
    "MolAEPredictor(MolAEEncoder(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, "
    "dropout=0.2, attn_dropout=0.3, gaussian_init='intended', graph=False), num_tasks=2, "
    "pooler_dropout=0.1, readout='sum', task_names=['a', 'b'], "
    "task_type=['regression', 'multiclass'], num_classes=[1, 3])",
    "AtomPredictor(MolAEEncoder(8, ffn_channels=12, heads=4, num_layers=2, num_gaussians=16, "
    "dropout=0.2, attn_dropout=0.3, gaussian_init='intended', graph=True), num_tasks=2, "
    "pooler_dropout=0.1, task_names=['a', 'b'])",
]
NAMES = vars(layers) | vars(models)


@pytest.mark.parametrize("text", SHOWN, ids=lambda text: text.split("(")[0])
def test_a_module_shows_the_call_that_builds_it(text):
    assert repr(eval(text, NAMES.copy())) == text


def test_no_module_is_left_out():
    public = {name for room in (layers, models) for name in room.__all__}
    modules = {name for name in public if issubclass(NAMES[name], nn.Module)} - {"PropertyModel"}
    assert modules == {text.split("(")[0] for text in SHOWN}


def test_a_width_that_is_not_given_is_shown_as_such():
    assert repr(MolAE.tiny()).endswith("decoder_ffn_channels=None, graph=False)")
