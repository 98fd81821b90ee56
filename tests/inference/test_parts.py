"""Parts of a long result, and the resuming of ``embed_file`` from them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from molae_pyg.chem.options import InputError
from molae_pyg.inference.parts import Part, Parts

IDENTITY = {"rows": 2, "level": "molecule"}


def test_parts_come_back_in_order_and_the_folder_goes(tmp_path):
    with Parts(tmp_path / "a.csv", IDENTITY) as parts:
        later = {"a": ["é\ud7ff", ""], "b": [float("nan"), 0.1]}
        parts.add(1, Part(later, {"x": np.zeros((1, 3), np.float32)}))
        parts.add(0, Part({"a": ["x", None], "b": [1, 2]}, {"x": np.ones((2, 3), np.float32)}))
        first, second = parts
        assert (tmp_path / "a.csv.parts").is_dir()
    assert first.columns == {"a": ["x", None], "b": [1, 2]}
    assert first.arrays["x"].dtype == np.float32
    assert second.columns["a"] == ["é\ud7ff", ""]
    assert np.array_equal(second.columns["b"], [float("nan"), 0.1], equal_nan=True)
    assert list(tmp_path.iterdir()) == []


def one_part(folder: Path, error: BaseException) -> None:
    """Writes a part, and then there is an error."""
    with Parts(folder / "a.csv", IDENTITY) as parts:
        parts.add(1, Part({"a": [1]}, {}))
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_parts_stay_after_an_error_and_are_continued(tmp_path, error):
    with pytest.raises(error):
        one_part(tmp_path, error())
    with Parts(tmp_path / "a.csv", IDENTITY) as parts:
        assert parts.done == {1}
        assert 1 in parts
        assert 0 not in parts
        parts.add(0, Part({"a": [2]}, {}))
        assert [part.columns["a"] for part in parts] == [[2], [1]]


def test_parts_of_a_faulty_input_and_empty_folders_go(tmp_path):
    with pytest.raises(InputError):
        one_part(tmp_path, InputError("row 3 is damaged"))
    with pytest.raises(KeyboardInterrupt), Parts(tmp_path / "a.csv", IDENTITY):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_parts_of_another_run_or_process_are_refused(tmp_path):
    with pytest.raises(OSError, match="full"):
        one_part(tmp_path, OSError("full"))
    with pytest.raises(InputError, match=r"a.csv.parts has parts .*: level: 'molecule' there, 'a"):
        Parts(tmp_path / "a.csv", {**IDENTITY, "level": "atom"})
    with Parts(tmp_path / "a.csv", IDENTITY) as parts:
        assert parts.done == {1}
        with pytest.raises(BlockingIOError, match="is taken by this process"):
            Parts(tmp_path / "a.csv", IDENTITY)


KILLED = """
import os, signal, sys
import torch
from molae_pyg import MolAE
from molae_pyg.inference import embed_file
from molae_pyg.inference.parts import Parts

module = sys.modules[embed_file.__module__]
module._AT_ONCE = {"molecule": 3, "atom": 3}
data, out, level, die_at = *sys.argv[1:4], int(sys.argv[4])
add, made = Parts.add, []

def counted(self, *args, **arrays):
    if len(made) == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    made.append(add(self, *args, **arrays))

Parts.add = counted
torch.manual_seed(0)
embed_file(MolAE.tiny().eval(), data, out, level, workers=1)
print(len(made))
"""


def run(data: Path, out: str, level: str, die_at: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", KILLED, data, data.with_name(out), level, str(die_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(("level", "ending"), [("molecule", "csv"), ("atom", "npz")])
def test_a_killed_run_resumes_and_writes_the_same_bytes(tmp_path, level, ending):
    data = tmp_path / "data.smi"
    data.write_text("".join(f"{'C' * n}O\n" for n in range(1, 9)) + "C1CC\nCCN\n")
    assert run(data, f"a.{ending}", level, 2).returncode == -9
    assert sorted(file.name for file in (tmp_path / f"a.{ending}.parts").iterdir()) == [
        *("0000000.npz", "0000001.npz", "lock", "run.json")
    ]
    assert not (tmp_path / f"a.{ending}").exists()
    resumed, whole = run(data, f"a.{ending}", level, 9), run(data, f"b.{ending}", level, 9)
    assert (resumed.stdout, whole.stdout) == ("2\n", "4\n"), resumed.stderr + whole.stderr
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"data.smi", f"a.{ending}", f"b.{ending}"}
