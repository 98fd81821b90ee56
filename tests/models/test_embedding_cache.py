from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from molae_pyg.models.embedding_cache import EmbeddingCache, cache_folder


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
