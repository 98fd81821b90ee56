"""Keeps a second writer out of a folder."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

_taken: dict[Path, int] = {}  # folder -> process that has it


class FolderLock:
    """A lock on a folder until it is released or the process ends, however it ends.

    A record lock, as it stays with this process: worker processes forked from it would keep
    another kind after it is killed. It does not tell apart two owners in one process, which is
    why those are listed as well. Without ``fcntl`` only the list is left.

    Raises:
        BlockingIOError: If the folder is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if _taken.get(folder) == os.getpid():
            raise BlockingIOError(f"{folder} is taken by this process")
        self._file = open(folder / "lock", "ab")  # noqa: SIM115, open as long as it is locked
        if fcntl is not None:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise BlockingIOError(f"{folder} is taken by another process") from None
        _taken[folder] = os.getpid()

    def release(self) -> None:
        self._file.close()
        _taken.pop(self.folder, None)
