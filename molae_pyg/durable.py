"""Files that are whole or absent, whatever ends the process, and folders with one writer."""

import hashlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock between processes there
    fcntl = None

_BLOCK = 1 << 20  # bytes read at once

_taken: dict[Path, int] = {}  # folder -> process that has it


def write_durably(path: str | os.PathLike, *parts: bytes | memoryview) -> None:
    """Replaces a file as a whole: after a crash there is the old one or the new one.

    The content goes to ``<name>.tmp`` beside the file, is brought to the disk and renamed.

    Args:
        path: The file; its folder exists.
        parts: The content, piece by piece.

    Raises:
        OSError: If it cannot be written, with the path. The temporary file is removed.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # "No space left on device" alone does not say where
        temporary.unlink(missing_ok=True)
        raise type(error)(error.errno, error.strerror, str(path)) from None
    if os.name == "posix":  # the new name is on the disk only after the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sha256_of(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of the bytes of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
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
