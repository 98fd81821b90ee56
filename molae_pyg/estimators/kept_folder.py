"""The folder of a fitted estimator: temporary, unless the user names one."""

import shutil
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from molae_pyg.chem.options import InputError
from molae_pyg.workflow import FittedModel

#: What only the training needs.
_OF_TRAINING = ("lock", "conformers", "features")


class KeptFolder:
    """A folder that lives as long as this object.

    A pickle or a copy holds the content of the files and makes a temporary folder of its own, so
    that it depends on no other folder.

    Args:
        folder: A folder that stays. default: a temporary one.
        cache: Whether predictions take conformers and features from the user's cache.
    """

    def __init__(self, folder: str | Path | None, cache: bool):
        self._temporary = TemporaryDirectory(prefix="molae-") if folder is None else None
        self.path = Path(self._temporary.name if folder is None else folder)
        self._cache = cache

    @cached_property
    def model(self) -> FittedModel:
        """The fitted model."""
        model = FittedModel.load(self.path)
        model.cache = self._cache
        return model

    def copy_to(self, path: str | Path) -> None:
        """Copies the files of the model into a new or empty folder.

        Raises:
            ValueError: If the folder holds something.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} exists: give a new or an empty folder")
        ignored = shutil.ignore_patterns(*_OF_TRAINING)
        shutil.copytree(self.path, path, dirs_exist_ok=True, ignore=ignored)

    def __getstate__(self) -> dict[str, object]:
        files = {
            str(file.relative_to(self.path)): file.read_bytes()
            for file in sorted(self.path.rglob("*"))
            if file.is_file() and file.relative_to(self.path).parts[0] not in _OF_TRAINING
        }
        return {"cache": self._cache, "files": files}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__(None, state["cache"])
        for name, content in state["files"].items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
