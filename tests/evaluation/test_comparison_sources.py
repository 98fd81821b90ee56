"""Data sets of the comparison: targets that its models cannot learn are refused by name."""

import pytest

from molae_pyg.evaluation.sources import load_dataset


@pytest.mark.parametrize(
    ("cells", "what"),
    [(("low", "mid", "high") * 2, "3 classes"), ((">1", "2", "3", "4", "5", "6"), "bounds")],
)
def test_targets_that_only_molae_train_learns(tmp_path, capsys, cells, what):
    path = tmp_path / "a.csv"
    path.write_text(
        "smiles,grade\n" + "".join(f"{'C' * (i + 1)},{c}\n" for i, c in enumerate(cells))
    )
    with pytest.raises(
        ValueError, match=rf"a\.csv, column 'grade' has {what}: .*molae train learns"
    ):
        load_dataset(str(path), str(tmp_path), {"num_conformers": 0})
    assert "grade: " in capsys.readouterr().out
