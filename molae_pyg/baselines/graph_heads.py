"""Fine-tuning of GROVER and MoleBLEND, on graphs alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_mean_pool

from molae_pyg.baselines.gin_predictor import labelled_graphs
from molae_pyg.baselines.graphs import GraphModel
from molae_pyg.baselines.grover import Grover, GroverEncoder
from molae_pyg.baselines.job import Fitted, Job, train
from molae_pyg.checkpoint import CONFIG, CheckpointError, saved_class
from molae_pyg.chem.grover_graph import grover_graph
from molae_pyg.chem.ogb_graph import OgbGraphs
from molae_pyg.kinds import TaskTypes
from molae_pyg.models import MoleBlend, PropertyModel, TransformerMEncoder
from molae_pyg.models.encoding import ogb_graph
from molae_pyg.models.transformer_m_encoder import ONLY_2D
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.prelu import PReLU
from molae_pyg.training.property import predict_in_parts

#: Pair cells that MoleBLEND computes at once: 32 molecules of up to 62 atoms.
PAIR_BUDGET = 32 * 64**2
#: Models whose encoder is fine-tuned, by the name in their folders.
_SAVED = {cls.__name__: cls for cls in (Grover, GroverEncoder, MoleBlend)}


class GroverPredictor(GraphModel):
    """A pre-trained GROVER that predicts properties ``[B, O]`` from its vectors of atoms.

    Each view has a head on its mean over atoms, and the prediction is the mean of both. There are
    no descriptors. The official loss is the sum of both heads' losses and 0.1 times their squared
    difference; that of :func:`~molae_pyg.training.finetune` is the loss of the mean.

    Args:
        encoder: The encoder, which is used as it is, or its arguments.
        num_tasks, task_names, task_type, num_classes: See
            :class:`~molae_pyg.models.PropertyModel`.
        dropout: Dropout of the heads, default: 0.1.
    """

    def __init__(
        self,
        encoder: GroverEncoder | Mapping[str, Any],
        num_tasks: int,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
        num_classes: int | Sequence[int] | None = None,
        dropout: float = 0.1,
    ):
        super().__init__(num_tasks, task_names, task_type, num_classes)
        self.encoder = encoder if isinstance(encoder, nn.Module) else GroverEncoder(**encoder)
        C, number = self.encoder.config["hidden_channels"], sum(self.num_outputs)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(dropout),
                nn.Linear(C, C),
                PReLU(),
                nn.Dropout(dropout),
                nn.Linear(C, number),
            )
            for _ in ("atom", "bond")
        )
        self.config = _config(self) | {"dropout": dropout}

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Returns real units or logits ``[B, O]`` of the fields of graphs of ``grover_graph``."""
        views = self.encoder(x, edge_index, edge_attr, of_bonds=False)[:2]
        found = [
            head(global_mean_pool(h, batch)) for head, h in zip(self.heads, views, strict=True)
        ]
        return (found[0] + found[1]) / 2 * self.std + self.mean


class MoleBlendPredictor(PropertyModel):
    """A pre-trained MoleBLEND that predicts properties ``[B, O]`` from graphs alone, as published.

    Args:
        encoder: The encoder of a :class:`~molae_pyg.models.MoleBlend`, which is used as it is, or
            its arguments.
        num_tasks, task_names, task_type, num_classes: See
            :class:`~molae_pyg.models.PropertyModel`.
    """

    def __init__(
        self,
        encoder: TransformerMEncoder | Mapping[str, Any],
        num_tasks: int,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
        num_classes: int | Sequence[int] | None = None,
    ):
        super().__init__(num_tasks, task_names, task_type, num_classes)
        self.encoder = encoder if isinstance(encoder, nn.Module) else TransformerMEncoder(**encoder)
        C = self.encoder.config["hidden_channels"]
        self.head = nn.Sequential(
            nn.Linear(C, C), nn.GELU(), nn.Linear(C, sum(self.num_outputs))
        )  # on the graph token
        self.config = _config(self)

    def forward(self, z: Tensor, pos: None, batch: Tensor, batch_size: int, graph: Graph) -> Tensor:
        """Returns real units or logits ``[B, O]``; coordinates are not shown."""
        nowhere = self.std.new_zeros(z.numel(), 3)
        mode = torch.full((batch_size,), ONLY_2D, device=z.device)
        enc = self.encoder(z, nowhere, batch, batch_size=batch_size, graph=graph, mode=mode)
        return self.head(enc.molecule) * self.std + self.mean

    def more_inputs(self, batch: Batch) -> dict[str, Any]:
        return {"batch_size": batch.num_graphs, "graph": ogb_graph(batch)}

    def on_batch(self, batch: Batch) -> Tensor:
        """Returns real units or logits ``[B, O]`` of graphs of ``OgbGraphs``.

        A batch with a large molecule is computed in parts of molecules of similar size, as the
        shortest paths of n atoms take n^3 steps.
        """
        return predict_in_parts(self, batch, PAIR_BUDGET)

    def predict_batch(self, batch: Batch) -> Tensor:
        return self.probabilities(self.on_batch(batch))


def pre_trained(weights: str) -> nn.Module | None:
    """Returns the saved GROVER or MoleBLEND of a folder; None: the folder is of another model."""
    if not (Path(weights) / CONFIG).is_file() or saved_class(Path(weights)) not in _SAVED:
        return None
    return _SAVED[saved_class(Path(weights))].from_pretrained(weights)


def grover(job: Job) -> Fitted:
    """Fine-tunes the GROVER of the weights that the settings name, or a random one."""
    return _fit(job, GroverPredictor, GroverEncoder, grover_graph)


def mole_blend(job: Job) -> Fitted:
    """Fine-tunes the MoleBLEND of the weights that the settings name, or a random one."""
    return _fit(job, MoleBlendPredictor, TransformerMEncoder, OgbGraphs().graph)


def _fit(
    job: Job,
    predictor: type[PropertyModel],
    encoder: type[nn.Module],
    graph_of: Callable[[str], Data],
) -> Fitted:
    L.seed_everything(job.seed, verbose=False)
    dataset, weights = job.dataset, job.settings["weights"]
    if weights == "random":
        network = encoder(**job.settings.get("model", {}))
    else:
        model = pre_trained(weights)
        source = getattr(model, "encoder", model)
        if not isinstance(source, encoder):
            raise CheckpointError(
                f"{weights} is no folder of a saved model with a {encoder.__name__}: read an "
                "official file by from_official and save it by save_pretrained"
            )
        network = encoder(**source.config)
        if job.settings.get("pretrained", True):
            network.load_state_dict(source.state_dict())
    tasks = (dataset.num_tasks, dataset.task_names, dataset.task_types)
    graphs = labelled_graphs(dataset.smiles, dataset.y, graph_of)
    return train(predictor(network, *tasks), graphs, job)


def _config(model: PropertyModel) -> dict[str, Any]:
    """The arguments that all predictors share."""
    return {
        "encoder": model.encoder.config,
        "num_tasks": len(model.task_names),
        "task_names": model.task_names,
        "task_type": model.saved_task_type,
        **model.saved_classes,
    }
