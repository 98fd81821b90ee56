"""Settings in YAML files, and what the command lines of this room share.

Settings are checked key by key before any work starts.
"""

import copy
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from molae_pyg.checkpoint import CheckpointError
from molae_pyg.store import StoreError

CONFIGS = Path(__file__).parent / "configs"
#: Errors of the package whose messages say what to do.
EXPECTED = (ValueError, OSError, StoreError, CheckpointError)


def run_command(work: Callable[..., object], *args: Any) -> None:
    """Calls a function for a command line: Ctrl-C and expected errors end in one message.

    Raises:
        SystemExit: With the message of an expected error, or with 130 after Ctrl-C.
    """
    try:
        work(*args)
    except KeyboardInterrupt as error:
        print(f"\n{str(error) or 'stopped'}", file=sys.stderr)
        raise SystemExit(130) from None
    except EXPECTED as error:
        raise SystemExit(str(error)) from None


@contextmanager
def keep_going(name: str, failed: list[str], log: Path | None = None) -> Iterator[None]:
    """Prints the error of a block, so that the rest of the work goes on.

    Args:
        name: Name of the work in the block.
        failed: Gets the name if the block fails.
        log: File that gets the traceback, and is removed if the block succeeds. (default: none)
    """
    try:
        yield
    except Exception as error:  # a defect too must not lose the other results
        is_defect = not isinstance(error, EXPECTED)
        text = traceback.format_exc(limit=-1) if is_defect else error
        print(f"{name} failed: {text}", file=sys.stderr, flush=True)
        if log is not None:
            log.write_text(traceback.format_exc())
        failed.append(name)
    else:
        if log is not None:
            log.unlink(missing_ok=True)


def exit_if_failed(failed: list[str]) -> None:
    """Raises SystemExit with the names of everything that failed, if there is any."""
    if failed:
        raise SystemExit(f"{len(failed)} failed: {', '.join(failed)}")


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number; a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NUMBER = r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"  # YAML 1.1 needs a point
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_NUMBER), list("+-0123456789"))


def config_path(name: str | Path) -> Path:
    """Returns the YAML file of shipped settings such as ``quick``, else the path itself."""
    shipped = {path.stem: path for path in CONFIGS.glob("*.yaml")}
    return shipped.get(str(name), Path(name))


def read_yaml(name: str | Path) -> dict[str, Any]:
    """Reads settings.

    Args:
        name: Name of shipped settings, such as ``"quick"``, or path of a YAML file.

    Raises:
        ValueError: If the file cannot be read or has no settings; the message names file and line.
    """
    path = config_path(name)
    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.load(file, _Loader)  # a SafeLoader
    except OSError as error:
        shipped = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
        raise ValueError(
            f"{path} cannot be read: {error.strerror}. Names of shipped settings are {shipped}"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(f"{path}{where}: {problem}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} has no settings: expected lines such as `data: ...`")
    return found


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns settings in which the changes replace values of the same name, at every depth."""
    out = dict(settings)
    for key, value in changes.items():
        inner = out.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            out[key] = merged(inner, value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def arguments(function: Callable[..., Any], *left_out: str) -> list[str]:
    """Returns the names of the arguments of a function or class, without those left out."""
    return [name for name in inspect.signature(function).parameters if name not in left_out]


#: Known settings: names, or known settings by name; a class: its arguments, of which it is built to
#: check their values; None: any value; ``"*"``: any names.
Known = list[str] | dict[str, Any] | Callable[..., Any] | str | None


def check(found: Any, known: Known, where: str | Path, needed: Iterable[str] = ()) -> None:
    """Checks settings, section by section.

    Args:
        found: The settings.
        known: What they may be.
        where: File or section, for messages.
        needed: Names that must be there. (default: none)

    Raises:
        ValueError: If a name is unknown or missing, or a value cannot be used.
    """
    if known is None:
        return
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be settings by name ({{}}: none), got {found!r}")
    names = arguments(known) if callable(known) else found if known == "*" else known
    if unknown := [str(name) for name in found if name not in names]:
        keys = "key" if len(unknown) == 1 else "keys"
        raise ValueError(
            f"unknown {keys} {', '.join(unknown)} in {where}; known are: {', '.join(names)}"
        )
    if missing := [name for name in needed if name not in found]:
        raise ValueError(f"{where} has no {' and no '.join(missing)}")
    if isinstance(known, dict):
        inside = f"{where}." if ": " in str(where) else f"{where}: "  # a section, or a file
        for name, value in found.items():
            check(value, known[name], f"{inside}{name}")
    elif callable(known):
        try:
            known(**found)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from None
