"""A cache of conformers and features on the disk, for fits of the same molecules."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rdkit import rdBase

from molae_pyg._version import __version__
from molae_pyg.chem.options import Options
from molae_pyg.chem.rows import Row, ended_early
from molae_pyg.inference.cache import EmbeddingCache, cache_folder

_ARRAYS = ("z", "conformers", "atom_map")


class FeatureCache:
    """Conformers and features of SMILES, in the file of the cache of embeddings.

    No call fails because of it: if the file cannot be used, a warning says so.

    Args:
        options: How molecules are made.
    """

    def __init__(self, options: Options):
        #: What conformers depend on.
        self.recipe = options.to_dict()
        self._rows = self._shelf(kind="conformers", recipe=self.recipe)

    def rows(self, smiles: Sequence[str]) -> dict[str, Row]:
        """Returns the rows of the SMILES that were made before."""
        return {text: _unpacked(found) for text, found in self._rows.contents(smiles).items()}

    def keep_rows(self, rows: Mapping[str, Row]) -> None:
        """Saves rows by SMILES, except those that ended early: another run may complete them."""
        whole = {text: row for text, row in rows.items() if not ended_early(row.reason)}
        self._rows.keep_contents({}, {text: _packed(row) for text, row in whole.items()})

    def block(
        self,
        name: str,
        keys: Sequence[str | None],
        settings: Mapping[str, Any],
        make: Callable[[list[int]], np.ndarray],
    ) -> np.ndarray:
        """Returns the features of molecules ``[n, F]`` float32.

        Args:
            name: Name of the block.
            keys: SMILES of each molecule ``[n]``; None: its features are not cached.
            settings: What they depend on beside the molecule.
            make: Returns the features of molecules with these numbers.
        """
        shelf = self._shelf(kind=name, **settings)
        known = shelf.vectors(list(dict.fromkeys(key for key in keys if key is not None)))
        first = {key: row for row, key in reversed(list(enumerate(keys)))}  # row of each key
        missing = [
            row
            for row, key in enumerate(keys)
            if key is None or (key not in known and first[key] == row)
        ]
        made = dict(zip(missing, make(missing).astype(np.float32), strict=True)) if missing else {}
        new = {keys[row]: vector for row, vector in made.items() if keys[row] is not None}
        shelf.keep({}, new)
        known |= new
        return np.stack([made[row] if key is None else known[key] for row, key in enumerate(keys)])

    def _shelf(self, **settings: Any) -> EmbeddingCache:
        reader = f"rdkit {rdBase.rdkitVersion}, molae_pyg {__version__}"
        return EmbeddingCache(cache_folder(), reader, {"reader": reader, **settings})


def _packed(row: Row) -> bytes:
    """Returns a row as the content of an ``.npz`` file; nothing in it needs to be unpickled."""
    facts = {k: v for k, v in row._asdict().items() if k not in _ARRAYS}
    arrays = {k: getattr(row, k) for k in _ARRAYS if getattr(row, k) is not None}
    content = io.BytesIO()
    np.savez(content, facts=np.array(json.dumps(facts)), **arrays)
    return content.getvalue()


def _unpacked(content: bytes) -> Row:
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        arrays = {name: found[name] for name in _ARRAYS if name in found.files}
        return Row(**json.loads(str(found["facts"])), **arrays)
