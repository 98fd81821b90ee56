"""``store.json``: what a conformer store holds, and whether it is complete."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from molae_pyg.durable import write_durably
from molae_pyg.store.shard import ShardEntry, StoreError

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

    def _check(self, num_entries: int) -> None:
        """Raises a ValueError if the content is none that a writer would write."""
        numbers = [self.shard_rows, *([self.num_rows] if self.complete else [])]
        numbers += [number for entry in self.shards.values() for number in entry[1:]]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a number is missing or negative")
        if self.shard_rows < 1 or type(self.complete) is not bool:
            raise ValueError("shard_rows or complete")
        if len(self.shards) != num_entries or any(
            entry.name != shard_name(number) or entry.rows > self.shard_rows
            for number, entry in self.shards.items()
        ):
            raise ValueError("a shard has another name, or is there twice")
        if self.complete:
            last = -(-self.num_rows // self.shard_rows) - 1
            if sorted(self.shards) != list(range(num_entries)) or num_entries != last + 1:
                raise ValueError("shards are missing, or there are more than rows")
            rows = {number: entry.rows for number, entry in self.shards.items()}
            if sum(rows.values()) != self.num_rows or any(
                number != last and count != self.shard_rows for number, count in rows.items()
            ):
                raise ValueError("the shards do not hold the rows")

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
            shards = {shard_number(str(entry.name)): entry for entry in entries}
            names = ("meta", "shard_rows", "complete", "num_rows")
            found = cls(shards=shards, **{name: content[name] for name in names})
            found._check(len(entries))
            return found
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StoreError(
                f"{path} is damaged or belongs to something else: give another folder, or "
                "delete this one and prepare the store anew"
            ) from None


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def journal_name(number: int) -> str:
    return f"journal-{number:05d}.bin"


def shard_number(name: str) -> int:
    return int(name.removeprefix("shard-").removesuffix(".safetensors"))
