"""Preparing stores from files of molecules: their content, and runs that are killed."""

import csv
import gzip
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from stores import files, num_journalled

from molae_pyg import cli
from molae_pyg.chem import featurize, from_sdf, worker
from molae_pyg.store import ConformerStore, StoreError, StoreWriter, preparation, prepare
from molae_pyg.store.format import Manifest
from molae_pyg.store.journal import Journal

RESOLUTION = 0.0005 + 1e-6  # Å, of a store
SMILES = [
    *("OCC", "C1CC", "C[C@H](N)C(=O)O", "CC(=O)[O-].[Na+]", "OCC", "not_a_molecule"),
    *("c1ccccc1O", "C[Pt](N)(N)Cl", "[H][H]", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "*CC", "C1CCC1"),
]


def write(path: Path, smiles: list[str]) -> Path:
    path.write_text("\n".join(smiles) + "\n")
    return path


def run(source: Path, store: Path, **settings):
    """Two conformers, one process and no bar unless given."""
    settings = {"num_conformers": 2, "workers": 1, "progress": False} | settings
    return prepare(source, store, **settings)


def problems(report) -> list[list[str]]:
    with open(report.problems, newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "molecules.smi", SMILES)


@pytest.fixture(scope="module")
def store(source):
    """Made without interruption, by one process."""
    folder = source.parent / "store"
    run(source, folder, shard_rows=5)
    return folder


def test_store_holds_what_featurize_gives(source, store):
    made, report = featurize(SMILES, 2, add_2d=True, on_error="skip", workers=1, progress=False)
    found = ConformerStore(store)
    assert len(found) == len(made)
    for item, data, row in zip(found, made, report.kept, strict=True):
        assert (item.row.item(), item.smiles, item.status) == (row, data.smiles, data.status)
        assert torch.equal(item.z, data.z)
        assert item.conformers.shape == data.conformers.shape
        assert (item.conformers - data.conformers).abs().max() <= RESOLUTION
    assert [row.status for row in found.rows()] == report.outcomes
    assert [row.reason for row in found.rows()] == report.reasons


def test_every_row_is_reported(source, store):
    report = run(source, store, shard_rows=5)
    assert report.num_rows == sum(report.counts.values()) == len(SMILES)
    assert {k: n for k, n in report.counts.items() if n} == {"3d": 10, "invalid": 2}
    assert problems(report) == [
        ["row", "smiles", "status", "reason"],
        ["1", "C1CC", "invalid", "unclosed ring"],
        ["5", "not_a_molecule", "invalid", problems(report)[2][3]],
    ]
    text = str(report)
    assert "          10  3d\n" in text
    assert "          12  rows\n" in text
    assert "2 rows have problems: " in text


def test_layouts_alone(source, tmp_path):
    report = run(source, tmp_path / "store", num_conformers=0)
    assert {k: n for k, n in report.counts.items() if n} == {"2d": 10, "invalid": 2}
    assert [row[0] for row in problems(report)] == ["row", "1", "5", "8"]  # those with a reason
    assert report.num_problems == 3
    made, _ = featurize(SMILES, 0, add_2d=True, on_error="skip", workers=1, progress=False)
    for item, data in zip(ConformerStore(tmp_path / "store"), made, strict=True):
        assert item.conformers.shape == (data.num_nodes, 1, 3)
        assert (item.conformers - data.conformers).abs().max() <= RESOLUTION


def test_files_do_not_depend_on_the_number_of_workers(source, store, tmp_path):
    run(source, tmp_path / "store", shard_rows=5, workers=2)
    assert files(tmp_path / "store") == files(store)


def test_complete_stores_are_left_alone(source, store, monkeypatch):
    monkeypatch.setattr(preparation, "make_rows", None)
    before = files(store)
    (store / "problems.csv").unlink()  # as if killed before it was written
    run(source, store, shard_rows=5, workers=2)
    assert files(store) == before


def test_other_settings_or_inputs_are_not_mixed(source, store, tmp_path):
    for settings in ({"seed": 1}, {"add_2d": False}, {"exclude": source}, {"num_conformers": 3}):
        with pytest.raises(StoreError, match="holds another store"):
            run(source, store, shard_rows=5, **settings)
    with pytest.raises(StoreError, match=r"another store \(seed: 0 there, 1 now\)"):
        run(source, store, shard_rows=5, seed=1)
    other = write(tmp_path / source.name, ["CCN", *SMILES[1:]])
    with pytest.raises(StoreError, match=r"holds another store \(input\.sha256: "):
        run(other, store, shard_rows=5)


def test_a_store_has_one_recipe(source, store, tmp_path):
    """A store without the key is of the published recipe."""
    meta = Manifest.read(store).meta
    assert "recipe" not in meta
    run(source, store, shard_rows=5, recipe="published")
    with pytest.raises(StoreError, match=r"\(recipe: 'published' there, 'fast-1' now\)"):
        run(source, store, shard_rows=5, recipe="fast")
    run(source, tmp_path / "fast", shard_rows=5, recipe="fast")
    assert Manifest.read(tmp_path / "fast").meta == meta | {"recipe": "fast-1"}
    with pytest.raises(StoreError, match=r"\(recipe: 'fast-1' there, 'published' now\)"):
        run(source, tmp_path / "fast", shard_rows=5)
    fast = featurize(SMILES, num_conformers=2, add_2d=True, recipe="fast", on_error="skip")[0]
    for found, made in zip(ConformerStore(tmp_path / "fast"), fast, strict=True):
        assert torch.allclose(found.conformers, made.conformers, atol=RESOLUTION)


def test_a_flat_store_holds_layouts(source, store, tmp_path):
    run(source, tmp_path / "flat", num_conformers=None, recipe="flat")
    for flat, whole in zip(ConformerStore(tmp_path / "flat"), ConformerStore(store), strict=True):
        assert torch.equal(flat.conformers[:, 0], whole.conformers[:, -1])
    assert {*ConformerStore(tmp_path / "flat").num_conformers} == {1}


def num_done(store: Path) -> int:
    """Number of rows of a store that nobody has open."""
    sealed = sum(entry.rows for entry in Manifest.read(store).shards.values())
    journal = Journal(store, 5)
    journal.close()
    return sealed + journal.num_rows


def start(source: Path, store: Path) -> subprocess.Popen:
    """Starts a run in another process and returns when some rows are done."""
    code = f"""
        import signal
        from molae_pyg.store import prepare
        # A shell's background jobs ignore it, and their children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare({str(source)!r}, {str(store)!r}, 2, workers=2, shard_rows=5, progress=False)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not num_journalled(store):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_a_killed_run_resumes_and_makes_no_row_twice(source, store, tmp_path, monkeypatch):
    killed = tmp_path / "store"
    process = start(source, killed)
    process.kill()
    process.communicate()
    done = num_done(killed)
    assert 0 < done < len(SMILES)

    added = []
    add = StoreWriter.add
    monkeypatch.setattr(
        StoreWriter, "add", lambda self, row, *rest: added.append(row) or add(self, row, *rest)
    )
    run(source, killed, shard_rows=5, workers=2)
    assert len(added) == len({*added}) == len(SMILES) - done
    assert files(killed) == files(store)


def test_ctrl_c_stops_and_the_message_says_how_to_resume(source, store, tmp_path):
    stopped = tmp_path / "store"
    process = start(source, stopped)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "rows done; the same call resumes from there" in printed
    run(source, stopped, shard_rows=5)
    assert files(stopped) == files(store)


def test_hanging_and_crashing_molecules_are_stopped_and_reported(tmp_path, monkeypatch):
    body = """
    import os, time
    import molae_pyg.chem.worker as w
    from molae_pyg.chem import parsing, records
    generate, parse = records.generate, parsing.parse_smiles
    def replaced_generate(mol, recipe):
        if mol.GetNumAtoms() == 9: time.sleep(1000)  # ethanol
        if mol.GetNumAtoms() == 6: os._exit(7)  # methanol
        yield from generate(mol, recipe)
    def replaced_parse(smiles):
        if smiles == "CBr": time.sleep(1000)
        if smiles == "CCl": os._exit(7)
        return parse(smiles)
    records.generate, parsing.parse_smiles = replaced_generate, replaced_parse
    w.serve()
    """
    monkeypatch.setattr(worker, "_PROGRAM", textwrap.dedent(body))
    monkeypatch.setattr(worker, "GRACE", 0.5)
    source = write(tmp_path / "molecules.smi", ["CCO", "CO", "CBr", "CCl", "CC", "CN(C)C"])
    report = run(source, tmp_path / "store", time_limit=0.3)
    assert report.counts["timed out"] == report.counts["failed"] == 1
    assert problems(report)[1:] == [
        ["0", "CCO", "2d", "time limit reached"],
        ["1", "CO", "2d", "the conformer process died twice (exit code 7)"],
        ["2", "CBr", "timed out", "time limit reached while reading the record"],
        [
            "3",
            "CCl",
            "failed",
            "the conformer process died twice (exit code 7) while reading the record",
        ],
    ]


def test_exclusions(tmp_path, capsys):
    listed = tmp_path / "test.csv"
    listed.write_text("id,smiles\n1,C[C@@H](O)CC\n2,not_a_molecule\n3,c1ccccc1\n")
    source = write(tmp_path / "a.smi", ["CO", "CC[C@@H](C)O", "C1=CC=CC=C1", "CCC(C)O", "C1CC"])
    report = run(source, tmp_path / "store", exclude=listed, num_conformers=1, add_2d=False)
    assert {k: n for k, n in report.counts.items() if n} == {"3d": 1, "invalid": 1, "excluded": 3}
    assert problems(report)[1] == ["1", "CC[C@@H](C)O", "excluded", "in test.csv"]
    assert "test.csv: 1 molecules cannot be read and exclude nothing" in capsys.readouterr().err


def sdf(path: Path, *mols: Chem.Mol) -> Path:
    path.write_text("".join(f"{Chem.MolToMolBlock(mol)}$$$$\n" for mol in mols))
    return path


def test_sdf_keeps_its_coordinates(tmp_path):
    mols = [Chem.AddHs(Chem.MolFromSmiles(smiles)) for smiles in ("OCC", "c1ccccc1N", "CF")]
    for mol in mols[:2]:
        rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    source = sdf(tmp_path / "some.sdf", *mols)
    report = run(source, tmp_path / "store", num_conformers=None)
    assert report.counts["3d"] == report.num_rows == 3
    found = ConformerStore(tmp_path / "store")
    for item, data in zip(found, from_sdf(source, 1, add_2d=True), strict=True):
        assert item.conformers.shape[1] == 2
        assert torch.equal(item.z, data.z)
        assert (item.conformers - data.conformers).abs().max() <= RESOLUTION
    assert [row.reason for row in found.rows()][1:] == [
        "",
        "the record has no 3D coordinates: generated",
    ]


def test_compressed_table(tmp_path):
    source = tmp_path / "some.csv.gz"
    source.write_bytes(gzip.compress(b"name;SMILES\nethanol;CCO\nnothing;\nphenol;Oc1ccccc1\n"))
    report = run(source, tmp_path / "store", num_conformers=1, remove_hydrogens=False, max_atoms=5)
    assert problems(report)[1:] == [["1", "", "invalid", "the string is empty"]]
    for item in ConformerStore(tmp_path / "store"):
        assert item.conformers.shape == (5, 2, 3)
        assert item.conformers.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "spark"}, r"engine must be one of \('local', 'ray'\), got 'spark'"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"num_conformers": -1}, "num_conformers must be at least 0, got -1"),
        ({"num_conformers": 0, "add_2d": False}, "num_conformers must be at least 1, got 0"),
        ({"time_limit": 0}, "time_limit must be in"),
        ({"shard_rows": 0}, "shard_rows must be at least 1"),
    ],
)
def test_arguments_out_of_range(source, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        run(source, tmp_path / "store", **settings)
    assert not (tmp_path / "store").exists()


def test_files_without_molecules(tmp_path):
    for name, text in (("a.smi", "\n\n"), ("a.csv", "smiles\n"), ("a.sdf", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name} holds no molecule"):
            run(tmp_path / name, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_bar_estimates_the_total_of_large_files(source, tmp_path, monkeypatch, capsys):
    from molae_pyg.store import sources as molecule_file

    monkeypatch.setattr(molecule_file, "_SMALL", 0)
    monkeypatch.setattr(preparation, "_LOOKS", 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(source, tmp_path / "store", num_conformers=1, progress=True)
    assert "12/12" in capsys.readouterr().err


def test_a_declared_encoding_is_part_of_the_identity_of_the_input(tmp_path, capsys):
    source = tmp_path / "a.csv"
    source.write_bytes("smiles,name\nCCO,caf\xe9\nCC,\xb5\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.csv, line 2 cannot be read as utf-8.*--encoding"):
        run(source, tmp_path / "store")
    assert cli.main(["prepare", str(source), str(tmp_path / "store")]) == 1
    assert "a.csv, line 2 cannot be read as utf-8" in capsys.readouterr().err
    report = run(source, tmp_path / "store", encoding="latin-1", num_conformers=0)
    assert report.counts["2d"] == report.num_rows == 2
    with pytest.raises(StoreError, match="encoding"):
        run(source, tmp_path / "store", encoding="cp1252", num_conformers=0)


@pytest.mark.parametrize("name", ["f02_open_quote.csv", "f02_open_quote_tab.csv"])
def test_an_open_quote_is_an_error(tmp_path, name):
    source = Path(__file__).parent.parent / "data" / "cases" / name
    with pytest.raises(ValueError, match=rf"{name}, row \d .*a quote is left open"):
        run(source, tmp_path / "store", num_conformers=0)
