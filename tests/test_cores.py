import json
import os
import subprocess
import sys

import pytest

from molae_pyg import cores

WAITS = (*cores.SHORT_WAITS, "OMP_WAIT_POLICY")
THREADS = "OMP_NUM_THREADS"


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A folder in the place of that where Linux shows the limits of a container."""
    monkeypatch.setattr(cores, "_GROUPS", tmp_path)
    return tmp_path


def set_limit(groups, version, quota, period=100_000):
    if version == 2:
        (groups / "cpu.max").write_text(f"{quota} {period}\n")
        return
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("version", "quota", "limit"),
    [(2, "max", None), (2, 150_000, 2), (2, 300_000, 3), (1, -1, None), (1, 20_000, 1)],
)
def test_limit_of_a_container(groups, version, quota, limit):
    set_limit(groups, version, quota)
    assert cores.container_limit() == limit


def test_no_container(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4}, raising=False)
    assert cores.container_limit() is None
    assert cores.available_cores() == 3


def test_the_smaller_number_counts(groups, monkeypatch):
    set_limit(groups, 2, 300_000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.available_cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert cores.available_cores() == 1


def test_a_system_without_affinity(groups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cores.available_cores() == 8


def variables_after(code, names=WAITS, **environment):
    """Some variables of a fresh interpreter that ran the code."""
    kept = {name: value for name, value in os.environ.items() if name not in (*WAITS, THREADS)}
    shown = f"print(json.dumps({{n: os.environ[n] for n in {names} if n in os.environ}}))"
    script = f"import json\nimport os\n{code}\n{shown}"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def test_importing_the_package_makes_waits_short():
    assert variables_after("import molae_pyg") == cores.SHORT_WAITS
    assert variables_after("import molae_pyg.cli") == cores.SHORT_WAITS


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}], ids=str)
def test_what_the_user_chose_stays(own):
    assert variables_after("import molae_pyg", **own) == own


def test_nothing_is_said_to_a_torch_that_has_been_loaded():
    code = "import sys\nsys.modules['torch'] = None\nimport molae_pyg"
    assert variables_after(code) == {}


@pytest.mark.parametrize(("own", "threads"), [({}, "2"), ({"OMP_NUM_THREADS": "1"}, "1")])
def test_threads_keep_to_the_limit_of_the_container(groups, own, threads):
    set_limit(groups, 2, 200_000)
    code = (
        "from pathlib import Path\nos.sched_getaffinity = lambda _: range(64)\n"
        f"from molae_pyg import cores\ncores._GROUPS = Path({str(groups)!r})\ncores.share_cores()"
    )
    assert variables_after(code, [THREADS], **own) == {THREADS: threads}
