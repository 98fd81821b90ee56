"""``report.html`` of a fitted model: one page for a chemist, which needs nothing else."""

import shlex
from pathlib import Path

from molae_pyg.analysis.page import HTML, Answer, Page
from molae_pyg.analysis.training_report import flat
from molae_pyg.evaluation.runs import environment
from molae_pyg.workflow.atoms.model import AtomModel
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.report.atoms import AtomScores, add_atom_target
from molae_pyg.workflow.report.data import add_courses, add_learned, how_estimated
from molae_pyg.workflow.report.estimate import Estimate
from molae_pyg.workflow.report.target import add_target, anchor_of, answer

_NO_ESTIMATE = (
    "One model was trained on all rows: there is no estimate of its error, and predictions have no "
    "intervals. Train with --folds 5 for both."
)
_MACHINE = ("commit", "threads")  # of the environment, which the page does not show


def write_report(model: FittedModel, file: str | Path | None = None) -> Path:
    """Writes the report of a model that has ``metrics.csv``.

    The page is one file without scripts, and loads nothing. It has no date: the same model gives
    the same page.

    Args:
        model: The model.
        file: The page. default: ``report.html`` in the folder of the model.

    Returns:
        The path of the page.

    Raises:
        OSError: ``metrics.csv`` cannot be read, or the page cannot be written.
    """
    name = Path(model.info["name"]).name
    page = Page(f"{name}: what the model can predict", "model report")
    of_atoms, tasks = isinstance(model, AtomModel), range(len(model.targets))
    make, add = (AtomScores, add_atom_target) if of_atoms else (Estimate, add_target)
    estimate = make(model) if model.predictions else None
    if estimate is None:
        page.answers([Answer(target.name, _NO_ESTIMATE, "none") for target in model.targets])
    else:
        page.answers([answer(estimate, task) for task in tasks])
        page.text(how_estimated(model))
    links = [("What was learned from what", "learned")]
    links += [(model.targets[task].name, anchor_of(task)) for task in tasks if estimate]
    links += [("Predict new molecules", "predict"), ("Settings and versions", "settings")]
    page.contents(links)
    add_learned(page, model)
    for task in tasks if estimate else ():
        add(page, estimate, task)
    add_courses(page, model)
    _add_commands(page, model, of_atoms)
    _add_settings(page, model)
    file = model.folder / HTML if file is None else Path(file)
    page.write(file)
    return file


def _add_commands(page: Page, model: FittedModel, of_atoms: bool) -> None:
    page.heading("Predict new molecules", anchor="predict")
    folder = shlex.quote(str(model.folder))
    page.code(f"molae predict {folder} NEW.csv OUT.csv")
    if not of_atoms:
        page.text("What the atoms of new molecules add to their predictions, drawn and as a table:")
        page.code(f"molae explain {folder} NEW.csv OUT.html")
    page.text("In Python:")
    page.code(
        "from molae_pyg.workflow import FittedModel\n"
        f"FittedModel.load({str(model.folder)!r}).predict(['CCO', 'c1ccccc1O'])"
    )


def _add_settings(page: Page, model: FittedModel) -> None:
    page.heading("Settings and versions", anchor="settings")
    identity = dict(model.info["identity"])
    page.facts([*flat(identity.pop("settings")), *flat(model.info["recipe"], "molecules")])
    about = {name: value for name, value in environment().items() if name not in _MACHINE}
    prints = [(f"fingerprint of {name}", value) for name, value in flat(identity)]
    page.facts([*flat(about), *prints])
