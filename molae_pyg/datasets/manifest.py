"""``store.json``: what a conformer store holds, and whether it is complete."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from molae_pyg.datasets.shard import ShardEntry, StoreError
from molae_pyg.durable import write_durably

NAME = "store.json"
FORMAT = "molae_pyg conformer store"
VERSION = 1


@dataclass
class Manifest:
    """The content of ``store.json``.

    Args:
        meta: What the writer was given: the input and the settings of the molecules.
        shard_rows: Input rows a shard covers.
        shards: Shard number -> its entry, of the shards that are sealed.
        complete: Whether every row is in a shard.
        num_rows: Input rows, once complete.
    """

    meta: dict[str, Any]
    shard_rows: int
    shards: dict[int, ShardEntry] = field(default_factory=dict)
    complete: bool = False
    num_rows: int | None = None

    def write(self, folder: Path) -> None:
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        content["shards"] = [entry._asdict() for _, entry in sorted(self.shards.items())]
        text = json.dumps(content, indent=1)
        write_durably(folder / NAME, text.encode())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads ``folder/store.json``.

        Raises:
            FileNotFoundError: If there is none.
            StoreError: If it is none of ours, or of a later version.
        """
        path = folder / NAME
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            if (version := content["version"]) != VERSION:
                raise StoreError(
                    f"{folder} is a conformer store of version {version}, this molae_pyg reads "
                    f"version {VERSION}: update molae_pyg"
                )
            entries = [ShardEntry(**entry) for entry in content["shards"]]
            shards = {shard_number(entry.name): entry for entry in entries}
            names = ("meta", "shard_rows", "complete", "num_rows")
            return cls(shards=shards, **{name: content[name] for name in names})
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{path} is damaged or belongs to something else: give another folder, or "
                "delete this one and prepare the store anew"
            ) from None


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def shard_number(name: str) -> int:
    return int(name.removeprefix("shard-").removesuffix(".safetensors"))
