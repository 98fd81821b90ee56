"""Finished conformers become a store."""

import numpy as np
from scripts import printed_by

from molae_pyg.store import ConformerStore


def test_finished_conformers_become_a_store_without_excluded_molecules(tmp_path):
    molecules = [("CCO", [6, 6, 8]), ("C[C@H](N)O", [6, 6, 7, 8]), ("CN", [6, 7])]
    z = np.concatenate([numbers for _, numbers in molecules]).astype(np.uint8)
    pos = np.arange(3 * len(z), dtype=np.int16).reshape(-1, 3)
    np.savez(
        tmp_path / "part000.npz",
        row=np.arange(3, dtype=np.int32),
        smiles=np.array([smiles for smiles, _ in molecules]),
        n=np.array([len(numbers) for _, numbers in molecules], dtype=np.int32),
        z=z,
        pos=pos,
        failed=np.array([3], dtype=np.int32),
    )
    (tmp_path / "test.smi").write_text("C[C@@H](N)O\n")  # the other enantiomer
    printed_by(tmp_path, "zinc_store.py", ".", "store", "--exclude", "test.smi")
    store = ConformerStore(tmp_path / "store")
    assert store.outcomes() | {"3d": 2, "excluded": 1, "failed": 1} == store.outcomes()
    assert [data.smiles for data in store] == ["CCO", "CN"]
    last = store[1]
    assert last.z.tolist() == [6, 7]
    assert np.allclose(last.conformers[:, 0], pos[7:] / 1000)
