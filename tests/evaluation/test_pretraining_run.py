"""Parts of a pre-training run by a configuration; test_scripts.py runs it as a whole."""

import numpy as np
import pytest
from chains import chain_store

from molae_pyg import AblatedMolAE, MolAE
from molae_pyg.evaluation.pretraining import _build, _hold_out
from molae_pyg.store import ConformerStore

SIZE = {
    "hidden_channels": 32, "ffn_channels": 64, "heads": 4, "num_layers": 1, "num_decoder_layers": 1,
}  # fmt: skip


def test_an_ablation_in_the_settings_builds_the_class_that_has_it(tmp_path):
    assert type(_build(SIZE, None)) is MolAE
    ablated = _build({**SIZE, "ablation": {"decoder_position": False}}, None)
    assert type(ablated) is AblatedMolAE
    assert ablated.config["ablation"]["decoder_position"] is False
    ablated.save_pretrained(tmp_path / "ablated")
    again = _build({**SIZE, "ablation": {"decoder_position": False}}, str(tmp_path / "ablated"))
    assert type(again) is AblatedMolAE
    assert again.config == ablated.config


def test_molecules_are_held_out_of_the_first_ones(tmp_path):
    store = ConformerStore(chain_store(tmp_path / "store"))
    for first, eligible in ((None, 80), (20, 20), (500, 80)):
        train, valid = _hold_out(store, "chains", 0.1, first, seed=3)
        rows = np.concatenate([train.molecule_rows, valid.molecule_rows])
        assert sorted(rows.tolist()) == list(range(80))
        assert len(valid) == eligible // 10
        assert valid.molecule_rows.max() < eligible
    assert len(_hold_out(store, "chains", 0.001, None, seed=3)[1]) == 1
    with pytest.raises(ValueError, match="chains: 1 molecules, pre-training needs two"):
        _hold_out(store[:1], "chains", 0.1, None, seed=3)
