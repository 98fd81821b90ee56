"""Results in one file, one JSON object a line, each with a checksum."""

import json
from pathlib import Path

from molae_pyg.durable import write_durably
from molae_pyg.fingerprint import digest

OWN = "sha256"  # key of the checksum


def read_results(path: Path) -> list[dict]:
    """The finished runs; a last line that a kill has torn is left out.

    Raises:
        SystemExit: If another line is damaged, or was changed; the message names it.
    """
    results = []
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    for number, line in enumerate(lines, start=1):
        try:
            result = json.loads(line)
            checksum = result.pop(OWN, None)
        except (ValueError, AttributeError):
            if number < len(lines):  # whole lines end in a line break
                raise SystemExit(
                    f"{path}, line {number} is damaged: remove it to make that run anew"
                ) from None
            if line:
                print(f"{path}: the last line is torn; that run is made anew", flush=True)
            continue
        if checksum != digest(result):
            raise SystemExit(
                f"{path}, line {number} was changed after it was written: remove it to make that "
                "run anew"
            )
        results.append(result)
    return results


def add_result(path: Path, result: dict) -> None:
    """Adds a run to the file, which is replaced as a whole."""
    results = [*read_results(path), json.loads(json.dumps(result))]
    lines = (json.dumps({**one, OWN: digest(one)}) + "\n" for one in results)
    write_durably(path, "".join(lines).encode())
