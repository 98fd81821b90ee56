"""Files that are whole or absent, whatever ends the process, and folders with one writer."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: no lock between processes there
    fcntl = None

_BLOCK = 1 << 20  # bytes read at once

_taken: dict[Path, int] = {}  # folder -> process that has it


def write_durably(path: str | os.PathLike, *parts: bytes | memoryview) -> None:
    """Replaces a file as a whole, see :func:`replacing`.

    Args:
        path: The file; its folder exists.
        parts: The content, piece by piece.

    Raises:
        OSError: If it cannot be written, with the path. The temporary file is removed.
    """
    with replacing(path) as file:
        for part in parts:
            file.write(part)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file that replaces another as a whole: a crash leaves the old one or the new one.

    The content goes to ``<name>.tmp`` beside the file, is brought to the disk and renamed.

    Args:
        path: The file; its folder exists.

    Yields:
        The file to write to.

    Raises:
        OSError: If it cannot be written, with the path. The temporary file is removed, as it is
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
        seen: Called with the number of bytes of each piece that is read, to show progress.
            default: None.
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

    A record lock, as it stays with this process: worker processes forked from it would keep
    another kind after it is killed. It does not tell apart two owners in one process, which is
    why those are listed as well. Without ``fcntl`` only the list is left.

    Args:
        folder: An existing folder; gets an empty file ``lock``.

    Raises:
        BlockingIOError: If the folder is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        if _taken.get(self.folder) == os.getpid():
            raise BlockingIOError(f"{folder} is taken by this process")
        self._file = open(self.folder / "lock", "ab")  # noqa: SIM115, open as long as it is locked
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise BlockingIOError(f"{folder} is taken by another process") from None
        _taken[self.folder] = os.getpid()

    def release(self) -> None:
        """Lets another process have the folder."""
        self._file.close()
        _taken.pop(self.folder, None)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
