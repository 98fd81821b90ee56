"""``molae compare`` and ``molae pretrain``, whose work is tested in tests/evaluation."""

import json

import competitors
import pytest
from scripts import SMILES

from molae_pyg import MolAE
from molae_pyg.checkpoint import saved_class
from molae_pyg.cli import main, make_parser
from molae_pyg.cli.pretrain import SIZES
from molae_pyg.evaluation import compare, flags, pretraining, systems
from molae_pyg.evaluation.config import config_path
from molae_pyg.evaluation.protocols import PROTOCOLS
from molae_pyg.evaluation.systems import SYSTEMS
from molae_pyg.store import ConformerStore

PRETRAIN = """
data: {num_conformers: 1, add_2d: false}
model: {hidden_channels: 32, ffn_channels: 64, heads: 4, num_layers: 1, num_decoder_layers: 1}
training: {steps: 2, pair_budget: 800, warmup_steps: 1, validate_every: 1}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.csv").write_text("smiles,y\n" + "".join(f"{s},{len(s)}\n" for s in SMILES))
    (tmp_path / "some.smi").write_text("\n".join([*SMILES[:10], "not-a-smiles"]) + "\n")
    (tmp_path / "tiny.yaml").write_text(PRETRAIN)
    (tmp_path / "clr.yaml").write_text("objective: mol-clr\n" + PRETRAIN)
    return tmp_path


def test_both_commands_of_a_comparison_have_the_same_flags(monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare"])
    verb = vars(make_parser().parse_args(["compare"]))
    assert {k: v for k, v in verb.items() if k not in ("run", "command")} == vars(
        compare.parse_args()
    )


def test_names_that_are_known_without_loading_what_they_name():
    assert tuple(PROTOCOLS) == flags.PROTOCOLS
    assert tuple(SYSTEMS) == flags.OBJECTIVES
    assert all(config_path(name).is_file() for name in SIZES.values())


def test_compare(place, capsys):
    words = ["compare", "--dataset", "my.csv", "--model", "mean", "--protocol", "random"]
    words += ["--seeds", "1", "--num-conformers", "0", "--output", "runs"]
    assert main(words) == 0
    (file,) = place.glob("runs/random/my/mean/0-0/result.json")
    score = json.loads(file.read_text())["test"]["rmse"]
    assert f"mean, 1 run: rmse {score:.3f}" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"rmse"', '"mse"'))  # damaged: it is reported
    assert main(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("molae compare: 1 failed: runs/random/my/mean")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("compare --dataset nothing", "there is no data set 'nothing'"),
        ("compare --dataset my.csv --model nothing", "nothing"),
        ("compare --smiles a", "are for tables only"),
        ("compare --config absent.yaml", "cannot be read"),
        ("pretrain absent.smi run --config tiny.yaml", "there is no file or store absent.smi"),
        ("pretrain absent run --config tiny.yaml", "there is no file or store absent"),
        ("pretrain some.smi run --config base --objective mol-clr", "--config base is Mol-AE"),
        ("pretrain some.smi run --config tiny.yaml --held-out 1", "--held-out must be below 1"),
        ("pretrain some.smi run --config tiny.yaml --held-out 0", "--held-out must be above 0"),
        (
            "pretrain some.smi run --config tiny.yaml --held-out-of 0",
            "--held-out-of must be an int",
        ),
        ("pretrain some.smi run --config large", "Names of shipped settings are"),
        ("pretrain my.csv my.csv --config tiny.yaml", "my.csv"),
        ("pretrain some.smi run --config tiny.yaml --objective mol-clr", "known are: hidden_ch"),
        (
            "pretrain some.smi run --config clr.yaml --objective cloze",
            "has the objective 'mol-clr'",
        ),
    ],
)
def test_a_fault_of_the_user_is_a_line(place, capsys, words, message):
    assert main(words.split()) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(f"molae {words.split()[0]}: ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("objective", flags.OBJECTIVES[1:])
def test_pretrain_by_the_shipped_settings_of_an_objective(tmp_path, monkeypatch, capsys, objective):
    competitors.stores(tmp_path / "store")
    settings = systems.read_yaml(systems.SETTINGS)
    for section in settings.values():
        few = {"steps": 2, "warmup_steps": 1, "validate_every": 1, "pair_budget": 3000}
        section.setdefault("training", {}).update(few)
        wide = dict.fromkeys(("hidden_channels", "ffn_channels", "num_filters"), 24)
        model = section.get("model", {})
        model.update({key: value for key, value in wide.items() if key in model})
    monkeypatch.setattr(systems, "read_yaml", lambda path: settings)
    run = tmp_path / "run"
    words = ["pretrain", str(tmp_path / "store"), str(run), "--objective", objective]
    assert main(words) == 0
    assert saved_class(run / "model") == SYSTEMS[objective].model.__name__
    assert "; 30 molecules, 2 held out" in capsys.readouterr().out


def test_pretrain_resumes_as_a_whole(place, monkeypatch, capsys):
    words = ["pretrain", "some.smi", "run", "--config", "tiny.yaml"]

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "pretrain", stop)
        assert main(words) == 130
    assert capsys.readouterr().err.endswith("pretrain: stopped; the same command resumes\n")
    made = {file: file.stat().st_mtime_ns for file in (place / "run/store").glob("*.bin")}
    assert main(words) == 0
    assert made == {file: file.stat().st_mtime_ns for file in made}
    assert len(ConformerStore("run/store")) == 10
    assert MolAE.from_pretrained("run/model").config["heads"] == 4
    assert main(["pretrain", "run/store", "other", "--config", "tiny.yaml"]) == 0
