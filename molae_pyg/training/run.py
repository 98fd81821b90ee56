"""The folder of a run: identity, lock, checkpoint, log and result.

======================  ==========================================================================
``run.json``            identity, number of starts and, when the run is finished, its result
``last.ckpt``           the state to resume from; removed when the run is finished
``course.jsonl``        the log; removed when the run is finished
``model/``              the model
``metrics.csv``         all logged values, one row per update
``lock``                empty; locked while a process trains
======================  ==========================================================================

Every file is written under another name and renamed, except the log, whose valid length is in the
checkpoint. The result is written last. A process that is killed at any moment therefore leaves a
finished folder, or one from which the same call resumes.
"""

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import nn

from molae_pyg.checkpoint import WEIGHTS, CheckpointError
from molae_pyg.durable import FolderLock, write_durably
from molae_pyg.fingerprint import differences, of_weights
from molae_pyg.training.course import LOG, TABLE, Course, write_table

RUN = "run.json"
STATE = "last.ckpt"
MODEL = "model"
#: Names that a run writes over. In a folder without run.json they belong to somebody else.
OURS = (STATE, LOG, TABLE, MODEL, "logs", "checkpoints")

_HEAD = b"molae_pyg run, SHA-256 "  # start of a checkpoint; 64 digits and a line break follow


class RunFolder:
    """The folder of one run, locked for one process until :meth:`close`.

    Args:
        folder: It is made if absent.
        identity: What makes the run the same: kind, checksums of data and initial weights, seed
            and every setting.
        owner: Whether this process writes; false in all but one process of a run.

    Attributes:
        result: The result of a finished run, else None.
        starts: Number of starts of the run, including this one.
        course: The log; None if this process does not write or the run is finished.

    Raises:
        ValueError: The folder holds another run, whose differences are named, or something else.
        BlockingIOError: Another process trains there, or another thread of this one.
        CheckpointError: A file of the run is damaged.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], owner: bool = True):
        self.folder = Path(folder)
        self.identity = identity
        self.course: Course | None = None
        self._lock: FolderLock | None = None
        self._read()
        if owner and (self.result is None or self._leftovers()):
            self._take()

    @property
    def state_file(self) -> Path:
        """Path of the checkpoint, which may be absent."""
        return self.folder / STATE

    def state(self) -> dict[str, Any] | None:
        """Returns the last checkpoint or None, and rewinds the log to it.

        Raises:
            CheckpointError: The checkpoint or the log is damaged.
        """
        if not self.state_file.is_file():
            if self.course is not None:
                self.course.rewind()
            return None
        found = DurableCheckpoints(self).load_checkpoint(self.state_file, weights_only=True)
        if self.course is not None:
            self.course.rewind(*found["course"])
        return found

    def finish(self, result: dict[str, Any], model: nn.Module) -> dict[str, Any]:
        """Writes the model, the table and, last, the result, and returns the result.

        Args:
            result: Numbers by name.
            model: The model, saved by its ``save_pretrained`` or as ``model.safetensors``.
        """
        self.course.position()
        _save(model, self.folder / MODEL)
        if (self.folder / LOG).stat().st_size:
            write_durably(self.folder / TABLE, write_table(self.folder / LOG))
        self.result, self._weights = result, of_weights(model)
        self._write()
        self._clean()
        return result

    def restore(self, model: nn.Module) -> dict[str, Any]:
        """Loads the weights of the finished run into ``model`` and returns the result.

        Raises:
            CheckpointError: The weights are missing or were changed after the run.
        """
        file = self.folder / MODEL / WEIGHTS
        try:
            model.load_state_dict(load_file(file))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"the finished run in {self.folder} has lost its model: {file} cannot be read "
                f"({error}); delete the folder to train again"
            ) from error
        if of_weights(model) != self._weights:
            raise CheckpointError(
                f"{file} holds other weights than the run left there; copy it again, or delete "
                f"{self.folder} to train again"
            )
        return self.result

    def close(self) -> None:
        """Closes the log and unlocks the folder."""
        if self.course is not None:
            self.course.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        """Reads ``run.json`` and refuses a folder of something else."""
        self.starts, self.result, self._weights = 0, None, None
        file = self.folder / RUN
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file: give the name of a folder")
        if not file.is_file():
            if others := [name for name in OURS if (self.folder / name).exists()]:
                raise ValueError(
                    f"{self.folder} is not the folder of a run, as it has no {RUN}, but it has "
                    f"{', '.join(others)}, which training would write over: give another folder"
                )
            return
        try:
            found = json.loads(file.read_bytes())
            identity, self.starts, self.result, self._weights = (
                found[key] for key in ("identity", "starts", "result", "weights")
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} was not written by this version of molae_pyg ({error!r}): give another "
                "folder, or delete this one if it is not needed"
            ) from None
        if self.result is not None and not (self.folder / MODEL).exists():
            warnings.warn(
                f"the model of the finished run in {self.folder} was removed: it is trained again",
                stacklevel=4,
            )
            self.result = self._weights = None
        if differing := differences(identity, self.identity):
            if any(line.startswith("model.weights") for line in differing):
                differing.append("(for equal initial weights seed torch before the model is built)")
            if "objective" in self.identity and "objective" not in identity:
                differing.append("(an earlier version of molae_pyg wrote the folder)")
            kind = "an unfinished" if self.result is None else "a finished"
            raise ValueError(
                f"{self.folder} holds {kind} run that is another one. "
                f"What differs: {'; '.join(differing)}. Give another folder, or delete this one"
            )

    def _take(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = FolderLock(self.folder)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{error}: a run is in progress there; wait for it or give another folder"
            ) from None
        try:
            self._read()  # again: it may have changed before the folder was locked
            if self.result is not None:
                self._clean()
                return
            self.starts += 1
            self._write()
            self.course = Course(self.folder / LOG)
        except BaseException:
            self._lock.release()
            raise

    def _write(self) -> None:
        content = {
            "identity": self.identity,
            "starts": self.starts,
            "result": self.result,
            "weights": self._weights,
        }
        write_durably(self.folder / RUN, json.dumps(content, indent=2).encode() + b"\n")

    def _leftovers(self) -> list[Path]:
        return [self.folder / name for name in (STATE, LOG) if (self.folder / name).exists()]

    def _clean(self) -> None:
        for file in self._leftovers():
            file.unlink()


def _save(model: nn.Module, folder: Path) -> None:
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        return
    folder.mkdir(exist_ok=True)
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    write_durably(folder / WEIGHTS, to_safetensors(weights))


class DurableCheckpoints(CheckpointIO):
    """Writes Lightning's checkpoints to a file that is whole or absent and begins with a checksum.

    Args:
        run: The folder of the run.
    """

    def __init__(self, run: RunFolder):
        super().__init__()
        self.run = run

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Replaces the checkpoint after the log has been written to the disk."""
        checkpoint["course"] = list(self.run.course.position())
        file = io.BytesIO()
        torch.save(checkpoint, file)
        content = file.getvalue()  # a view of the buffer would keep it from being closed
        digest = hashlib.sha256(content).hexdigest()
        write_durably(path, _HEAD, digest.encode(), b"\n", content)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads the checkpoint.

        Raises:
            CheckpointError: The checkpoint is damaged.
        """
        content = Path(path).read_bytes()
        head, rest = content[: len(_HEAD) + 65], memoryview(content)[len(_HEAD) + 65 :]
        if head != _HEAD + hashlib.sha256(rest).hexdigest().encode() + b"\n":
            raise CheckpointError(
                f"{path} is damaged, as its checksum differs; delete the folder of the run to "
                "train again"
            )
        return torch.load(io.BytesIO(rest), map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Removes the file."""
        Path(path).unlink(missing_ok=True)
