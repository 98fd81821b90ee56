"""The command: it starts quickly, does what the functions do, and tells errors in a line."""

import subprocess
import sys

import pytest
from test_docs import PAGES, commands

from molae_pyg import __version__, datasets
from molae_pyg.chem.items import RecordRefused
from molae_pyg.cli import main, make_parser


@pytest.fixture
def calls(monkeypatch):
    """The settings that ``prepare`` is called with."""
    found = []
    monkeypatch.setattr(datasets, "prepare", lambda **settings: found.append(settings))
    return found


def test_prepare(tmp_path, capsys):
    (tmp_path / "some.smi").write_text("CCO\nC1CC\n")
    words = ["prepare", str(tmp_path / "some.smi"), str(tmp_path / "store")]
    assert main([*words, "--num-conformers", "1", "--workers", "1"]) == 0
    assert "           1  3d\n" in capsys.readouterr().out
    (item,) = datasets.ConformerStore(tmp_path / "store")
    assert item.conformers.shape == (3, 2, 3)


def test_flags_are_the_arguments(calls):
    flags = "--num-conformers 3 --no-2d --keep-hydrogens --max-atoms 9 --seed 4 --time-limit 1.5"
    flags += " --workers 2 --engine ray --exclude c --shard-rows 7"
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
        }
    ]


def test_defaults_are_those_of_the_function(monkeypatch):
    import inspect

    parameters = inspect.signature(datasets.prepare).parameters
    found = []
    monkeypatch.setattr(datasets, "prepare", lambda **settings: found.append(settings))
    main(["prepare", "a", "b"])
    for name, value in found[0].items():
        assert name in ("source", "store") or value == parameters[name].default, name


@pytest.mark.parametrize(
    "error",
    [
        ValueError("what"),
        FileNotFoundError("what"),
        ModuleNotFoundError("what"),
        datasets.StoreError("what"),
        RecordRefused("what"),
    ],
)
def test_errors_are_a_line(monkeypatch, capsys, error):
    def fail(**settings):
        raise error

    monkeypatch.setattr(datasets, "prepare", fail)
    assert main(["prepare", "a", "b"]) == 1
    assert capsys.readouterr().err == "molae prepare: what\n"


def test_defects_keep_their_traceback(monkeypatch):
    def fail(**settings):
        raise KeyError("what")

    monkeypatch.setattr(datasets, "prepare", fail)
    with pytest.raises(KeyError):
        main(["prepare", "a", "b"])


def test_ctrl_c(monkeypatch, capsys):
    def stop(**settings):
        raise KeyboardInterrupt("stopped with 3 rows done")

    monkeypatch.setattr(datasets, "prepare", stop)
    assert main(["prepare", "a", "b"]) == 130
    assert capsys.readouterr().err == "\nmolae prepare: stopped with 3 rows done\n"


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


@pytest.mark.parametrize("words", [["--help"], ["prepare", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom molae_pyg.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'rdkit', 'numpy', 'pandas', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (__version__ if words == ["--version"] else "usage: molae") in told.stdout
