"""The command: it starts quickly, calls the functions, and prints errors in one line."""

import gzip
import re
import subprocess
import sys

import pytest
from test_docs import PAGES, commands

from molae_pyg import __version__, store
from molae_pyg.chem.options import InputError
from molae_pyg.chem.records import RecordRefused
from molae_pyg.cli import main, make_parser
from molae_pyg.store import preparation


@pytest.fixture
def calls(monkeypatch):
    """The settings that ``prepare`` is called with."""
    found = []
    monkeypatch.setattr(store, "prepare", lambda **settings: found.append(settings))
    return found


def test_prepare(tmp_path, capsys):
    (tmp_path / "some.smi").write_text("CCO\nC1CC\n")
    words = ["prepare", str(tmp_path / "some.smi"), str(tmp_path / "store")]
    assert main([*words, "--num-conformers", "1", "--workers", "1"]) == 0
    assert "           1  3d\n" in capsys.readouterr().out
    (item,) = store.ConformerStore(tmp_path / "store")
    assert item.conformers.shape == (3, 2, 3)


def test_flags_are_the_arguments(calls):
    flags = "--num-conformers 3 --no-2d --keep-hydrogens --max-atoms 9 --seed 4 --time-limit 1.5"
    flags += " --workers 2 --engine ray --exclude c --shard-rows 7 --repair --encoding cp1252"
    flags += " --recipe fast"
    assert main(["prepare", "a", "b", *flags.split()]) == 0
    assert calls == [
        {
            "source": "a",
            "store": "b",
            "num_conformers": 3,
            "add_2d": False,
            "remove_hydrogens": False,
            "max_atoms": 9,
            "seed": 4,
            "time_limit": 1.5,
            "workers": 2,
            "engine": "ray",
            "exclude": "c",
            "shard_rows": 7,
            "encoding": "cp1252",
            "repair": True,
            "recipe": "fast",
        }
    ]


def test_defaults_are_those_of_the_function(monkeypatch):
    import inspect

    parameters = inspect.signature(store.prepare).parameters
    found = []
    monkeypatch.setattr(store, "prepare", lambda **settings: found.append(settings))
    main(["prepare", "a", "b"])
    for name, value in found[0].items():
        assert name in ("source", "store") or value == parameters[name].default, name


@pytest.mark.parametrize(
    "error",
    [
        InputError("what"),
        FileNotFoundError("what"),
        ModuleNotFoundError("what"),
        store.StoreError("what"),
        RecordRefused("what"),
    ],
)
def test_errors_are_a_line(monkeypatch, capsys, error):
    def fail(**settings):
        raise error

    monkeypatch.setattr(store, "prepare", fail)
    assert main(["prepare", "a", "b"]) == 1
    assert capsys.readouterr().err == "molae prepare: what\n"


@pytest.mark.parametrize("error", [KeyError, ValueError, RuntimeError, TypeError, AttributeError])
def test_defects_keep_their_traceback(monkeypatch, error):
    def fail(**settings):
        raise error("what")

    monkeypatch.setattr(store, "prepare", fail)
    with pytest.raises(error):
        main(["prepare", "a", "b"])


@pytest.mark.parametrize(
    ("name", "content", "flags", "message"),
    [
        ("a.smi", "CCO\n", "--time-limit 0", "time_limit must be in"),
        ("a.smi", "CCO\n", "--shard-rows 0", "shard_rows must be at least 1"),
        ("a.smi", "CCO\n", "--workers 0", "workers must be at least 1"),
        ("a.smi", "\n", "", "holds no molecule"),
        ("a.xyz", "CCO\n", "", "the name must end in"),
        ("a.csv", "x,y\n1,2\n", "", "found no SMILES column"),
        ("a.smi.gz", "no gzip\n", "", "is damaged or not complete"),
    ],
)
def test_what_the_user_gave_is_a_line(tmp_path, capsys, name, content, flags, message):
    (tmp_path / name).write_text(content)
    words = ["prepare", str(tmp_path / name), str(tmp_path / "store"), *flags.split()]
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("molae prepare: ")
    assert message in line


def test_a_defect_in_the_work_keeps_its_traceback(tmp_path, monkeypatch):
    def defect(*args, **kwargs):
        raise ValueError("a defect")

    (tmp_path / "a.smi").write_text("CCO\n")
    monkeypatch.setattr(preparation, "make_rows", defect)
    with pytest.raises(ValueError, match="a defect"):
        main(["prepare", str(tmp_path / "a.smi"), str(tmp_path / "store")])


def test_a_file_that_is_damaged_further_down_is_a_line(tmp_path, capsys):
    whole = gzip.compress(b"CCO\n" * 100_000)
    (tmp_path / "a.smi.gz").write_bytes(whole[: len(whole) // 2])
    assert main(["prepare", str(tmp_path / "a.smi.gz"), str(tmp_path / "s"), "--workers", "1"]) == 1
    assert "a.smi.gz is damaged or not complete" in capsys.readouterr().err


def test_ctrl_c(monkeypatch, capsys):
    def stop(**settings):
        raise KeyboardInterrupt("stopped with 3 rows done")

    monkeypatch.setattr(store, "prepare", stop)
    assert main(["prepare", "a", "b"]) == 130
    assert capsys.readouterr().err == "\nmolae prepare: stopped with 3 rows done\n"


def test_ctrl_c_before_the_first_row(monkeypatch, capsys):
    def stop(**settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "prepare", stop)
    assert main(["prepare", "a", "b"]) == 130
    assert capsys.readouterr().err == "\nmolae prepare: stopped\n"


@pytest.mark.parametrize("words", [[], ["cook"], ["prepare"], ["prepare", "a", "b", "--what"]])
def test_words_that_are_not_understood(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage: molae" in capsys.readouterr().err


DOCUMENTED = [
    words[place + 1 :]
    for page in PAGES
    for words in commands(page)
    for place, word in enumerate(words)
    if word.rpartition("/")[2] == "molae"
]


@pytest.mark.parametrize("words", DOCUMENTED, ids=" ".join)
def test_documented_commands_are_understood(words):
    assert make_parser().parse_args(words).command == words[0]


def test_documented_commands_are_found():
    assert len(DOCUMENTED) > 3


def test_ctrl_c_while_modules_are_loaded():
    code = (
        "import sys\nfrom molae_pyg.cli import main\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "sys.exit(main(['predict', 'a', 'b', 'c.csv']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "\nmolae predict: stopped\n")


def test_help_is_short():
    first, *_ = make_parser().epilog.partition("molae COMMAND --help")
    assert len(first.splitlines()) < 10
    assert "molae train" in first
    assert "molae predict" in first
    verbs = "train predict explain embed compare pretrain prepare merge"
    listed = re.findall(r"^    (\w+) ", make_parser().format_help(), re.M)
    assert listed == verbs.split()


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], *([verb, "--help"] for verb in ("train", "compare", "pretrain"))],
)
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom molae_pyg.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'rdkit', 'numpy', 'pandas', 'tqdm', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (__version__ if words == ["--version"] else "usage: molae") in done.stdout
