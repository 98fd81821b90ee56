"""Files that are whole or absent whatever ends the process, and folders with one writer."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import filelock
import numpy as np

_BLOCK = 1 << 20  # bytes read at once

_taken: dict[Path, int] = {}  # folder -> process that holds it


def write_durably(path: str | os.PathLike, *parts: bytes | memoryview) -> None:
    """Replaces a file as a whole; see :func:`replacing`.

    Args:
        path: The file; its folder exists.
        parts: The content, piece by piece.

    Raises:
        OSError: If it cannot be written, with the path. The temporary file is removed.
    """
    with replacing(path) as file:
        for part in parts:
            file.write(part)


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name to a ``.npz`` file, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_durably(file, content.getbuffer())


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file that replaces another as a whole: a crash leaves the old or the new one.

    The content goes to ``<name>.tmp`` beside the file, is brought to the disk and renamed.

    Args:
        path: The file; its folder exists.

    Yields:
        The file to write to.

    Raises:
        OSError: If it cannot be written, with the path. The temporary file is removed, also
            after any other error in the block.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with naming(path):
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name is on the disk only after the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with naming(path.parent):
                os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Adds a path to an OSError that names none, such as "No space left on device"."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sha256_of(path: str | os.PathLike, seen: Callable[[int], object] | None = None) -> str:
    """Returns the SHA-256 of the bytes of a file, in hexadecimal digits.

    Args:
        path: The file.
        seen: Function that is called with the number of bytes of each piece that is read, to
            show progress. default: None.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            if seen is not None:
                seen(len(block))
    return digest.hexdigest()


class FolderLock:
    """A lock on a folder until it is released or the process ends, however it ends.

    Processes that are forked from the holder do not keep the lock after the holder is killed.

    Args:
        folder: An existing folder; it gets an empty file ``lock``.

    Raises:
        BlockingIOError: If this or another process holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self._lock = filelock.FileLock(self.folder / "lock")
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            holder = "this" if _taken.get(self.folder) == os.getpid() else "another"
            raise BlockingIOError(f"{folder} is taken by {holder} process") from None
        _taken[self.folder] = os.getpid()

    def release(self) -> None:
        """Lets another process have the folder."""
        self._lock.release()
        _taken.pop(self.folder, None)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
