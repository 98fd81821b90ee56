import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from pages import Parsed, assert_legible, needs_browser, read_page

from molae_pyg.analysis import training_report
from molae_pyg.analysis.plots import new_figure, png_of
from molae_pyg.analysis.training_report import Curve, _duration, draw_curve, series, smoothed


def metrics(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(columns)


SHORT = metrics(
    step=[9, 19, 19],
    train_total=[4.0, 2.0, np.nan],
    train_token_accuracy=[0.25, 0.75, np.nan],
    val_total=[np.nan, np.nan, 2.5],
    val_token_accuracy=[np.nan, np.nan, 0.5],
    molecules=[1280, 2560, np.nan],
    seconds=[1800, 3725, np.nan],
    molecules_per_second=[0.5, 0.7, np.nan],
)


def report(folder, table: pd.DataFrame = SHORT, **files: object) -> Parsed:
    table.to_csv(folder / "metrics.csv", index=False)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return read_page(training_report(folder))


def test_summary(tmp_path):
    page = report(tmp_path)
    assert page.row("updates") == ["20"]
    assert page.row("molecules seen") == ["2,560"]
    assert page.row("training time") == ["1 h 2 min"]
    assert page.row("molecules per second") == ["0.6 (median)"]
    assert page.row("Total loss") == ["3", "2.5"]
    assert page.row("Dropped atoms with the right element") == ["50.0%", "50.0%"]
    assert f"Pre-training: {tmp_path.name}" in page.words


def test_durations():
    assert [_duration(s) for s in (7.4, 67, 3600, 1e6)] == [
        "7 s",
        "1 min 7 s",
        "1 h 0 min",
        "277 h 46 min",
    ]


def test_everything_logged_is_drawn(tmp_path):
    names = ["total", "token", "coordinate", "distance", "token_accuracy", "distance_mae"]
    names += ["coordinate_rmsd"]
    names += [f"{part}_{what}_norm" for part in ("encoder", "decoder") for what in ("x", "pair")]
    single = ["train_grad_norm", "lr", "molecules_per_second"]
    columns = [f"{split}_{name}" for split in ("train", "val") for name in names] + single
    page = report(tmp_path, pd.DataFrame(0.5, [0, 1], columns).assign(step=[9, 19]))
    assert len(page.attributes("img")) == len(names) + len(single)
    assert not [word for word in page.words if word.startswith("Not logged")]


def test_missing_columns_are_left_out_and_named(tmp_path):
    page = report(tmp_path, metrics(step=[9, 19], train_total=[2.0, 1.0]))
    assert [image["alt"] for image in page.attributes("img")] == ["Total loss"]
    assert page.row("Total loss") == ["1.5", "-"]
    (note,) = [word for word in page.words if word.startswith("Not logged")]
    assert "Learning rate" in note
    assert "Optimiser" not in page.words
    assert "Settings" not in page.words


def test_only_held_out_values(tmp_path):
    page = report(tmp_path, metrics(step=[99], val_total=[2.0]))
    assert page.row("updates") == ["100"]
    assert page.row("Total loss") == ["-", "2"]


def test_terms_of_another_objective_are_drawn(tmp_path):
    page = report(tmp_path, metrics(step=[9, 19], train_total=[2.0, 1.0], val_energy=[3.0, 4.0]))
    assert [image["alt"] for image in page.attributes("img")] == ["Total loss", "energy"]
    assert page.row("energy") == ["-", "4"]


def test_nothing_but_steps(tmp_path):
    page = report(tmp_path, metrics(step=[9]))
    assert page.row("updates") == ["10"]
    assert page.attributes("img") == []


def test_a_resumed_run_counts_its_last_attempt(tmp_path):
    page = report(tmp_path, metrics(step=[9, 19, 29, 19], val_total=[4.0, 9.0, 9.0, 3.0]))
    assert page.row("Total loss") == ["-", "3"]
    assert page.row("updates") == ["20"]


def test_a_run_in_progress(tmp_path):
    SHORT.to_json(tmp_path / "course.jsonl", orient="records", lines=True)
    assert read_page(training_report(tmp_path)).row("updates") == ["20"]


def test_settings_and_environment(tmp_path):
    page = report(
        tmp_path,
        run={"settings": {"lr": 1e-4, "precision": None}, "betas": [0.9, 0.99], "empty": {}},
        environment={"device": "CPU", "nested": [{"a": 1}]},
    )
    assert page.row("settings.lr") == ["0.0001"]
    assert page.row("settings.precision") == ["null"]
    assert page.row("betas") == ["0.9, 0.99"]
    assert page.row("empty") == ["{}"]
    assert page.row("device") == ["CPU"]
    assert page.row("nested") == ['[{"a": 1}]']


def test_everything_is_escaped(tmp_path):
    folder = tmp_path / "<b>$title & co"
    folder.mkdir()
    attack = '<script>alert("1")</script>'
    (folder / "reconstruction<i>.png").write_bytes(b"\x89PNG")
    page = report(folder, run={attack: attack, "dollar": "$body ${body}"})
    assert page.row(attack) == [attack]
    assert page.row("dollar") == ["$body ${body}"]
    assert "Pre-training: <b>$title & co" in page.words
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b", "i"})


def test_pictures_of_the_folder_are_shown(tmp_path):
    (tmp_path / "reconstruction_a.png").write_bytes(b"picture")
    page = report(tmp_path)
    sources = [image["src"].partition(",")[2] for image in page.attributes("img")]
    pictures = [base64.b64decode(source) for source in sources]
    assert pictures[-1] == b"picture"
    assert all(picture.startswith(b"\x89PNG") for picture in pictures[:-1])


@needs_browser
def test_page_in_a_browser(tmp_path):
    report(tmp_path, run={"a-long-name-" * 20: "value " * 50, "path": "/a" * 200})
    assert_legible(tmp_path / "report.html", tmp_path)


def test_another_file(tmp_path):
    SHORT.to_csv(tmp_path / "metrics.csv", index=False)
    assert training_report(str(tmp_path), tmp_path / "other.html") == tmp_path / "other.html"
    assert (tmp_path / "other.html").is_file()
    assert not (tmp_path / "report.html").exists()


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics\.csv"):
        training_report(tmp_path)
    SHORT.to_csv(tmp_path / "metrics.csv", index=False)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is not JSON"):
        training_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


COLUMN = "train_total"


def table(steps: list[int], values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"step": steps, COLUMN: values})


def test_a_series_is_what_was_logged():
    values = series(table([9, 19, 29], [3.0, np.nan, 1.0]), COLUMN)
    assert values.to_dict() == {9: 3.0, 29: 1.0}
    assert series(table([9], [np.inf]), COLUMN).empty
    assert series(table([9], [1.0]), "val_total").empty


def test_what_was_done_twice_counts_once():
    """Steps 29 and 39 were done again; of the first attempt's 49 nothing is left."""
    metrics = table([9, 19, 29, 39, 49, 29, 39], [5, 4, -1, -1, -1, 3, 2])
    assert series(metrics, COLUMN).to_dict() == {9: 5, 19: 4, 29: 3, 39: 2}
    assert series(table([9, 9, 9], [1, 2, 3]), COLUMN).to_dict() == {9: 3}


def test_smoothing_is_a_moving_mean():
    short = pd.Series(np.arange(50.0))
    assert smoothed(short).equals(short)
    noisy = pd.Series(np.random.default_rng(0).normal(size=6000))
    assert smoothed(noisy).std() == pytest.approx(0.1, rel=0.2)  # of 100 points


@pytest.mark.parametrize("kind", ["linear", "from_zero", "log", "share"])
@pytest.mark.parametrize("values", [[0.5], [0.5, 0.0, 0.2], [0.9, 0.1, 0.01]])
def test_drawing(kind, values):
    train = pd.Series(values)
    figure = new_figure(4, 3)
    draw_curve(train, train, Curve("Loss", "loss", kind), figure.subplots())
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("update", "loss")
    pixels = image.imread(io.BytesIO(png_of(figure)))
    assert pixels[0, 0, 3] == 0  # no background
    assert pixels[..., 3].max() > 0.9
