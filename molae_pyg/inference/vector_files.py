"""Outputs of many rows, written part by part: CSV, NumPy's npz, Parquet, and folders of Parquet."""

import gzip
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np
import pandas as pd

from molae_pyg.chem.options import InputError
from molae_pyg.chem.sdf import is_packed
from molae_pyg.durable import replacing
from molae_pyg.tables.text_file import ending_of

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST = 200  # characters of a reason in an npz file, whose texts are all equally long


class Lines(NamedTuple):
    """The next lines of a file."""

    columns: dict[str, Sequence]  #: Columns of L lines; ``atom`` holds None where there is none.
    x: np.ndarray  #: Vectors ``[L, C]`` float32.
    status: list[str]  #: Of each of the input's rows ``[n]``.
    reason: list[str]  #: The same.


Write = Callable[[Lines], None]


def frame_of(lines: Lines) -> pd.DataFrame:
    """Returns lines as a table."""
    named = pd.DataFrame(lines.columns)
    if "atom" in named:
        named["atom"] = named["atom"].astype("Int64")  # empty, not NaN, where there is none
    x = pd.DataFrame(lines.x, columns=[f"x{i}" for i in range(lines.x.shape[1])])
    return pd.concat([named, x], axis=1)


@contextmanager
def text_writer(path: Path) -> Iterator[TextIO]:
    """Opens a text that replaces another as a whole; ``.gz`` is compressed."""
    with replacing(path) as file, ExitStack() as stack:
        if is_packed(path):
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        text = io.TextIOWrapper(file, "utf-8", "surrogatepass", newline="", write_through=True)
        yield text
        text.detach()


@contextmanager
def write_csv(path: Path) -> Iterator[Write]:
    """Writes a table of texts; numbers have seven digits, which are those of float32."""
    with text_writer(path) as text:
        first = True

        def write(lines: Lines) -> None:
            nonlocal first
            frame = frame_of(lines)
            frame.to_csv(text, index=False, header=first, float_format="%.7g", lineterminator="\n")
            first = False

        yield write


@contextmanager
def write_parquet(path: Path) -> Iterator[Write]:
    """Writes a table of typed columns, a group of rows a part."""
    with parquet_writer(path) as write:
        yield lambda lines: write(frame_of(lines))


@contextmanager
def parquet_writer(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Writes tables with equal columns to one Parquet file."""
    from pyarrow.parquet import ParquetWriter

    with replacing(path) as file:
        writer = None

        def write(frame: pd.DataFrame) -> None:
            nonlocal writer
            table = _arrow(frame)
            if writer is None:
                writer = ParquetWriter(file, table.schema)
            writer.write_table(table)

        try:
            yield write
        finally:
            if writer is not None:
                writer.close()


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Writes a table to a Parquet file."""
    with parquet_writer(path) as write:
        write(frame)


def _arrow(frame: pd.DataFrame) -> "pa.Table":
    """Returns a table of Arrow whose types do not depend on the rows.

    Columns of objects are texts, or lists of numbers with None where there is none.
    """
    import pyarrow as pa

    def kind(values: pd.Series) -> pa.DataType:
        if values.dtype != object:
            return pa.Array.from_pandas(values[:0]).type
        is_list = any(value is None or isinstance(value, np.ndarray) for value in values)
        return pa.list_(pa.float64()) if is_list else pa.string()

    schema = pa.schema([(name, kind(frame[name])) for name in frame])
    return pa.Table.from_pandas(frame, schema, preserve_index=False)


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


def is_folder(out: str | os.PathLike) -> bool:
    """Returns whether a name means a folder of Parquet files: it ends in a slash."""
    return os.fspath(out).endswith(tuple(filter(None, (os.sep, os.altsep))))


def check_output(out: str | os.PathLike, endings: Sequence[str] = tuple(WRITERS)) -> None:
    """Checks before the work that an output can be written.

    Args:
        out: Name of a file, or of a folder, see :func:`is_folder`.
        endings: Endings that the name of a file may have.

    Raises:
        InputError: Its name has another ending, or the folder exists.
        FileNotFoundError: The folder above it does not exist.
        ModuleNotFoundError: pyarrow is needed and not installed.
    """
    path, ending = Path(out), ending_of(out)
    is_text = ending in (".csv", ".tsv")
    if not is_folder(out) and (ending not in endings or (is_packed(out) and not is_text)):
        raise InputError(
            f"{path}: the name must end in {', '.join(endings)} (a text also in .gz), or in / for "
            "a folder of Parquet files"
        )
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    if is_folder(out) and path.exists() and not path.with_name(f"{path.name}.parts").exists():
        raise InputError(f"{path} exists: remove it, or give another name")
    if is_folder(out) or ending == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "writing .parquet needs pyarrow: pip install 'molae_pyg[parquet]'; .csv needs "
                "nothing else"
            ) from None
