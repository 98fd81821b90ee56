"""``prepare`` with inputs that change, other recipes, full disks and dead processes."""

import errno
import gzip
import hashlib
import json
import textwrap
from pathlib import Path

import pytest
from stores import files

from molae_pyg.chem import worker
from molae_pyg.chem.options import RECIPE_VERSION
from molae_pyg.store import (
    ConformerStore,
    StoreError,
    StoreWriter,
    preparation,
    prepare,
    report,
)
from molae_pyg.store.format import Manifest, to_arrays
from molae_pyg.store.journal import Journal
from molae_pyg.store.shard import DTYPES, Shard

SMILES = ["CCO", "C1CC", "CO", "CN", "CC(=O)O", "CCC", "CF", "C#N", "OO", "CCl", "C=O"]


def write(path: Path, smiles: list[str]) -> Path:
    path.write_text("\n".join(smiles) + "\n")
    return path


def run(source: Path, store: Path, **settings):
    settings = {"num_conformers": 1, "workers": 1, "progress": False, "shard_rows": 4} | settings
    return prepare(source, store, **settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "a.smi", SMILES)


@pytest.fixture(scope="module")
def whole(source):
    """The store of an undisturbed run."""
    run(source, source.parent / "store")
    return files(source.parent / "store")


# Identity ----------------------------------------------------------------------------------------


def test_the_input_is_known_by_every_byte_and_not_by_its_name(source, whole, tmp_path):
    store = tmp_path / "store"
    first = write(tmp_path / "first.smi", SMILES)
    run(first, store)
    assert files(store) == whole  # the name is no part of it
    meta = ConformerStore(store).meta
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert meta["input"] == {"kind": ".smi", "bytes": first.stat().st_size, "sha256": digest}
    run(first.rename(tmp_path / "second.smi"), store)
    with pytest.raises(StoreError, match=r"input.kind: '\.smi' there, '\.txt' now"):
        run((tmp_path / "second.smi").rename(tmp_path / "second.txt"), store)


def test_a_byte_anywhere_in_a_large_file_counts(tmp_path):
    """The checksum covers the whole file, not a sample of it."""
    path = tmp_path / "large.smi"
    with open(path, "wb") as file:  # sparse: 600 MiB of zeros that take no room
        file.truncate(600 << 20)
    before = preparation._content(preparation.MoleculeFile(path), False)
    with open(path, "r+b") as file:
        file.seek((1 << 20) + (600 << 20) // 256 + 12345)
        file.write(b"C")
    after = preparation._content(preparation.MoleculeFile(path), False)
    assert before["bytes"] == after["bytes"]
    assert before["sha256"] != after["sha256"]


def test_a_store_of_another_recipe_is_read_but_not_added_to(source, tmp_path):
    run(source, tmp_path)
    path = tmp_path / "store.json"
    manifest = json.loads(path.read_text())
    before = [data.conformers for data in ConformerStore(tmp_path)]
    del manifest["meta"]["recipe_version"]
    manifest["meta"]["molae_pyg"] = "0.1.0"
    path.write_text(json.dumps(manifest))
    after = [data.conformers for data in ConformerStore(tmp_path)]
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
    message = f"recipe_version: absent there, {RECIPE_VERSION} now.*: write to another folder"
    with pytest.raises(StoreError, match=message):
        run(source, tmp_path)
    manifest["complete"], manifest["num_rows"] = False, None  # interrupted: the same
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=message):
        run(source, tmp_path)


@pytest.mark.parametrize("meta", [None, [], "text", 3, {"input": None}])
def test_any_meta_can_be_compared(source, tmp_path, meta):
    run(source, tmp_path)
    path = tmp_path / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"meta": meta}))
    with pytest.raises(StoreError, match="holds another store"):
        run(source, tmp_path)


def test_the_version_of_the_package_is_no_part_of_it(source, whole):
    assert b"molae_pyg" not in whole["store.json"].replace(b"molae_pyg conformer store", b"")


def test_equal_settings_of_other_types_are_the_same(source, tmp_path):
    import numpy as np

    run(source, tmp_path, time_limit=30, seed=0)
    before = files(tmp_path)
    run(source, tmp_path, time_limit=np.float64(30.0), seed=np.int64(0), num_conformers=np.int32(1))
    assert files(tmp_path) == before


# An input that changes ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["cut", "grown", "replaced"])
def test_an_input_that_changes_while_it_is_read(tmp_path, monkeypatch, change):
    source, store = write(tmp_path / "a.smi", SMILES), tmp_path / "store"
    text = source.read_text()
    after = {"cut": text[:20], "grown": text + "CCCC\n", "replaced": text.replace("CF", "CI")}
    real = preparation._write

    def change_late(*args):
        made = real(*args)
        source.write_text(after[change])
        return made

    monkeypatch.setattr(preparation, "_write", change_late)
    with pytest.raises(StoreError, match=r"a\.smi changed while it was read \(.*sha256: "):
        run(source, store)
    monkeypatch.undo()
    assert not Manifest.read(store).complete
    assert list(store.glob("shard-*"))  # the rows stay
    with pytest.raises(StoreError, match="is not complete"):
        ConformerStore(store)
    for now in (after[change], text):  # rows of two contents are not mixed silently
        source.write_text(now)
        with pytest.raises(StoreError, match="'changed while it was read' there, absent now"):
            run(source, store)


def test_a_truncated_compressed_input_can_be_restored(tmp_path, monkeypatch):
    source, store = tmp_path / "a.smi.gz", tmp_path / "store"
    text = gzip.compress("\n".join(SMILES).encode(), mtime=0)
    source.write_bytes(text)
    real = preparation._meta
    with monkeypatch.context() as patch:
        patch.setattr(
            preparation, "_meta", lambda *args: (real(*args), source.write_bytes(text[:-10]))[0]
        )
        with pytest.raises(ValueError, match=r"a\.smi\.gz is damaged or not complete"):
            run(source, store)
    source.write_bytes(text)
    run(source, store)
    assert len(ConformerStore(store)) == len(SMILES) - 1


def test_exclusions_that_change_while_they_are_read(source, tmp_path, monkeypatch):
    listed = write(tmp_path / "test.smi", ["CO"])
    real = preparation._exclusions

    def change_late(*args):
        made = real(*args)
        write(listed, ["CO", "CN"])
        return made

    monkeypatch.setattr(preparation, "_exclusions", change_late)
    with pytest.raises(StoreError, match=r"test\.smi changed while it was read"):
        run(source, tmp_path / "store", exclude=listed)


# Repair ------------------------------------------------------------------------------------------

# Ethanol's process always dies, methanol never ends, acetic acid loses its layout.
DEADLY = """
import os, time
import molae_pyg.chem.worker as w
from molae_pyg.chem import parsing, records
generate, parse = records.generate, parsing.parse_smiles
def replaced_generate(mol, recipe):
    if mol.GetNumAtoms() == 9: os._exit(7)
    if mol.GetNumAtoms() == 6: time.sleep(1000)
    yield from generate(mol, recipe)
def replaced_parse(smiles):
    if smiles == "OO": os._exit(7)
    return parse(smiles)
records.generate, parsing.parse_smiles = replaced_generate, replaced_parse
w.serve()
"""


@pytest.fixture(scope="module")
def damaged(source, tmp_path_factory):
    """A complete store, some of whose rows have lost their conformers to dead processes."""
    store = tmp_path_factory.mktemp("damaged") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_PROGRAM", textwrap.dedent(DEADLY))
        patch.setattr(worker, "GRACE", -26.0)  # of a limit of 30 s
        report = run(source, store)
    assert report.counts["2d"] == 2
    assert report.counts["failed"] == 1
    return files(store)


def restore(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, text in files.items():
        (folder / name).write_bytes(text)
    return folder


def test_a_complete_store_is_repaired_on_request(source, whole, damaged, tmp_path, monkeypatch):
    store = restore(damaged, tmp_path / "store")
    run(source, store)  # without the request it is left alone
    assert files(store) == damaged
    added, add = [], StoreWriter.add
    monkeypatch.setattr(
        StoreWriter, "add", lambda self, row, *rest: added.append(row) or add(self, row, *rest)
    )
    report = run(source, store, repair=True)
    assert sorted(added) == [0, 2, 8]  # the others are not made again
    assert files(store) == whole
    assert report.counts["3d"] == len(SMILES) - 1
    added.clear()
    run(source, store, repair=True)  # there is nothing to repair
    assert not added
    assert files(store) == whole


def test_other_settings_are_not_repaired(source, damaged, tmp_path):
    store = restore(damaged, tmp_path / "store")
    with pytest.raises(StoreError, match="seed: 0 there, 1 now"):
        run(source, store, repair=True, seed=1)
    assert files(store) == damaged


def test_repair_of_an_absent_store_prepares_it(source, whole, tmp_path):
    run(source, tmp_path / "store", repair=True)
    assert files(tmp_path / "store") == whole


class Killed(BaseException):
    """A kill: nothing catches it."""


def killing(monkeypatch, at: int) -> None:
    """Ends a repair before its file operation number ``at``."""
    done = 0

    def counted(real):
        def operation(*args, **kwargs):
            nonlocal done
            done += 1
            if done == at:
                raise Killed
            return real(*args, **kwargs)

        return operation

    monkeypatch.setattr(Journal, "__init__", counted(Journal.__init__))
    monkeypatch.setattr(Journal, "add", counted(Journal.add))
    monkeypatch.setattr(Journal, "close", counted(Journal.close))
    monkeypatch.setattr(Manifest, "write", counted(Manifest.write))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))


@pytest.mark.parametrize("again", [False, True], ids=["prepare", "repair"])
def test_a_repair_that_is_killed_loses_nothing(source, whole, damaged, tmp_path, again):
    store = tmp_path / "store"
    for at in range(1, 30):
        restore(damaged, store)
        with pytest.MonkeyPatch.context() as patch:
            killing(patch, at)
            try:
                report.reopen(store, preparation.ended_early)
            except Killed:
                killed = True
            else:
                killed = False
        if Manifest.read(store).complete:
            assert len(ConformerStore(store)) == len(SMILES) - 2  # as before the repair
        run(source, store, repair=again)
        if again or not Manifest.read(store).complete or not killed:
            assert files(store) == whole
        else:
            assert files(store) in (damaged, whole)
        if not killed:
            break
    else:
        pytest.fail("the repair never came to its end")
    assert at > 5


def test_a_damaged_shard_is_not_repaired(source, damaged, tmp_path):
    store = restore(damaged, tmp_path / "store")
    path = store / "shard-00000.safetensors"
    text = bytearray(path.read_bytes())
    text[-1] ^= 1
    path.write_bytes(text)
    with pytest.raises(StoreError, match=r"shard-00000\.safetensors is damaged"):
        run(source, store, repair=True)
    assert Manifest.read(store).complete


def test_records_of_a_shard_are_those_it_was_made_of(source, damaged, tmp_path):
    store = restore(damaged, tmp_path / "store")
    shard = Shard(store, Manifest.read(store).shards[1], verify=True)
    records = list(shard.records(4))
    assert [record.row for record in records] == [4, 5, 6, 7]
    again = to_arrays(records)
    for name in DTYPES:
        assert (again[name] == shard.read(name)).all(), name


# Leftovers and full disks ------------------------------------------------------------------------


def test_leftovers_of_a_kill_in_the_last_steps_are_removed(source, whole, tmp_path):
    store = restore(whole, tmp_path / "store")
    left = ("journal.sqlite", "journal.sqlite-wal", "journal-00002.bin", "store.json.tmp")
    for name in (*left, "problems.csv.tmp"):
        (store / name).write_bytes(b"left")
    run(source, store)
    assert files(store) == whole


def test_a_full_disk_while_the_problems_are_written(source, whole, tmp_path, monkeypatch):
    store = restore(whole, tmp_path / "store")
    (store / "problems.csv").unlink()
    from molae_pyg import durable

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*problems\.csv'"):
            run(source, store)
    assert not list(store.glob("*.tmp"))
    assert not (store / "problems.csv").exists()
    run(source, store)
    assert files(store) == whole


def test_ctrl_c_while_exclusions_are_read(source, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "_exclusions", stop)
    with pytest.raises(KeyboardInterrupt, match="stopped with 0 rows done; the same call resumes"):
        run(source, tmp_path / "store")
