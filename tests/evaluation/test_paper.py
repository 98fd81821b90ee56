"""Tables and figures of the paper at the size smoke: files, resuming, and what is refused."""

import json

import pytest
from scripts import call

from molae_pyg.evaluation import paper, paper_figures, paper_tables
from molae_pyg.evaluation.paper_plan import Row


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


def make(folder, monkeypatch, capsys, name: str, *args: str) -> tuple[int, str]:
    monkeypatch.chdir(folder)
    return call(monkeypatch, capsys, "paper", name, "--output", "out", *args)


def read(folder, name: str) -> dict:
    assert (folder / "out" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    return json.loads((folder / "out" / f"{name}.json").read_text())


def test_a_table_resumes(folder, monkeypatch, capsys):
    status, printed = make(folder, monkeypatch, capsys, "table9")
    assert status == 0, printed
    content = read(folder, "table9")
    assert content["measured"].keys() == {"activity", "active"}
    rows = content["measured"]["activity"]["rows"]
    assert rows.keys() == {"encoder", "full"}
    assert rows["full"]["seeds"].keys() == {"0", "1"}
    assert len(rows["full"]["interval"]) == 2
    assert "difference" not in rows["encoder"]
    monkeypatch.setattr(paper, "run_row", None)  # nothing is left to do
    assert make(folder, monkeypatch, capsys, "table9")[0] == 0
    again = read(folder, "table9")
    assert again["measured"] == content["measured"]
    text = (folder / "out" / "table9.md").read_text()
    measured, _, published = text.partition("## Published, on other data")
    assert "| full | " in measured
    assert "53.8" in published
    assert "53.8" not in measured
    assert "not the one of tables 3, 4 and 10" in published

    def changed(plan, row, dataset):
        found = settings_of(plan, row, dataset)
        return found | ({"head": {"readout": "mean"}} if dataset == "active" else {})

    settings_of = paper.settings_of
    monkeypatch.setattr(paper, "settings_of", changed)
    status, printed = make(folder, monkeypatch, capsys, "table9")
    assert status == 1
    assert "out/results.jsonl holds a result of another run. What differs: settings.head" in printed
    assert read(folder, "table9")["measured"].keys() == {"activity"}


def test_rows_that_are_not_run_are_named(folder, monkeypatch, capsys):
    monkeypatch.setenv("CHEMPROP", "/nowhere/chemprop")
    status, printed = make(folder, monkeypatch, capsys, "table2")
    assert status == 0, printed
    content = read(folder, "table2")
    pretrained = {"pretrain-gnn", "grover", "graphmvp", "molclr", "moleblend", "uni-mol", "mol-ae"}
    pretrained.add("transformer-m")
    from_random = {f"{name}, random" for name in pretrained}
    rows = content["measured"]["activity"]["rows"]
    assert rows.keys() == {"attentive-fp", "n-gram-rf"} | pretrained | from_random
    assert "chemprop is not installed" in content["missing rows"][0]
    assert content["pre-training"].keys() == pretrained
    # Mol-AE and its competitors have seen the same number of molecules in 2 updates.
    assert {of["updates"] for of in content["pre-training"].values()} == {2}
    assert len({of["molecules"] for of in content["pre-training"].values()}) == 1
    assert all(of["parameters"] > 100 for of in content["pre-training"].values())
    for name in pretrained:  # the same seeds, other weights
        assert rows[name]["seeds"] != rows[f"{name}, random"]["seeds"], name
    assert (folder / "out/pretrained/grover-small-0/vocabulary.json").is_file()
    text = (folder / "out" / "table2.md").read_text()
    assert "- molclr: MolCLR, one model for all tasks" in text


def test_some_rows_of_a_table(folder, monkeypatch, capsys):
    monkeypatch.setenv("CHEMPROP", "/nowhere/chemprop")
    words = ("table1", "--rows", "n-gram-rf")
    assert make(folder, monkeypatch, capsys, *words)[0] == 0
    rows = read(folder, "table1")["measured"]["active"]["rows"]
    assert "n-gram-rf" in rows
    assert "attentive-fp" not in rows
    status, printed = make(folder, monkeypatch, capsys, *words, "bert")
    assert status == 1
    assert "--rows: table1 has the rows attentive-fp; n-gram-rf; pretrain-gnn; grover" in printed


def test_figure_of_noise(folder, monkeypatch, capsys):
    status, printed = make(folder, monkeypatch, capsys, "fig-noise")
    assert status == 0, printed
    content = read(folder, "fig-noise")
    assert content["bonds"] > 1000
    lengths = content["lengths, Å"]
    assert 1.38 < lengths["clean"]["mean"] < 1.48
    assert lengths["1 Å, both ends"]["inside"] < lengths["1 Å, one end"]["inside"] < 0.5


@pytest.mark.slow
def test_figure_of_probing(folder, monkeypatch, capsys):
    status, printed = make(folder, monkeypatch, capsys, "fig-probing")
    assert status == 0, printed
    probes = read(folder, "fig-probing")["probes"]
    num_layers = {"Uni-Mol": 3, "Transformer-M": 3, "Mol-AE": 4}
    for task in ("reconstruction", "activity", "active"):
        for system, number in num_layers.items():
            found = [p for p in probes if (p["task"], p["system"]) == (task, system)]
            assert sorted(p["layer"] for p in found) == sorted(2 * list(range(number)))
    first = [p for p in probes if p["task"] == "active" and p["layer"] == 0]
    assert all(p["cls"] == 0.5 for p in first)  # one vector for all molecules
    for name in ("_linear", "_reconstruct"):  # nothing is left to do
        monkeypatch.setattr(paper_figures, name, lambda *_: pytest.fail("probed again"))
    assert make(folder, monkeypatch, capsys, "fig-probing")[0] == 0


@pytest.mark.slow
def test_figure_of_curves(folder, monkeypatch, capsys):
    status, printed = make(folder, monkeypatch, capsys, "fig-curves")
    assert status == 0, printed
    content = read(folder, "fig-curves")
    systems = [f"{s}, {n} Å" for s in ("Uni-Mol", "Uni-Mol-PE") for n in (1, 3)] + ["Mol-AE, 1 Å"]
    assert [key for key in content if key != "environment"] == systems
    row = content["Uni-Mol, 1 Å"]
    assert row.keys() == {"do nothing", "seed 0", "seed 1"}
    assert row["do nothing"] == pytest.approx(0.158, abs=1e-3)
    assert row["seed 0"]["step"] == row["seed 1"]["step"]
    assert row["seed 0"]["val_token"] != row["seed 1"]["val_token"]


@pytest.mark.slow
def test_commands_make_the_missing_pretrainings(folder, monkeypatch, capsys):
    args = ("fig-pe", "--output", "apart")
    status, printed = make(folder, monkeypatch, capsys, *args, "--commands")
    assert status == 0, printed
    commands = [line.split() for line in printed.splitlines() if "evaluation.pretraining" in line]
    assert len(commands) == 4
    assert call(monkeypatch, capsys, "pretrain", *commands[1][3:])[0] == 0  # uni-mol-pe, seed 0
    printed = make(folder, monkeypatch, capsys, *args, "--commands")[1]
    assert printed.count("evaluation.pretraining") == 3
    (run,) = (folder / "apart" / "pretrained").glob("*/run.json")
    assert run.parent.name == "uni-mol-pe-0"
    status, printed = make(folder, monkeypatch, capsys, *args)
    assert status == 0, printed  # another run would have been refused
    assert json.loads(run.read_text())["starts"] == 1
    content = json.loads((folder / "apart" / "fig-pe.json").read_text())
    assert content["measured"]["active"]["rows"].keys() == {"uni-mol", "uni-mol-pe"}


def test_mean_ranks(tmp_path):
    rows = [Row(name, name) for name in "abc"]
    scores = {"esol": {"a": 1.0, "b": 2.0, "c": 2.0}, "bace": {"a": 0.7, "b": 0.8}}
    results = [
        {"fitted": n, "seed": 0, "dataset": d, "metric": m, "test": scores[d][n]}
        for d, m in (("esol", "rmse"), ("bace", "roc_auc"))
        for n in scores[d]
    ]
    content = paper_tables.write(tmp_path, "table9", rows, "a", [], results)
    assert content["mean rank"] == {"a": 1.5, "b": 1.5}  # c is not on all data sets
    assert "| c | 2.000 (+1) | — | — |" in (tmp_path / "table9.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("table", ["table1", "table3", "table4", "table5", "table10"])
def test_other_tables(folder, monkeypatch, capsys, table):
    monkeypatch.setenv("CHEMPROP", "/nowhere/chemprop")
    status, printed = make(folder, monkeypatch, capsys, table)
    assert status == 0, printed
    assert read(folder, table)["measured"]


def test_results_of_other_settings_are_refused(folder, monkeypatch, capsys):
    (folder / "other.smi").write_text("CCO\nCCN\nCCC\n")
    words = ("fig-noise", "--molecules", str(folder / "other.smi"))
    status, printed = make(folder, monkeypatch, capsys, *words, "--output", "new")
    assert status == 0, printed
    (folder / "other.smi").write_text("CCO\nCCN\n")
    make(folder, monkeypatch, capsys, *words, "--output", "third")
    words = ("fig-noise", "--molecules", "third/store", "--output", "new")
    status, printed = make(folder, monkeypatch, capsys, *words)
    assert status == 1
    assert "new holds results of other settings or molecules" in printed
    status, printed = make(folder, monkeypatch, capsys, "table3", "--size", "small")
    assert status == 1
    assert "--size small needs --molecules" in printed


def test_differences_are_paired_by_seed(tmp_path):
    rows = [Row("drop", "mol-ae"), Row("noise-1", "noise-1")]
    scores = {"mol-ae": {0: 1.0, 1: 2.0}, "noise-1": {0: 1.5, 1: 2.7, 2: 9.0}, "other": {0: 5.0}}
    results = [
        {"fitted": fitted, "seed": seed, "dataset": "esol", "metric": "rmse", "test": value}
        for fitted, of in scores.items()
        for seed, value in of.items()
    ]
    content = paper_tables.write(tmp_path, "table5", rows, "drop", ["grover"], results)
    row = content["measured"]["esol"]["rows"]["noise-1"]
    assert row["difference"] == pytest.approx(0.6)  # the third seed has no partner
    assert row["interval"] == pytest.approx([0.6 - 12.706 * 0.1, 0.6 + 12.706 * 0.1], rel=1e-3)
    assert row["mean"] == pytest.approx(4.4)
    text = (tmp_path / "table5.md").read_text()
    assert "| drop | 1.500 ± 0.707 |" in text
    assert "Rows that are not run here: grover." in text
