"""Files of vectors, written part by part: CSV, NumPy's npz, and Parquet."""

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from molae_pyg.chem.options import InputError
from molae_pyg.durable import replacing

_LONGEST = 200  # characters of a reason in an npz file, whose texts are all equally long


class Lines(NamedTuple):
    """The next lines of a file."""

    columns: dict[str, Sequence]  #: Columns of L lines; ``atom`` holds None where there is none.
    x: np.ndarray  #: Vectors ``[L, C]`` float32.
    status: list[str]  #: Of each of the input's rows ``[n]``.
    reason: list[str]  #: The same.


Write = Callable[[Lines], None]


def _frame(lines: Lines) -> pd.DataFrame:
    named = pd.DataFrame(lines.columns)
    if "atom" in named:
        named["atom"] = named["atom"].astype("Int64")  # empty, not NaN, where there is none
    x = pd.DataFrame(lines.x, columns=[f"x{i}" for i in range(lines.x.shape[1])])
    return pd.concat([named, x], axis=1)


@contextmanager
def write_csv(path: Path) -> Iterator[Write]:
    """Writes a table of texts; numbers have seven digits, which are those of float32."""
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        first = True

        def write(lines: Lines) -> None:
            nonlocal first
            frame = _frame(lines)
            frame.to_csv(text, index=False, header=first, float_format="%.7g", lineterminator="\n")
            first = False

        yield write
        text.detach()


@contextmanager
def write_parquet(path: Path) -> Iterator[Write]:
    """Writes a table of typed columns, a group of rows a part."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    with replacing(path) as file:
        writer = None

        def write(lines: Lines) -> None:
            nonlocal writer
            table = pa.Table.from_pandas(_frame(lines), preserve_index=False)
            if writer is None:
                writer = ParquetWriter(file, table.schema)
            writer.write_table(table.cast(writer.schema))

        try:
            yield write
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def write_npz(path: Path) -> Iterator[Write]:
    """Writes arrays. The vectors wait in a file until their number is known."""
    columns: dict[str, list] = {}
    with replacing(path) as file, tempfile.TemporaryFile(dir=path.parent) as vectors:
        shape = [0, 0]

        def write(lines: Lines) -> None:
            shape[0], shape[1] = shape[0] + lines.x.shape[0], lines.x.shape[1]
            vectors.write(np.ascontiguousarray(lines.x, "<f4").data)
            found = {"status": lines.status, "reason": [r[:_LONGEST] for r in lines.reason]}
            if "atom" in lines.columns:
                found["row"] = lines.columns["row"]
                found["atom"] = [-1 if atom is None else atom for atom in lines.columns["atom"]]
                found["element"] = lines.columns["element"]
            for name, values in found.items():
                columns.setdefault(name, []).append(np.array(values))

        yield write
        vectors.seek(0)
        with zipfile.ZipFile(file, "w") as archive:
            header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
            with archive.open("x.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, header)
                shutil.copyfileobj(vectors, entry, 1 << 20)
            for name, parts in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.concatenate(parts), allow_pickle=False)


#: How a file is written, by the ending of its name.
WRITERS = {".csv": write_csv, ".npz": write_npz, ".parquet": write_parquet}


def check_output(path: Path) -> None:
    """Checks before the work that a file can be written.

    Raises:
        InputError: Its name has another ending.
        FileNotFoundError: Its folder does not exist.
        ModuleNotFoundError: pyarrow is needed and not installed.
    """
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: the name must end in {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "writing .parquet needs pyarrow: pip install 'molae_pyg[parquet]'; .csv and .npz "
                "need nothing else"
            ) from None
