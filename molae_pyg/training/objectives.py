"""Objectives of pre-training, and the Lightning module that minimises one.

An objective is a function from a model and a batch to the terms of a loss.
"""

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from molae_pyg.chem.elements import token_table
from molae_pyg.fingerprint import digest
from molae_pyg.loss import cloze_loss, denoising_loss, distance_pairs
from molae_pyg.models.encoding import ogb_graph
from molae_pyg.models.mol_ae import ClozeOutput
from molae_pyg.models.transformer_m_encoder import ONLY_3D
from molae_pyg.models.uni_mol import UniMolOutput
from molae_pyg.nn.heads import DistanceHead
from molae_pyg.seeds import DROPOUT, number_seed
from molae_pyg.training.schedule import configure_adam
from molae_pyg.training.settings import Pretraining
from molae_pyg.training.trainer import FiniteCheck

#: Takes the model and a batch; returns scalars by name. ``loss`` is minimised, all are logged but
#: ``molecules``, how many molecules count in the means of the logged values (default: all).
Objective = Callable[[nn.Module, Batch], dict[str, Tensor]]


def cloze_objective(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The 3D Cloze Test: the terms of :func:`~molae_pyg.cloze_loss` and three metrics.

    Args:
        model: :class:`~molae_pyg.MolAE`, or a model with the same inputs and outputs.
        batch: Molecules with ``z, pos, batch, drop_mask, pos_noisy`` and, for models that see the
            dropped atoms, ``z_noisy``.

    Returns:
        ``loss``, its seven unweighted terms and, if an atom was dropped, ``token_accuracy`` (share
        of dropped atoms with the right element), ``distance_mae`` and ``coordinate_rmsd`` (Å).
    """
    return _rebuilt(model, batch)


def uni_mol_objective(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Uni-Mol's objective: elements, coordinates and distances of masked and noised atoms.

    Args:
        model: :class:`~molae_pyg.models.UniMol`; its ``rule`` chooses the distances that count.
        batch: As :class:`~molae_pyg.CoordinateNoise` makes it.

    Returns:
        What :func:`cloze_objective` does, without norms of a decoder.
    """
    return _rebuilt(model, batch, self_distances=model.config["rule"] == "2024")


def transformer_m_objective(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Transformer-M's objective: the direction of noise and, if there are labels, a property.

    Args:
        model: :class:`~molae_pyg.models.TransformerM`.
        batch: Molecules with ``z, pos, batch, pos_noisy, mode`` of
            :class:`~molae_pyg.transforms.DenoiseAtoms`, and optionally ``y`` (one number for each
            molecule, NaN: missing, in units of about 1), the graph of
            :func:`~molae_pyg.chem.ogb_graph.add_ogb_graph`, and ``masked`` for a model with
            ``tokens=True``.

    Returns:
        ``loss``, the sum of ``denoising`` (of the molecules that are shown in 3D only) and
        ``property`` (mean absolute error), both divided by the number of molecules of the batch,
        and of ``token``, the mean cross-entropy of masked atoms; ``cosine``, the mean over the
        atoms that count; and ``token_accuracy``.

    Raises:
        ValueError: Atoms are masked, and the model has no head for their elements.
    """
    size, only_3d, graph = batch.num_graphs, batch.mode == ONLY_3D, ogb_graph(batch)  # [B]
    masked = batch.get("masked")
    out = model(batch.z, batch.pos_noisy, batch.batch, graph, batch.mode, size, masked)
    noise = batch.pos_noisy - batch.pos
    each, cosine = denoising_loss(out.direction, noise, batch.batch, size)
    terms = {"denoising": (each * only_3d).sum() / size}
    if batch.get("y") is not None:
        y = batch.y.reshape(size)
        known = ~y.isnan()
        terms["property"] = (out.y - y)[known].abs().sum() / size
    if masked is not None:
        if out.token_logits is None:
            raise ValueError("masked atoms need TransformerM(tokens=True), or leave mask out")
        logits, token = out.token_logits[masked], token_table().to(masked.device)[batch.z[masked]]
        terms["token"] = F.cross_entropy(logits, token)
    terms["loss"] = sum(terms.values())
    no_token = out.token_logits is not None and masked is None
    if graph is None or "property" not in terms or no_token:
        # Several processes need a gradient of every parameter, also where an input is missing.
        terms["loss"] = terms["loss"] + 0 * sum(p.sum() for p in model.parameters())
    counts = only_3d[batch.batch]  # [N]
    if counts.any():
        terms["cosine"] = cosine[counts].detach().mean()
    if masked is not None:
        terms["token_accuracy"] = (logits.argmax(1) == token).float().mean()
    return terms


def _rebuilt(model: nn.Module, batch: Batch, self_distances: bool = False) -> dict[str, Tensor]:
    """The terms and metrics of atoms that a model rebuilds."""
    size = getattr(batch, "num_graphs", None)  # Data does not know it
    out = model(
        batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy,
        batch.get("z_noisy"), size,
    )  # fmt: skip
    return rebuilt_terms(out, batch, self_distances)


def rebuilt_terms(
    out: ClozeOutput | UniMolOutput, batch: Data, self_distances: bool = False
) -> dict[str, Tensor]:
    """Loss, terms and metrics of atoms that were rebuilt, see :func:`cloze_objective`.

    The arguments are those of :func:`~molae_pyg.cloze_loss`.
    """
    size = getattr(batch, "num_graphs", None)
    terms = cloze_loss(out, batch, self_distances)
    terms["loss"] = terms.pop("total")
    drop = batch.drop_mask.nonzero().squeeze(1)  # [M]
    if len(drop) == 0:
        return terms
    with torch.no_grad():
        token = token_table().to(drop.device)[batch.z[drop]]  # [M]
        predicted, true, valid = distance_pairs(
            out.distance, batch.pos, batch.batch, drop, batch_size=size
        )
        error = (predicted - true).abs() * DistanceHead.STD  # Å [M, L]
        moved = (out.pos - batch.pos)[drop]  # Å [M, 3]
        terms["token_accuracy"] = (out.token_logits.argmax(1) == token).float().mean()
        terms["distance_mae"] = error.where(valid, 0.0).sum() / valid.sum()
        terms["coordinate_rmsd"] = moved.pow(2).sum(1).mean().sqrt()
    return terms


def objective_identity(objective: Objective) -> dict[str, Any]:
    """Returns what makes an objective the same: the function's qualified name and its settings.

    Settings are the arguments after the model and the batch, with the values that
    :func:`functools.partial` or the function gives them.

    Raises:
        ValueError: The objective is not a function, or a setting has no value or one that cannot
            be identified in another process.
    """
    is_partial = isinstance(objective, functools.partial)
    function = objective.func if is_partial else objective
    if not inspect.isfunction(function):
        raise ValueError(
            "objective must be a function (model, batch) -> dict of terms, or a functools.partial "
            f"of one, got {function!r:.80}"
        )
    name = f"{function.__module__}.{function.__qualname__}"
    if inspect.unwrap(function).__closure__ or (is_partial and objective.args):
        raise ValueError(
            f"the settings of the objective {name} are unknown, as they have no names: make them "
            "arguments after (model, batch) and use functools.partial(objective, name=value)"
        )
    settings = {}
    for argument in list(inspect.signature(objective).parameters.values())[2:]:
        value = argument.default
        is_plain = value is None or isinstance(value, bool | int | float | str)
        try:
            settings[argument.name] = value if is_plain else digest(value)
        except TypeError as error:
            raise ValueError(
                f"the objective {name} needs a value of {argument.name!r} that is a number, text, "
                f"tensor or list: {error}"
            ) from None
    return {"function": name, "settings": settings}


class PretrainingModule(L.LightningModule):
    """Lightning's view of a model and an objective.

    Batches have a number (:class:`~molae_pyg.training.PretrainingData`). It seeds dropout and all
    else that the model and the objective draw, so that a resumed run, or one on several processes,
    draws what an uninterrupted single process draws.

    Args:
        model: The bare model.
        objective: See :func:`~molae_pyg.training.pretrain`.
        settings: Learning rate, weight decay, warm-up and number of updates are used.
        seed: Seed of dropout, default: 0.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, settings: Pretraining, seed: int = 0
    ):
        super().__init__()
        self.model, self.objective, self.settings, self.seed = model, objective, settings, seed
        # Molecules seen by all processes and seconds spent on them; checkpoints contain both.
        self.register_buffer("molecules", torch.zeros((), dtype=torch.long))
        self.register_buffer("seconds", torch.zeros((), dtype=torch.double))
        self._last_batch: float | None = None
        self._check = FiniteCheck(model)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the terms of a batch, scalars by name.

        Raises:
            ValueError: The objective returned no ``loss``, or one that is not a scalar.
        """
        terms = self.objective(self.model, batch)
        if not isinstance(terms, dict) or getattr(terms.get("loss"), "shape", None) != ():
            raise ValueError(
                "the objective must return a dict of scalar tensors with the key 'loss', got "
                f"{terms!r:.200}"
            )
        return terms

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(number_seed(self.seed, batch.number, DROPOUT))
        terms = self(batch)
        lr = self.optimizers().param_groups[0]["lr"]
        self._check(terms["loss"], batch, lr, terms)
        self._log("train", terms, batch)
        self.log("lr", lr)
        self._log_progress(batch.num_graphs)
        return terms["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(number_seed(0, batch.number, DROPOUT))  # for objectives that draw
        self._log("val", self(batch), batch)

    def _log(self, split: str, terms: dict[str, Tensor], batch: Batch) -> None:
        """Logs all terms, ``loss`` under the name ``total``, and nothing of no molecule."""
        batch_size = int(terms.pop("molecules", batch.num_graphs))
        if batch_size == 0:
            return
        values = {
            f"{split}_{'total' if name == 'loss' else name}": value.detach()
            for name, value in terms.items()
        }
        # In training the first process logs its own values: a reduction costs a message each.
        self.log_dict(values, batch_size=batch_size, sync_dist=split == "val")

    def _log_progress(self, num_graphs: int) -> None:
        """Logs molecules and seconds so far, and the rate since the last batch."""
        count = self.molecules.new_tensor(num_graphs)
        count = self.trainer.strategy.reduce(count, reduce_op="sum")
        self.molecules += count
        now = time.perf_counter()
        if self._last_batch is not None:
            self.seconds += now - self._last_batch
            self.log("molecules_per_second", count / (now - self._last_batch))
        self._last_batch = now
        self.log("molecules", self.molecules.float())
        self.log("seconds", self.seconds.float())

    def on_validation_start(self) -> None:
        self._check.finish()  # before a checkpoint is saved

    def on_validation_end(self) -> None:
        self._last_batch = None  # the rate does not count the time of a validation

    def on_train_end(self) -> None:
        self._check.finish()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, **_) -> None:
        """Clips as Lightning does, and logs the norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)
        self.log("train_grad_norm", norm)

    def configure_optimizers(self):
        s = self.settings
        return configure_adam(self.model, s.lr, s.weight_decay, s.steps, s.warmup_steps)


class ClozeModule(PretrainingModule):
    """:class:`PretrainingModule` with the objective of the 3D Cloze Test.

    Its arguments are explained in :class:`~molae_pyg.training.Pretraining`.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float = 1e-4,
        weight_decay: float = 1e-4,
        warmup_steps: int = 10_000,
        total_steps: int = 1_000_000,
        seed: int = 0,
    ):
        rate = {"lr": lr, "weight_decay": weight_decay, "warmup_steps": warmup_steps}
        settings = Pretraining(steps=total_steps, **rate)
        super().__init__(model, cloze_objective, settings, seed)
