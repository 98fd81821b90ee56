"""Records of SD files of which the 3D coordinates alone are used: none are generated."""

from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import Molecule, read_mol
from molae_pyg.chem.rows import Row, row_of
from molae_pyg.chem.sdf import read_block

_GENERATED = ": coordinates generated"  # what a note ends in if coordinates are left out


def read_given(block: bytes, canonical: bool = False) -> Molecule | Row:
    """Reads a record with its 3D coordinates, or returns the row that says why it has none.

    The molfile's dimension counts: a 2D drawing is not taken as 3D, nor is a flat drawing that is
    tagged 3D, see :func:`~molae_pyg.chem.parsing.problem_of`.

    Args:
        block: The record.
        canonical: Put the atoms into canonical order.
    """
    try:
        molecule = read_mol(read_block(block), canonical)
    except ValueError as error:
        return Row("invalid", str(error))
    if molecule.given:
        return molecule
    note = molecule.note.removesuffix(_GENERATED)
    return Row("failed", note or "the record has no 3D coordinates", molecule.smiles)


def row_of_record(block: bytes, options: Options) -> Row:
    """Returns the row of a record with its own coordinates, of which as many are taken as asked.

    ``atom_map`` counts the atoms of the record.
    """
    found = read_given(block)
    return found if isinstance(found, Row) else row_of(found, options)
