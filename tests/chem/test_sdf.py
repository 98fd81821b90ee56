"""One cutter of SD files: ``from_sdf`` and a store give the same outcomes for every file."""

import gzip
import io
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molae_pyg.chem import from_sdf
from molae_pyg.chem.conformers import Request
from molae_pyg.chem.records import INVALID, work
from molae_pyg.chem.sdf import lines_of, read_sdf, sdf_blocks
from molae_pyg.store import prepare
from molae_pyg.store.sources import MoleculeFile

CASES = Path(__file__).parent.parent / "data" / "cases"
END = "$$$$\n"


def block(smiles: str) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    return Chem.MolToMolBlock(mol)


ONE, TWO, THREE = map(block, ("CO", "CN", "CCO"))
BAD = ONE.replace(" C  ", " Q9 ", 1)


def outcomes(path) -> list[bool]:
    """Whether each record gives a molecule, by from_sdf and by the reader of a store."""
    stored = []
    for record in MoleculeFile(path):
        messages = work(read_sdf, record, Request())
        stored.append(next(messages).kind != INVALID)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* records left out")
        found = [data.record for data in from_sdf(path, on_error="skip")]
    assert found == [record for record, good in enumerate(stored) if good]
    return stored


FORMS = [
    (ONE + END + TWO + END, [1, 1]),
    (ONE + END + TWO, [1, 1]),  # the last end is missing
    (ONE, [1]),  # a MOL file
    (ONE + "> <a>\nvalue\n" + END + TWO + END, [1, 1]),  # no blank line before the end
    (ONE.replace("M  END\n", "") + END + TWO + END, [0, 1]),
    (ONE + END + END + TWO + END, [1, 0, 1]),  # an empty record
    (ONE + END + "\n\n" + END + TWO + END, [1, 0, 1]),
    (ONE + END + TWO + END + "\n  \n\n", [1, 1]),  # blank lines at the end are none
    (END + ONE + END, [0, 1]),
    (END + END, [0, 0]),
    (BAD + END + TWO + END, [0, 1]),
    ("text\n" + END + TWO + END, [0, 1]),
    (ONE + "> <price>\n$$$$ much\n$$$$much\n\n" + END + TWO + END, [1, 1]),
    (ONE + "> <price>\n $$$$\n\n" + END + TWO + END, [1, 1]),
    (ONE + "$$$$   \n" + TWO + "$$$$\t\n", [1, 1]),
    (ONE + "> <end>\nM  END\n\n" + END + TWO + END, [1, 1]),
    (ONE + "> <name>\ncaf\xe9\n\n" + END + "\xb5\n" + TWO.split("\n", 1)[1] + END, [1, 1]),
    (ONE + TWO + END + ONE + END, [0, 1]),  # the end of the first is missing
    (ONE + "$$$$$\n" + TWO + END + ONE + END, [0, 1]),
    (ONE + END + TWO[: len(TWO) // 2], [1, 0]),  # cut
    (ONE + END + "\0" * 50, [1, 0]),
    (ONE + END + "<html>\n</html>\n", [1, 0]),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "macintosh"])
@pytest.mark.parametrize("name", ["a.sdf", "A.SDF.GZ"])
@pytest.mark.parametrize(("text", "wanted"), FORMS)
def test_rows_in_are_rows_out(tmp_path, text, wanted, end, name):
    content = text.replace("\n", end).encode("latin-1")
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    assert outcomes(path) == [bool(good) for good in wanted]


def test_the_store_itself_gives_the_same_account(tmp_path):
    texts = [text for text, _ in FORMS]
    wanted = [good for _, goods in FORMS for good in goods]
    whole = "".join(text if text.rstrip().endswith("$$$$") else text + "\n" + END for text in texts)
    (tmp_path / "all.sdf").write_bytes(whole.encode("latin-1"))
    report = prepare(tmp_path / "all.sdf", tmp_path / "store", workers=1, progress=False)
    records = outcomes(tmp_path / "all.sdf")
    assert sum(records) == sum(wanted) == report.counts["3d"]
    assert len(records) == report.num_rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no molecule: it is empty"),
        (b"\n \r\n", "holds no molecule: it is empty"),
        (b"\0" * 1000, "is no SD file"),
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "is no SD file"),
        (b"just text, a single line", "is no SD file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no SD file"),
    ],
)
def test_files_without_a_molecule(tmp_path, content, message):
    path = tmp_path / "a.sdf"
    path.write_bytes(content)
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match=rf"a\.sdf holds no molecule.*{message[-10:]}"):
            from_sdf(path, on_error=on_error)
    with pytest.raises(ValueError, match=r"a\.sdf holds no molecule"):
        prepare(path, tmp_path / "store", workers=1, progress=False)


def test_a_file_of_zeros():
    with pytest.raises(ValueError, match=r"zeros\.sdf holds no molecule"):
        from_sdf(CASES / "zeros.sdf")


def test_an_empty_record_loses_no_other():
    with pytest.warns(UserWarning, match="2 of 4 records left out; the first: record 1 of"):
        data = from_sdf(CASES / "empty-record.sdf", on_error="skip")
    assert [d.record for d in data] == [0, 3]
    with pytest.raises(ValueError, match=r"record 1 of .*empty-record.sdf: the record is empty"):
        from_sdf(CASES / "empty-record.sdf")


def test_a_cut_archive_is_an_error(tmp_path):
    path = tmp_path / "a.sdf.gz"
    path.write_bytes(gzip.compress((ONE + END).encode() * 2000)[:-9])
    for read in (lambda: from_sdf(path, on_error="skip"), lambda: list(MoleculeFile(path))):
        with pytest.raises(ValueError, match=r"a\.sdf\.gz is damaged or not complete"):
            read()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"$$$$", b" "]), max_size=30),
    st.integers(1, 5),
)
def test_lines_do_not_depend_on_blocks(pieces, size):
    content = b"".join(pieces)

    class Slow(io.BytesIO):
        def read(self, wanted=-1):
            return super().read(min(size, wanted))

    assert list(lines_of(Slow(content))) == content.splitlines(keepends=True)
    if any(line.rstrip() == b"$$$$" for line in content.splitlines()):
        assert content.startswith(b"".join(sdf_blocks(Slow(content), "a.sdf")))
