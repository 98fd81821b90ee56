"""One molecule to one PyG ``Data``."""

from rdkit import Chem, rdBase
from torch_geometric.data import Data

from molae_pyg.chem import embedder
from molae_pyg.chem.assembly import build_or_raise, invalid_message
from molae_pyg.chem.conformers import Embedding
from molae_pyg.chem.items import Item
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import Molecule, read_mol


def from_smiles(
    smiles: str,
    num_conformers: int | None = None,
    add_2d: bool = False,
    remove_hydrogens: bool = True,
    canonical: bool = True,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
) -> Data:
    """Turns a SMILES string into a 3D molecule.

    Hydrogens are added, conformers embedded with ETKDGv3 (`Wang et al. 2020
    <https://doi.org/10.1021/acs.jcim.0c00025>`_) and minimised with MMFF94, and hydrogens removed
    again: the recipe of Uni-Mol and Mol-AE. Where no embedding is found, random start coordinates
    are tried, then the 2D layout stands in, with ``status`` and ``reason`` saying so. The
    fragments of a salt are embedded each by itself and all lie around the origin.

    Args:
        smiles: The molecule.
        num_conformers: None gives one conformer as ``pos``; an int K gives K of them as
            ``conformers``. Number k is embedded with ``seed + k + 1``. Where fewer can be made they
            are repeated in turn. 0 gives, with ``add_2d``, the 2D layout alone.
        add_2d: Append RDKit's 2D layout (z = 0) as one more conformer; pre-training uses 10
            conformers and one layout.
        remove_hydrogens: Remove all hydrogens, deuterium too, once the coordinates are made. A
            molecule of hydrogens only keeps them and says so.
        canonical: Rebuild the molecule from its canonical SMILES first, so that equivalent SMILES
            give equal atoms in equal order at equal coordinates. False keeps the given order.
        max_atoms: Crop larger molecules to this many random atoms, their order kept. None: never.
        seed: For coordinates and cropping.
        time_limit: Seconds for all conformers of the molecule together, which are made in a
            process that is killed when it overruns. Reading a SMILES of more than 1000 characters
            and making the 2D layout may take as long again each (the layout 60 s at most).

    Returns:
        ``Data`` with n atoms and

        - ``z`` ``[n]`` int64, atomic numbers (a dummy atom ``*``, which has none, is 118, an
          element outside the vocabulary),
        - ``pos`` ``[n, 3]`` or ``conformers`` ``[n, K (+1), 3]``, float32, in Å,
        - ``smiles``, as given,
        - ``atom_map`` ``[n]`` int64, each atom's place in the input (in a SMILES string, explicit
          ``[H]`` counted); -1 for hydrogens that were added,
        - ``status`` ``"3d"`` or ``"2d"``, ``reason`` (empty where all went by the recipe),
        - ``num_distinct`` conformers before repetition and without the appended layout, those at
          equal coordinates (of a single atom, say) counted once; conformers of a rigid molecule
          differ by their place and orientation alone, and count,
          ``num_unknown`` atoms outside the vocabulary, ``num_cropped`` atoms cut off.

    Raises:
        ValueError: If the string is no valid SMILES, an argument is out of range, or no
            coordinates at all could be made.
        KeyboardInterrupt: On Ctrl-C. No disturbed coordinates are returned.
    """
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit)
    with rdBase.BlockLogs():
        try:
            molecule = embedder.parse(smiles, canonical, time_limit)
        except ValueError as error:
            raise ValueError(invalid_message(smiles, error)) from None
        return build_or_raise(molecule, embedder.run(molecule.mol, options.recipe), options)


def from_mol(
    mol: Chem.Mol,
    num_conformers: int | None = None,
    add_2d: bool = False,
    remove_hydrogens: bool = True,
    canonical: bool = False,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
) -> Data:
    """Turns an RDKit molecule into a 3D molecule.

    If ``mol`` has 3D conformers they are used as they are, and no hydrogen is added; otherwise
    they are made as by :func:`from_smiles`. Conformers that cannot be those of the molecule (two
    atoms at one place; a flat drawing that is tagged 3D) are not used, and ``reason`` says so.

    Args:
        mol: The molecule; left unchanged.
        num_conformers: None takes the first conformer as ``pos``; an int K takes the first K given
            ones, repeated in turn where there are fewer, as ``conformers``.
        add_2d: As in :func:`from_smiles`.
        remove_hydrogens: As in :func:`from_smiles`.
        canonical: False (the default here) keeps the atom order of ``mol``. True puts the atoms
            into canonical order; given coordinates move along with their atoms.
        max_atoms: As in :func:`from_smiles`.
        seed: As in :func:`from_smiles`.
        time_limit: As in :func:`from_smiles`.

    Returns:
        ``Data`` as from :func:`from_smiles`; ``smiles`` is written by RDKit, ``atom_map`` holds
        atom indices of ``mol``.

    Raises:
        ValueError: If ``mol`` is None, has no atoms, has coordinates that are not finite or cannot
            be sanitised, an argument is out of range, or no coordinates at all could be made.
    """
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit)
    with rdBase.BlockLogs():
        return convert(read_mol(mol, canonical), options)


def convert(molecule: Molecule, options: Options) -> Data:
    """Makes the ``Data`` of a molecule that has been read, with its own coordinates if it has any.

    Raises:
        ValueError: If there are none and none can be made.
    """
    if molecule.given:
        embedding = Embedding(list(molecule.given[: options.recipe.count]))
        if options.add_2d:
            embedding.add(embedder.lay_out(Item.of(molecule), options.recipe))
    else:
        embedding = embedder.run(molecule.mol, options.recipe)
    if molecule.note:
        embedding.notes.insert(0, molecule.note)
    return build_or_raise(molecule, embedding, options)
