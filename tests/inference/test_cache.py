import inspect
import os
import re
import sqlite3
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from molae_pyg import MolAE
from molae_pyg.chem.options import Options
from molae_pyg.inference import cache as embedding_cache
from molae_pyg.inference import embed
from molae_pyg.inference.cache import EmbeddingCache, cache_folder

embedding = sys.modules[embed.__module__]  # its name is that of the function


def vectors(*names: str) -> dict[str, np.ndarray]:
    return {name: np.full(3, len(name), np.float32) for name in names}


def test_reading_back(tmp_path):
    names = ["C" * n for n in range(1, 1200)]  # more than one statement takes
    cache = EmbeddingCache(tmp_path / "new" / "folder", "reader", {"seed": 0})
    assert cache.vectors(names) == {} == cache.molecules(names)
    cache.keep({"OCC": "CCO"}, vectors(*names))
    again = EmbeddingCache(tmp_path / "new" / "folder", "reader", {"seed": 0})
    found = again.vectors([*names, "N"])
    assert found.keys() == set(names)
    assert all(np.array_equal(found[name], [len(name)] * 3) for name in names)
    assert again.molecules(["OCC", "CCO"]) == {"OCC": "CCO"}


@pytest.mark.parametrize(("reader", "seed"), [("other", 0), ("reader", 1)])
def test_others_are_not_mixed_up(tmp_path, reader, seed):
    EmbeddingCache(tmp_path, "reader", {"seed": 0}).keep({"OCC": "CCO"}, vectors("CCO"))
    cache = EmbeddingCache(tmp_path, reader, {"seed": seed})
    assert bool(cache.molecules(["OCC"])) == (reader == "reader")
    assert bool(cache.vectors(["CCO"])) == (seed == 0)


def write(folder: Path, number: int) -> None:
    for part in range(20):
        EmbeddingCache(folder, "reader", {}).keep({}, vectors(f"{number}.{part}"))


def test_processes_share_the_file(tmp_path):
    with ProcessPoolExecutor(3) as pool:
        list(pool.map(write, [tmp_path] * 3, range(3)))
    names = [f"{number}.{part}" for number in range(3) for part in range(20)]
    assert EmbeddingCache(tmp_path, "reader", {}).vectors(names).keys() == set(names)


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MOLAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "molae_pyg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "molae_pyg"


# ------------------------------------------------------------------------ a cache that fails


def embedded(model: MolAE) -> np.ndarray:
    return model.embed(["CCO", "CCN"], precision="32-true")


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    return MolAE.tiny()


@pytest.fixture(scope="module")
def expected(model) -> np.ndarray:
    return model.embed(["CCO", "CCN"], precision="32-true", cache=False)


def taken(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("a file in its place")


def under_a_file(folder: Path) -> None:
    os.environ["MOLAE_CACHE"] = str(folder / "file" / "below")
    (folder / "file").write_text("")


def garbage(folder: Path) -> None:
    (folder / "embeddings.sqlite").write_bytes(b"not a database\n" * 40)


def torn(folder: Path) -> None:
    EmbeddingCache(folder, "reader", {}).keep({}, vectors(*("C" * n for n in range(1, 400))))
    content = (folder / "embeddings.sqlite").read_bytes()
    (folder / "embeddings.sqlite").write_bytes(content[: len(content) // 2])


def other_tables(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "embeddings.sqlite")) as database, database:
        database.execute("CREATE TABLE vectors (a)")


def a_folder_in_its_place(folder: Path) -> None:
    (folder / "embeddings.sqlite").mkdir()


DAMAGE = [taken, under_a_file, garbage, torn, other_tables, a_folder_in_its_place]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_cache_that_cannot_be_used_costs_one_warning(
    model, expected, tmp_path, monkeypatch, damage
):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("MOLAE_CACHE", str(folder))
    damage(folder)
    with pytest.warns(UserWarning, match="cache of embeddings") as seen:
        assert np.array_equal(embedded(model), expected)
    texts = [str(w.message) for w in seen if "cache of embeddings" in str(w.message)]
    assert len(texts) == 1
    assert re.search(r"embeddings\.sqlite cannot be used \(.+\).*MOLAE_CACHE.*delete", texts[0])


@pytest.mark.parametrize(
    "message", ["attempt to write a readonly database", "database or disk is full"]
)
def test_a_cache_that_cannot_be_written(model, expected, tmp_path, monkeypatch, message):
    """Earlier entries are still used."""
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    model.embed(["CCO"], precision="32-true")

    class Full(sqlite3.Connection):
        def executemany(self, *_):
            raise sqlite3.OperationalError(message)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Full))
    with pytest.warns(UserWarning, match=message):
        assert np.allclose(embedded(model), expected, atol=1e-6)


def test_a_locked_cache(model, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    monkeypatch.setattr(embedding_cache, "_WAIT", 0.1)
    embedded(model)
    with closing(sqlite3.connect(tmp_path / "embeddings.sqlite")) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.warns(UserWarning, match=r"database is locked"):
            assert np.array_equal(embedded(model), expected)


def change(folder: Path, table: str, column: str, value: object) -> None:
    with closing(sqlite3.connect(folder / "embeddings.sqlite")) as database, database:
        database.execute(f"UPDATE {table} SET {column} = ?", (value,))


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("vectors", "vector", np.ones(64, "<f4").tobytes()),
        ("vectors", "vector", b""),
        ("vectors", "vector", None),
        ("vectors", "vector", "text"),
        ("vectors", "checksum", b"12345678"),
        ("names", "molecule", "CCCC"),
        ("names", "checksum", None),
    ],
)
def test_a_damaged_entry_is_computed_again_and_replaced(
    model, tmp_path, monkeypatch, table, column, value
):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    expected = model.embed(["OCC"], precision="32-true")
    change(tmp_path, table, column, value)
    with pytest.warns(UserWarning, match=r"1 entries .*embeddings\.sqlite are damaged"):
        assert np.array_equal(model.embed(["OCC"], precision="32-true"), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(model.embed(["OCC"], precision="32-true"), expected)


def test_every_flipped_bit_of_the_file_gives_the_vector_or_a_warning(model, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    expected = model.embed(["OCC"], precision="32-true")
    monkeypatch.setattr(embedding, "_encode", lambda *_: expected)
    file = tmp_path / "embeddings.sqlite"
    content = file.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(content), 60).tolist():
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.array_equal(model.embed(["OCC"], precision="32-true"), expected), place


def test_the_key_is_the_recipe_and_the_weights(model, monkeypatch, tmp_path):
    """Not the version of the package: a release that changes neither keeps the embeddings."""
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    options, fp32 = Options(1), embedding._How(32, "32-true", "cls")
    settings = embedding._shelf(model.encoder, options, fp32).settings
    assert "molae_pyg" not in inspect.getsource(embedding._shelf)
    assert (
        embedding._shelf(model.encoder, options, fp32._replace(precision="bf16-mixed")).settings
        != settings
    )
    assert embedding._shelf(model.encoder, Options(2), fp32).settings != settings
    assert (
        embedding._shelf(model.encoder, options, fp32._replace(readout="mean")).settings != settings
    )
    assert (
        embedding._shelf(model.encoder, options, fp32._replace(batch_size=8)).settings == settings
    )
    monkeypatch.setattr("molae_pyg.chem.options.RECIPE_VERSION", 99)
    assert embedding._shelf(model.encoder, options, fp32).settings != settings
