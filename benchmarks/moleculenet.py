"""Which model is best on MoleculeNet, new runs beside those of an earlier commit?

    python benchmarks/moleculenet.py runs/moleculenet         # the tables, also as tables.md
    python benchmarks/moleculenet.py runs/moleculenet --pack  # and the archives
    python benchmarks/moleculenet.py runs/moleculenet --model mol-ae uni-mol  # of these alone
    python benchmarks/moleculenet.py runs/moleculenet --against mol-ae uni-mol  # its gains, too

Method: runs of `molae compare`, on the same splits. A model that has no runs in the folder is read
from its archive in results/moleculenet, if its test rows are those of the new runs. Ranks and bold
type are those of `molae_pyg.evaluation.report`. An archive has no SMILES and no labels.
"""

import argparse
import io
import json
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from molae_pyg.evaluation import score_tables as tables
from molae_pyg.evaluation.report import load
from molae_pyg.evaluation.runs import PREDICTIONS, RESULT

ARCHIVES = Path(__file__).resolve().parent / "results" / "moleculenet"
PACKED = (RESULT, PREDICTIONS, "metrics.csv")


def archived(protocol: str, name: str, new: tables.Runs, place: Path) -> tables.Runs:
    """Returns archived runs of a data set by model, with the labels of the runs ``new``.

    Raises:
        ValueError: If no new run has the test rows of an archived one.
    """
    archive = ARCHIVES / f"{protocol}-{name}.tar.xz"
    if not archive.is_file():
        return {}
    with tarfile.open(archive) as packed:
        packed.extractall(place, filter="data")
    labelled, found = {}, defaultdict(list)
    for run in {run["split_sha256"]: run for runs in new.values() for run in runs}.values():
        rows = _rows(run["folder"])
        labelled[_test(rows)] = run, rows[[f"{task} true" for task in run["task_names"]]]
    for file in sorted((place / protocol / name).glob(f"*/*/{RESULT}")):
        run, rows = json.loads(file.read_text()), _rows(file.parent)
        if _test(rows) not in labelled:
            raise ValueError(f"{archive}: {file.relative_to(place)} has other test rows")
        beside, labels = labelled[_test(rows)]
        rows.join(labels).to_csv(file.with_name(PREDICTIONS))
        same = {key: beside[key] for key in ("task_names", "task_types", "scale", "split_sha256")}
        run |= {**same, "folder": file.parent, "files": {PREDICTIONS: ""}}
        found[run["model"]].append(run)
    return found


def _rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / PREDICTIONS).set_index(["row", "part"])


def _test(rows: pd.DataFrame) -> tuple[int, ...]:
    return tuple(rows.xs("test", level="part").index)


def pack(protocol: str, name: str, models: tables.Runs, earlier: Path) -> None:
    """Writes the archive of a data set: runs, and models that only the earlier archive has."""
    entries: dict[str, bytes] = {}
    for file in sorted(earlier.glob(f"{protocol}/{name}/*/*/*")):
        if file.parent.parent.name not in models:
            entries[str(file.relative_to(earlier))] = file.read_bytes()
    place = next(iter(models.values()))[0]["folder"].parents[1]
    for file in (place / "integrity.json", *sorted(place.glob("splits/*.json"))):
        entries[f"{protocol}/{name}/{file.relative_to(place)}"] = file.read_bytes()
    for model, runs in models.items():
        for run in runs:
            for file in sorted(run["folder"].iterdir()):
                if file.name in PACKED:
                    at = f"{protocol}/{name}/{model}/{run['folder'].name}/{file.name}"
                    entries[at] = file.read_bytes()
    for at in [at for at in entries if at.endswith(PREDICTIONS)]:
        rows = pd.read_csv(io.BytesIO(entries[at]))
        hidden = [column for column in rows if column == "smiles" or column.endswith(" true")]
        entries[at] = rows.drop(columns=hidden).to_csv(index=False, float_format="%.4g").encode()
    with tarfile.open(ARCHIVES / f"{protocol}-{name}.tar.xz", "w:xz") as packed:
        for at, content in entries.items():
            member = tarfile.TarInfo(at)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


def markdown(table: pd.DataFrame, tied: dict[str, set[str]]) -> str:
    """Returns a table of scores, the best and their equals in bold."""
    lines = [["model", *table.columns], ["---"] * (len(table.columns) + 1)]
    for model, cells in table.iterrows():
        bold = [f"**{v}**" if model in tied.get(c, ()) else v for c, v in cells.items()]
        lines.append([f"`{model}`", *bold])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(
    protocol: str, found: dict[str, tables.Runs], against: Sequence[tuple[str, str]]
) -> list[str]:
    """Returns the tables of a protocol, and the commits of their runs, as paragraphs.

    Gains are those of models with a twin from random weights, and of the pairs ``against``.
    """
    table, tied = tables.score_table(found)
    gains, clear = tables.gain_table(found, [*tables.twins(found), *against])
    averages, cost = tables.ensemble_table(found), tables.cost_table(found)
    commits: dict[str, set[str]] = defaultdict(set)
    for models in found.values():
        for model, runs in models.items():
            commits[model] |= {str(run["environment"]["commit"]) for run in runs}
    text = [f"## {protocol}", markdown(table, tied)]
    if not gains.empty:
        text += ["### Gains, clear ones in bold", markdown(gains, clear)]
    text += ["### Mean prediction of the seeds", markdown(averages, {})]
    text += ["### Cost", markdown(cost, {})]
    return text + [f"- `{m}`: commit {', '.join(sorted(commits[m]))}" for m in sorted(commits)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--pack", action="store_true", help="write the archives, too")
    parser.add_argument("--model", nargs="+", help="rows of the tables; default: all models")
    parser.add_argument(
        "--against",
        nargs=2,
        action="append",
        default=[],
        metavar=("MODEL", "OTHER"),
        help="how much better a row is than another row; may be repeated",
    )
    args = parser.parse_args()
    found, left_out = load(args.runs)
    text = [f"left out: {message}" for message in left_out]
    with tempfile.TemporaryDirectory() as folder:
        shown: dict[str, dict[str, tables.Runs]] = defaultdict(dict)
        for protocol, datasets in found.items():
            for name, models in datasets.items():
                rows = archived(protocol, name, models, Path(folder) / protocol / name) | models
                if chosen := {model: rows[model] for model in args.model or rows if model in rows}:
                    shown[protocol][name] = chosen
        everywhere = {model for of in shown.values() for rows in of.values() for model in rows}
        asked = {*(args.model or ()), *(model for pair in args.against for model in pair)}
        if missing := asked - everywhere:
            parser.error(f"no run of {', '.join(sorted(missing))}")
        for protocol, of in shown.items():
            text += report(protocol, of, [tuple(pair) for pair in args.against])
        if args.pack:
            for protocol, datasets in found.items():
                for name, models in datasets.items():
                    pack(protocol, name, models, Path(folder) / protocol / name)
    args.runs.joinpath("tables.md").write_text("\n\n".join(text) + "\n")
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
