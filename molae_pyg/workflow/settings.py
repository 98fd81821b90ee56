"""Settings of ``molae train``, which are checked before any work starts."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self, get_args

from molae_pyg.chem.options import InputError, Options, named_recipe
from molae_pyg.chem.recipes import DEFAULT_RECIPE, PUBLISHED
from molae_pyg.inference.file_rows import Coordinates
from molae_pyg.model_files import DEFAULT_WEIGHTS
from molae_pyg.nn.arguments import size
from molae_pyg.training import Finetuning
from molae_pyg.workflow.features import CANDIDATES
from molae_pyg.workflow.finetuned import HEAD


@dataclass(frozen=True)
class FitSettings:
    """Settings of :func:`fit`.

    Args:
        folds: Number of folds. 1: one model on all rows, without an estimate. default: 5.
        split: ``"scaffold"`` (default), ``"random"``, or ``"column:NAME"``: rows with the same
            value in that column share a fold.
        frozen: Whether the encoder stays as it is and a read-out is fitted on it, in seconds.
            default: true. Else it is fine-tuned.
        features: Features beside the encoder: ``"none"``, ``"descriptors"``, ``"ecfp"``,
            ``"both"``, or ``"auto"`` (default), which chooses in each fold.
        conformers: Number of conformers of a molecule. default: 1.
        coordinates: ``"generated"`` (default), or ``"file"``: those of the records of an SD file,
            see :func:`~molae_pyg.workflow.molecules_of_sdf`.
        weights: Name of shipped weights, folder (of a saved model, or of an earlier training), or
            official ``.pt`` file. default: ``"molae-graph"``.
        seed: Seed of folds, conformers and initial weights.
        baselines: Whether the forest and the descriptors are fitted on the same folds, too.
            default: true. Else the mean of the labels is the only baseline.
        class_weights: Whether rare classes weigh as much as frequent ones in the fit.
            Probabilities are calibrated all the same. default: False.
        training: Settings of fine-tuning: those of :class:`~molae_pyg.training.Finetuning`,
            ``readout`` and ``pooler_dropout``.
        tune: Number of trials of settings of fine-tuning in each fold, judged on rows inside its
            training rows. default: 0, none.
        recipe: How conformers are made: ``"fast"`` (default), ``"published"`` or ``"flat"``, see
            :func:`~molae_pyg.chem.from_smiles`. The model predicts with the same. Not to be given
            with ``coordinates="file"``.
        extra: Columns of the table that the read-out sees beside the molecule: numbers, words, or
            SMILES of another molecule. default: none.

    Raises:
        ValueError: A setting is unknown or out of range.
    """

    folds: int = 5
    split: str = "scaffold"
    frozen: bool = True
    features: str = "auto"
    conformers: int = 1
    weights: str = DEFAULT_WEIGHTS
    seed: int = 0
    baselines: bool = True
    class_weights: bool = False
    training: dict[str, Any] = field(default_factory=dict)
    tune: int = 0
    coordinates: Coordinates = "generated"
    extra: list[str] = field(default_factory=list)
    recipe: str | None = None

    def __post_init__(self) -> None:
        if self.recipe is None:  # "published" is what a folder keeps if no conformers are made
            kept = PUBLISHED.key if self.coordinates == "file" else DEFAULT_RECIPE
            object.__setattr__(self, "recipe", kept)
        try:
            size("folds", self.folds)
            size("conformers", self.conformers)
            size("seed", self.seed, least=0)
            size("tune", self.tune, least=0)
            Finetuning(**{k: v for k, v in self.training.items() if k not in HEAD})
        except TypeError as error:  # an unknown name
            known = [*HEAD, *Finetuning.__dataclass_fields__]
            raise InputError(f"{error}. Known settings: {', '.join(known)}") from None
        except ValueError as error:
            raise InputError(str(error)) from None
        object.__setattr__(self, "recipe", self.options.recipe)  # with its version
        if self.coordinates == "file" and self.recipe != PUBLISHED.key:
            raise InputError(
                f"recipe {self.recipe!r} makes conformers, and coordinates='file' takes those of "
                "the file: give one of the two"
            )
        if self.features not in CANDIDATES:
            raise InputError(
                f"features must be one of {', '.join(CANDIDATES)}, got {self.features!r}"
            )
        if self.coordinates not in get_args(Coordinates):
            raise InputError(
                f"coordinates must be one of {', '.join(get_args(Coordinates))}, got "
                f"{self.coordinates!r}"
            )
        if self.split not in ("scaffold", "random") and not self.split.startswith("column:"):
            raise InputError(f"split must be scaffold, random or column:NAME, got {self.split!r}")
        if self.training and self.frozen:
            raise InputError(
                f"{', '.join(self.training)}: only fine-tuning has such settings (--finetune)"
            )
        if self.tune and self.frozen:
            raise InputError(
                "only fine-tuning has settings to tune (--finetune): features, kernel and penalty "
                "of the read-out are always chosen by cross-validation inside the training rows"
            )

    @classmethod
    def of(cls, kept: dict[str, Any], **changes: Any) -> Self:
        """Returns settings that :meth:`to_dict` returned, with changes.

        A missing recipe is the published one. It is not taken over for other coordinates.
        """
        found = {"coordinates": "generated"} | kept
        recipe = {"recipe": found.pop("recipe", PUBLISHED.key)}
        if changes.get("coordinates", found["coordinates"]) != found["coordinates"]:
            recipe = {}
        return cls(**found | recipe | changes)

    @property
    def options(self) -> Options:
        """How molecules are made."""
        return Options(self.conformers, seed=self.seed, recipe=self.recipe)

    def to_dict(self) -> dict[str, Any]:
        """Returns what is kept in the folder of the model."""
        return named_recipe(asdict(self))
