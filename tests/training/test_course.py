import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molae_pyg.checkpoint import CheckpointError
from molae_pyg.training.course import Course, read_metrics, write_table

COLUMN = "train_total"


def log(folder, *rows) -> Course:
    course = Course(folder / "course.jsonl")
    for step, value in rows:
        course.append({"step": step, COLUMN: value})
    return course


def test_a_run_in_progress_is_read_from_its_log(tmp_path):
    pd.DataFrame({"step": [9], COLUMN: [7]}).to_csv(tmp_path / "metrics.csv", index=False)
    assert read_metrics(tmp_path)[COLUMN].tolist() == [7]
    log(tmp_path, (9, 1), (9, 2), (10, 3)).close()
    with open(tmp_path / "course.jsonl", "ab") as file:
        file.write(b'{"step": 11, "train_to')  # a process is writing, or was killed
    metrics = read_metrics(tmp_path)
    assert metrics[COLUMN].tolist() == [1, 2, 3]
    assert metrics["step"].dtype == int
    assert write_table(tmp_path / "course.jsonl") == b"step,train_total\n9,2\n10,3\n"


def test_rows_of_a_step_are_one_row_of_the_table(tmp_path):
    course = Course(tmp_path / "course.jsonl")
    for row in ({"step": 1, "a": 1.5}, {"step": 1, "b": 2.5, "a": None}, {"step": 2, "a": 3.5}):
        course.append(row)
    course.close()
    assert write_table(tmp_path / "course.jsonl") == b"step,a,b\n1,1.5,2.5\n2,3.5,\n"


def test_missing_empty_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no course\.jsonl and no metrics\.csv in"):
        read_metrics(tmp_path)
    for nothing in ("", "step,train_total\n"):
        (tmp_path / "metrics.csv").write_text(nothing)
        with pytest.raises(ValueError, match="is empty"):
            read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(ValueError, match="no column 'step'; it has epoch, loss"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n0,1\n1,2,3\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is not a table"):
        read_metrics(tmp_path)
    (tmp_path / "course.jsonl").write_text('{"step": 1}\n{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*course\.jsonl is damaged"):
        read_metrics(tmp_path)


number = st.floats(allow_nan=True, allow_infinity=True)
row = st.dictionaries(st.text(max_size=5), st.one_of(number, st.integers()), max_size=4)


@settings(deadline=None, max_examples=40)
@given(st.lists(row, max_size=8), st.lists(row, max_size=8), st.binary(max_size=20))
def test_a_rewound_log_equals_that_of_an_uninterrupted_run(tmp_path_factory, kept, lost, torn):
    """Complete and torn rows after the checkpoint leave no trace."""
    folder = tmp_path_factory.mktemp("course")
    killed, whole = Course(folder / "killed"), Course(folder / "whole")
    for values in kept:
        killed.append(values)
        whole.append(values)
    position = json.loads(json.dumps(killed.position()))  # as a checkpoint keeps it
    for values in lost:
        killed.append(values)
    killed.close()
    with open(folder / "killed", "ab") as file:
        file.write(torn)
    resumed = Course(folder / "killed")
    resumed.rewind(*position)
    for values in lost:
        resumed.append(values)
        whole.append(values)
    assert resumed.position() == whole.position()
    assert (folder / "killed").read_bytes() == (folder / "whole").read_bytes()


@settings(deadline=None, max_examples=40)
@given(st.lists(row, min_size=1, max_size=5), st.data())
def test_a_log_that_was_cut_or_changed_is_an_error(tmp_path_factory, rows, data):
    file = tmp_path_factory.mktemp("course") / "course.jsonl"
    course = Course(file)
    for values in rows:
        course.append(values)
    position = course.position()
    course.close()
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"course\.jsonl .* was changed or damaged"):
        Course(file).rewind(*position)
