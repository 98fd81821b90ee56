"""``molae train`` and ``molae predict`` as a user calls them."""

import csv
import gzip

import pytest
from tiny import SMILES

from molae_pyg.cli import main


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    """A folder with a table, and the model trained on it by the command."""
    folder = tmp_path_factory.mktemp("cli")
    lines = [f"{s},{len(s)}.5,{'yes' if 'N' in s else 'no'}\n" for s in SMILES]
    (folder / "a.csv").write_text("mol,size,amine\n" + "".join(lines))
    words = ["train", str(folder / "a.csv"), str(folder / "m"), "--targets", "size, amine"]
    words += ["--folds", "3", "--split", "random", "--weights", weights]
    assert main(words) == 0
    return folder


@pytest.fixture
def predict(folder, tmp_path):
    """Returns a function that writes a file, predicts it and reads the result."""

    def run(content, *flags, name="new.csv", out="out.csv", code=0):
        (tmp_path / name).write_text(content)
        words = ["predict", str(folder / "m"), str(tmp_path / name), str(tmp_path / out), *flags]
        assert main(words) == code
        if not (tmp_path / out).is_file():
            return None
        with open(tmp_path / out, newline="") as file:
            return list(csv.reader(file))

    return run


def test_what_is_learned_is_printed_first(folder, weights, capsys):
    words = ["train", str(folder / "a.csv"), str(folder / "m"), "--targets", "size,amine"]
    words += ["--folds", "3", "--split", "random", "--weights", weights]
    assert main(words) == 0
    out = capsys.readouterr().out
    first, *_ = out.splitlines()
    assert first == "size: regression, 30 labels; amine: 2 classes (15 no = 0, 15 yes = 1)"
    for text in ("size: rmse of 30 labels", "ecfp-forest", "descriptors", "90 % intervals contain"):
        assert text in out
    assert "molae is " in out
    assert f"molae predict {folder / 'm'} NEW.csv OUT.csv" in out
    assert out.splitlines()[-1] == f"Open the report: {folder / 'm'}/report.html"
    assert (folder / "m" / "report.html").is_file()


def test_all_rows_and_columns_stay_and_bad_rows_are_counted(predict, capsys):
    rows = predict("id,mol,molae_status,id\n7,CCNc1ccccc1,mine,a\n8,C1CC,,b\n9,CCO,,c\n")
    assert rows[0][:4] == ["id", "mol", "molae_status (input)", "id"]
    assert rows[0][4:] == [
        *("size_predicted", "size_low", "size_high"),
        *("amine_probability", "amine_predicted", "amine_set"),
        *("molae_status", "molae_reason", "molae_similarity"),
    ]
    assert [row[:4] for row in rows[1:]] == [
        ["7", "CCNc1ccccc1", "mine", "a"],
        ["8", "C1CC", "", "b"],
        ["9", "CCO", "", "c"],
    ]
    assert rows[2][4:] == ["", "", "", "", "", "", "invalid", "unclosed ring", ""]
    assert float(rows[1][4]) == pytest.approx(11.5, abs=2)
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "2 of 3 rows predicted, 1 invalid: see molae_reason"
    assert "column 'molae_status' of" in out[0]


def test_strict(predict, capsys):
    predict("mol\nCCO\nC1CC\n", "--strict", code=2)
    predict("mol\nCCO\n", "--strict", code=0)
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1 rows predicted"


def test_labels_are_scored(predict, capsys):
    lines = "".join(f"{s},{len(s)}.5,{'yes' if 'N' in s else 'no'}\n" for s in SMILES[:9])
    predict("mol,size,amine\n" + lines + "CCO,,\n")
    out = capsys.readouterr().out
    assert "size: rmse 0." in out
    assert "on 9 labels; intervals contain" in out
    assert "amine: roc_auc 1.000" in out
    assert "; sets contain " in out


def test_labels_that_cannot_be_read_are_no_reason_to_stop(predict, capsys):
    predict("mol,size\nCCO,about 3\nCCN,4\n")
    out = capsys.readouterr().out
    assert "size: not scored:" in out
    assert out.splitlines()[-1] == "2 of 2 rows predicted"


def test_lists_and_packed_tables(folder, predict, tmp_path):
    rows = predict("CCO ethanol\nxx\n", name="a.smi")
    assert rows[1][:2] == ["CCO", "ethanol"]
    assert rows[2][8] == "invalid"
    words = ["predict", str(folder / "m"), str(tmp_path / "a.smi"), str(tmp_path / "o.tsv.gz")]
    assert main(words) == 0
    text = gzip.decompress((tmp_path / "o.tsv.gz").read_bytes()).decode()
    assert text.splitlines()[0].split("\t")[:3] == ["smiles", "name", "size_predicted"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train {f}/absent.csv {t}/m", "No such file"),
        ("train {f}/a.csv {t}/m", "2 columns can be the target"),
        ("train {f}/a.csv {t}/m --targets nothing", "no column ['nothing']"),
        ("train {f}/a.csv {f}/m --targets size", "holds a model of another run"),
        ("train {f}/a.csv {t}/m --targets size --split x", "split must be scaffold"),
        ("train {f}/a.csv {t}/m --targets size --weights x", "x"),
        ("train {f}/a.csv {t}/m --targets size --set lr", "--set takes KEY=VALUE"),
        ("train {f}/a.csv {t}/m --targets size --finetune --set lr=fast", "lr must be a number"),
        ("train {f}/a.csv {t}/m --targets size --finetune --set x=1", "Known settings"),
        ("train {f}/a.csv {t}/m --targets size --tune 5", "only fine-tuning has settings to tune"),
        ("train {f}/a.csv {t}/m --targets amine --task-type regression", "is not a number"),
        ("predict {t} {f}/a.csv {t}/o.csv", "holds no model of molae train"),
        ("predict {f}/m {f}/a.csv {t}/o.xlsx", "the name must end in .csv, .tsv, .parquet"),
        ("predict {f}/m {f}/a.csv {t}/no/o.csv", "there is no folder"),
        ("predict {f}/m {f}/a.csv {t}/o.csv --alpha 2", "--alpha must be between 0 and 1"),
        ("predict {f}/m {f}/a.csv {t}/o.csv --smiles x", "no column ['x']"),
        ("predict {f}/m {f}/absent.csv {t}/o.csv", "No such file"),
    ],
)
def test_a_fault_of_the_user_is_one_line(folder, tmp_path, capsys, words, message):
    assert main(words.format(f=folder, t=tmp_path).split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"molae {words.split()[0]}: ")
    assert message in line


def test_values_of_settings():
    from molae_pyg.cli.train import _setting

    assert _setting("lr=1e-4") == ("lr", 1e-4)
    assert _setting("pool=4") == ("pool", 4)
    assert _setting("readout=mean") == ("readout", "mean")
    assert _setting("ema_decay=null") == ("ema_decay", None)


def test_kinds_of_targets_are_declared(folder, weights, tmp_path, capsys):
    lines = [f"{s},{number % 3},{len(s)}.5\n" for number, s in enumerate(SMILES)]
    (tmp_path / "a.csv").write_text("mol,grade,size\n" + "".join(lines))
    words = ["train", str(tmp_path / "a.csv"), str(tmp_path / "m"), "--targets", "grade,size"]
    words += ["--folds", "2", "--split", "random", "--weights", weights]
    assert main(words) == 1
    assert "'multiclass'} takes them as 3 classes" in capsys.readouterr().err
    assert main([*words, "--task-type", "grade=ranking"]) == 1
    assert "task_type must be one of regression, classification" in capsys.readouterr().err
    assert main([*words, "--task-type", "grade=multiclass", "--class-weights"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("grade: 3 classes (10 0, 10 1, 10 2); size: regression, 30 labels\n")
    assert "grade: macro_roc_auc of 30 labels" in out
    new = tmp_path / "new.csv"
    new.write_text("mol,grade\nCCNc1ccccc1,1\nCCOC1CCOC1,2\nCCOC1CCCCC1,7\nC1CC,0\n")
    assert main(["predict", str(tmp_path / "m"), str(new), str(tmp_path / "out.csv")]) == 0
    assert "1 labels of classes that the model does not know (7)" in capsys.readouterr().out
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["grade_predicted"] in ("0", "1", "2")
    assert sum(float(rows[0][f"grade_probability_{c}"]) for c in "012") == pytest.approx(
        1, abs=1e-4
    )
    assert rows[3]["grade_predicted"] == rows[3]["grade_set"] == ""
