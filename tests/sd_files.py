"""SD files of hand-made records."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rdkit import Chem
from rdkit.Chem import AllChem


def block(smiles: str, kind: str = "3d", seed: int = 7) -> str:
    """A mol block.

    Args:
        smiles: The molecule.
        kind: ``"3d"`` with hydrogens, ``"2d"``, a drawing, or ``"tagged"``, a drawing whose header
            says 3D.
        seed: Seed of the coordinates.
    """
    mol = Chem.MolFromSmiles(smiles)
    if kind == "3d":
        mol = Chem.AddHs(mol)
        assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
        return Chem.MolToMolBlock(mol)
    AllChem.Compute2DCoords(mol)
    text = Chem.MolToMolBlock(mol)
    return text.replace("          2D", "          3D", 1) if kind == "tagged" else text


def write_sdf(path: Path, records: Iterable[tuple[str, Mapping[str, object]]]) -> Path:
    """Writes blocks with their properties."""
    with open(path, "w") as file:
        for text, properties in records:
            file.write(text)
            for name, value in properties.items():
                file.write(f">  <{name}>\n{value}\n\n")
            file.write("$$$$\n")
    return path
