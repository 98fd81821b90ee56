import gzip
from pathlib import Path

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom

from molae_pyg.chem import from_pdb, from_sdf

CASES = Path(__file__).parent.parent / "data" / "cases"

BROKEN = "name\n  RDKit\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n  nonsense\nM  END\n"


def embedded(smiles: str, conformers: int = 1) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, conformers, randomSeed=1)
    return mol


def positions(mol: Chem.Mol) -> torch.Tensor:
    return torch.from_numpy(mol.GetConformer().GetPositions()).float()


def sdf_of(*blocks: str) -> str:
    return "".join(f"{block}$$$$\n" for block in blocks)


@pytest.mark.parametrize("name", ["some.sdf", "some.sdf.gz"])
def test_sdf_keeps_coordinates_and_order(tmp_path, name):
    mols = [embedded("OCC"), embedded("c1ccccc1N")]
    text = sdf_of(*map(Chem.MolToMolBlock, mols))
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    data = from_sdf(path)
    assert [d.record for d in data] == [0, 1]
    assert [d.smiles for d in data] == ["CCO", "Nc1ccccc1"]
    assert data[0].z.tolist() == [8, 6, 6]
    for d, mol in zip(data, mols, strict=True):
        torch.testing.assert_close(d.pos, positions(mol)[d.atom_map], atol=1e-4, rtol=0)
        assert (d.status, d.reason) == ("3d", "")
    several = from_sdf(str(path), num_conformers=2, add_2d=True, remove_hydrogens=False)
    assert several[0].conformers.shape == (9, 3, 3)
    assert several[0].num_distinct == 1


def test_sdf_records_that_cannot_be_read(tmp_path):
    path = tmp_path / "some.sdf"
    path.write_text(sdf_of(Chem.MolToMolBlock(embedded("CO")), BROKEN, BROKEN))
    with pytest.raises(ValueError, match=r"record 1 of .*some.sdf: RDKit cannot read it\. Repair"):
        from_sdf(path)
    with pytest.warns(UserWarning, match="2 of 3 records left out; the first: record 1 of"):
        data = from_sdf(path, on_error="skip")
    assert [d.record for d in data] == [0]
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'drop'"):
        from_sdf(path, on_error="drop")
    with pytest.raises(FileNotFoundError):
        from_sdf(tmp_path / "absent.sdf")


def test_sdf_without_3d_coordinates(tmp_path):
    mol = Chem.MolFromSmiles("OCC")
    rdDepictor.Compute2DCoords(mol)
    path = tmp_path / "flat.sdf"
    path.write_text(sdf_of(Chem.MolToMolBlock(mol)))
    (data,) = from_sdf(path)
    assert data.pos[:, 2].abs().max() > 0
    assert (data.status, data.reason) == ("3d", "the record has no 3D coordinates: generated")


def test_pdb(tmp_path):
    mol = embedded("NCC(=O)NCC(=O)O", conformers=2)
    path = tmp_path / "peptide.pdb"
    path.write_text(Chem.MolToPDBBlock(mol))
    data = from_pdb(path)
    assert data.z.tolist() == [7, 6, 6, 8, 7, 6, 6, 8, 8]
    torch.testing.assert_close(data.pos, positions(mol)[:9], atol=2e-3, rtol=0)
    assert data.atom_map.tolist() == list(range(9))
    packed = tmp_path / "peptide.pdb.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    models = from_pdb(packed, num_conformers=2, remove_hydrogens=False)
    assert models.conformers.shape == (mol.GetNumAtoms(), 2, 3)
    assert models.num_distinct == 2
    assert from_pdb(path, max_atoms=4).num_cropped == 5


def test_pdb_that_cannot_be_sanitised_keeps_its_coordinates(tmp_path):
    """Five carbons around one, at bonding distance: RDKit bonds them all."""
    path = tmp_path / "odd.pdb"
    places = [(0, 0, 0), (1.5, 0, 0), (-1.5, 0, 0), (0, 1.5, 0), (0, -1.5, 0), (0, 0, 1.5)]
    line = "HETATM{:5d}  C{:<2d} LIG A   1    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00           C\n"
    path.write_text("".join(line.format(i, i, *p) for i, p in enumerate(places, 1)) + "END\n")
    assert torch.equal(from_pdb(path).pos, torch.tensor(places))


def test_pdb_without_atoms(tmp_path):
    path = tmp_path / "empty.pdb"
    path.write_text("REMARK nothing here\nEND\n")
    with pytest.raises(ValueError, match="holds no atoms that RDKit can read"):
        from_pdb(path)
    with pytest.raises(FileNotFoundError):
        from_pdb(tmp_path / "absent.pdb")


ATOM = "HETATM    1  C1  LIG A   1    {}  1.00  0.00           C\n"


@pytest.mark.parametrize(
    "coordinates",
    [
        "",
        " " * 24,
        "   0.000   0.000        ",
        "     nan   0.000   0.000",
        "     abc   0.000   0.000",
    ],
)
def test_pdb_without_coordinates(tmp_path, coordinates):
    path = tmp_path / "none.pdb"
    path.write_text(ATOM.format("   1.000   0.000   0.000") + ATOM.format(coordinates))
    with pytest.raises(ValueError, match=r"none\.pdb, line 2: the atom has no coordinates in col"):
        from_pdb(path)
    with pytest.raises(ValueError, match=r"no-coordinates\.pdb, line 1: the atom has no coord"):
        from_pdb(CASES / "no-coordinates.pdb")


def test_pdb_with_atoms_at_one_place(tmp_path):
    path = tmp_path / "one.pdb"
    here, there = "   0.000   0.000   0.000", "   1.400   0.000   0.000"
    path.write_text(ATOM.format(here) * 2)
    with pytest.raises(ValueError, match="has no coordinates: all atoms lie at one place"):
        from_pdb(path)
    path.write_text(ATOM.format(here) + ATOM.format(there) + ATOM.format(here))
    data = from_pdb(path)
    assert data.reason == "two atoms lie at one place"
    assert data.pos[:, 0].tolist() == pytest.approx([0, 1.4, 0])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.pdb", "A.PDB.GZ"])
def test_pdb_with_other_letters(tmp_path, name, end):
    content = (CASES / "f16_latin1.pdb").read_bytes().replace(b"\n", end.encode())
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    assert from_pdb(path).z.tolist() == [6, 8]
    atom = ATOM.format("   1.000   2.000   3.000").replace("LIG", "L\xc9G")
    for encoding in ("latin-1", "utf-8"):
        content = atom.encode(encoding)
        path.write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
        assert from_pdb(path).pos.tolist() == [[1, 2, 3]]


def test_sdf_drawing_tagged_3d():
    for name in ("f18_drawing_tagged_3d.sdf", "f18_all_zero_tagged_3d.sdf"):
        (data,) = from_sdf(CASES / name)
        assert "generated" in data.reason
        assert float(data.pos[:, 2].max() - data.pos[:, 2].min()) > 0.1
