"""Molecules of an SD file with their own 3D coordinates."""

import os
from collections.abc import Iterable

from rdkit import rdBase

from molae_pyg.chem.given import read_given
from molae_pyg.chem.options import as_input_errors
from molae_pyg.chem.rows import Row
from molae_pyg.chem.sdf import sdf_blocks, unpacked
from molae_pyg.inference.file_rows import check_has_coordinates
from molae_pyg.workflow.molecules import Molecules, row_of_given


def molecules_of_sdf(path: str | os.PathLike) -> Molecules:
    """Reads the records of an SD file with their 3D coordinates; none are generated.

    A record without 3D coordinates (a 2D drawing, also one that is tagged 3D) has the status
    ``"failed"`` and a reason, one that cannot be read ``"invalid"``.

    Args:
        path: The file, ``.sdf`` or ``.sdf.gz``.

    Raises:
        InputError: If it is no SD file, or damaged.
    """
    check_has_coordinates(path)
    with as_input_errors(), unpacked(path) as (file, _):
        return molecules_of_blocks(sdf_blocks(file, path))


def molecules_of_blocks(blocks: Iterable[bytes]) -> Molecules:
    """Reads records of an SD file as :func:`molecules_of_sdf` does."""
    rows = []
    with rdBase.BlockLogs():
        for block in blocks:
            found = read_given(block, canonical=True)
            rows.append(found if isinstance(found, Row) else row_of_given(found))
    return Molecules([row.smiles for row in rows], rows)
