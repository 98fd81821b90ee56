"""Parts of molae embed and molae predict on a real Ray cluster, whose workers are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from molae_pyg import MolAE
from molae_pyg.chem.workers import WorkerPool
from molae_pyg.inference import embed_file, part_jobs
from molae_pyg.inference.part_jobs import PartTask, Plan, make_parts
from molae_pyg.inference.parts import Part, Parts
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit
from molae_pyg.workflow.predicting import predict_file

ROOT = Path(__file__).parents[2]
SMILES = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "C1CC")]
BAD = [row for row, smiles in enumerate(SMILES) if smiles.endswith("1CC")]


class Lengths:
    """A job that needs no model."""

    def start(self, pool: WorkerPool, first: int, records: list[str]):
        return lambda: Part({"length": [len(text) for text in records], "first": first}, {})


def lengths(folder: Path, records, plan: Plan, done=(), calls=None) -> list[dict]:
    with Parts(folder / "out", {}) as parts:
        for number in done:
            parts.add(number, Part({"done": number}, {}))

        def add(number: int, part: Part) -> None:
            if calls is not None:
                calls.append(number)
            parts.add(number, part)

        make_parts(parts, Lengths(), records, plan, add)
        return [part.columns for part in parts]


def test_missing_parts_are_made(tmp_path):
    calls = []
    plan = Plan(2, "local", 1, "counting")
    found = lengths(tmp_path, ["a", "bb", "c", "d", "eee"], plan, [1], calls)
    assert calls == [0, 2]
    assert found == [
        {"length": [1, 2], "first": 0},
        {"done": 1},
        {"length": [3], "first": 4},
    ]


def test_a_bounded_number_of_records_is_read_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(part_jobs, "_AHEAD", 4)
    taken, ahead = [], []

    def records():
        for number in range(20):
            taken.append(number)
            yield str(number)

    with Parts(tmp_path / "out", {}) as parts:

        def add(number: int, part: Part) -> None:
            ahead.append(len(taken) - 2 * number)
            parts.add(number, part)

        make_parts(parts, Lengths(), records(), Plan(2, "local", 1, "counting"), add)
    assert max(ahead) == 6  # those of the part, and four


def test_a_part_that_kills_its_workers_names_its_rows():
    task = PartTask(3, 6, ["a", "b"])
    assert task.split() == []
    with pytest.raises(ChildProcessError, match=r"rows 6 to 7: .* died 3 times .* --part-rows"):
        task.given_up()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with molecules, an encoder and a fitted model."""
    place = tmp_path_factory.mktemp("ray")
    (place / "new.csv").write_text(
        "id,smiles\n" + "".join(f"{n},{s}\n" for n, s in enumerate(SMILES))
    )
    torch.manual_seed(0)
    model = tiny_model().eval()
    model.save_pretrained(place / "w")
    some = SMILES[:2] + SMILES[3:5] + SMILES[6:8] + SMILES[9:11]
    y = torch.tensor([[float(len(smiles))] for smiles in some])
    settings = FitSettings(folds=2, split="random", features="none", weights=str(place / "w"))
    fit(Table(some, y, ["size"], ["regression"]), place / "m", settings)
    return place


def embedded(place: Path, name: str, **how) -> bytes:
    model = MolAE.from_pretrained(place / "w")
    out = place / name
    report = embed_file(model, place / "new.csv", out, num_conformers=2, part_rows=3, **how)
    assert report.rows == {"ok": len(SMILES) - len(BAD), "invalid": len(BAD)}
    assert not place.joinpath(f"{name}.parts").exists()
    return out.read_bytes()


def predicted(place: Path, name: str, **how) -> bytes:
    model = FittedModel.load(place / "m")
    report = predict_file(model, place / "new.csv", place / name, part_rows=4, **how)
    assert report.rows == {"ok": len(SMILES) - len(BAD), "invalid": len(BAD)}
    return (place / name).read_bytes()


VERBS = {"embed": embedded, "predict": predicted}


@pytest.fixture(scope="module")
def local(place) -> dict[str, bytes]:
    """What this process makes."""
    return {verb: run(place, f"local-{verb}.csv", workers=1) for verb, run in VERBS.items()}


def ray_workers() -> list[int]:
    """Returns the Ray workers of this machine that make a part."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::_make_part" in file.read_bytes():
                found.append(int(file.parent.name))
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_ray_worker_loses_no_row_and_makes_none_twice(ray, place, local, verb):
    name = f"killed-{verb}.csv"
    killed, deadline = [], time.monotonic() + 300

    def kill() -> None:
        """Kills one as soon as the first part is done."""
        while not killed and time.monotonic() < deadline:
            if list((place / f"{name}.parts").glob("*.npz")):
                for pid in ray_workers()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    found = VERBS[verb](place, name, engine="ray")
    killer.join()
    assert killed
    assert found == local[verb]


@pytest.mark.skipif(sys.platform != "linux", reason="kills processes")
def test_a_killed_driver_resumes_from_the_parts_of_the_cluster(ray, place, local):
    name = "driver.csv"
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    words = ["embed", "new.csv", name, "--weights", "w", "--conformers", "2", "--part-rows", "3"]
    code = "import sys; from molae_pyg.cli import main; sys.exit(main(sys.argv[1:]))"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--engine", "ray"], cwd=place, env=environment
    )
    parts, deadline = place / f"{name}.parts", time.monotonic() + 600
    while len(list(parts.glob("*.npz"))) < 2 and time.monotonic() < deadline:
        assert driver.poll() is None
        time.sleep(0.001)
    driver.kill()
    driver.wait()
    assert not (place / name).exists()
    done = {file: file.stat().st_mtime_ns for file in parts.glob("*.npz")}
    assert 2 <= len(done) < len(SMILES) / 3
    kept = []

    def check(self, *_) -> None:
        kept.append({file: file.stat().st_mtime_ns for file in done})

    with pytest.MonkeyPatch.context() as patch:
        exit_ = Parts.__exit__
        patch.setattr(Parts, "__exit__", lambda *args: check(*args) or exit_(*args))
        found = embedded(place, name, engine="ray")
    assert kept == [done]  # none of them was made again
    assert found == local["embed"]
