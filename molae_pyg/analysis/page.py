"""A page of text, tables and pictures: one HTML file that needs nothing else, or Markdown."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from molae_pyg.analysis.plots import Picture
from molae_pyg.durable import write_durably

HTML, MARKDOWN = "report.html", "report.md"
COMPARISON = "report"  # the kind of page that owns its folder


class Drawing(NamedTuple):
    """A drawing of a molecule."""

    svg: str  #: The element ``<svg>``, as code of a page: nothing in it is escaped.
    caption: str
    smiles: str = ""


class Answer(NamedTuple):
    """A result in a box."""

    name: str
    sentence: str
    tone: str  #: ``"good"``, ``"even"``, ``"bad"`` or ``"none"``: its colour.
    anchor: str = ""  #: Anchor of the heading that it leads to.


class Page:
    """Collects what a page shows, in order, and writes it as HTML and as Markdown.

    The HTML is one file without scripts, and loads nothing. All text is escaped.

    Args:
        title: Title of the page.
        kind: Kind of the page; the HTML names it. (default: ``"report"``)
    """

    def __init__(self, title: str, kind: str = COMPARISON) -> None:
        self.title = title
        self.kind = kind
        self._blocks: list[tuple[str, Any]] = []  # name of a macro in the template, and its content
        self._markdown: list[str] = []
        self._pictures: dict[str, Picture] = {}  # by the name of the file
        self._drawings: dict[str, str] = {}  # the same

    def heading(self, text: str, level: int = 2, anchor: str = "") -> None:
        """Adds a heading; the title of the page has level 1, and an anchor is our own word."""
        self._add("heading", (text, level, anchor), f"{'#' * level} {_escaped(text)}")

    def text(self, text: str) -> None:
        """Adds a paragraph, or nothing if it is empty."""
        if text:
            self._add("text", text, _escaped(text))

    def answers(self, answers: Sequence[Answer]) -> None:
        """Adds results in boxes, each with a link to its heading."""
        lines = [f"- **{_escaped(name)}**: {_escaped(text)}" for name, text, *_ in answers]
        self._add("answers", answers, "\n".join(lines))

    def contents(self, links: Sequence[tuple[str, str]]) -> None:
        """Adds a line of links, each a text and the anchor of a heading."""
        self._add("contents", links, ", ".join(_escaped(text) for text, _ in links))

    def code(self, text: str) -> None:
        """Adds lines of code; one click selects them all."""
        self._add("code", text, "\n".join(f"    {line}" for line in text.splitlines()))

    def table(
        self,
        table: pd.DataFrame,
        bold: Mapping[str, set[str]] | None = None,
        kind: str = "numbers",
    ) -> None:
        """Adds a table, or nothing if it is empty.

        Args:
            table: Cells; the index names the rows.
            bold: Column -> names of the rows whose cells are bold. (default: none)
            kind: ``"numbers"``, aligned to the right, or ``"facts"``. (default: ``"numbers"``)
        """
        if table.empty:
            return
        columns = [str(name) for name in table.columns]
        strong = [(bold or {}).get(name, set()) for name in table.columns]
        rows = [
            (str(name), [(str(c), name in s) for c, s in zip(cells, strong, strict=True)])
            for name, cells in zip(table.index, table.to_numpy(), strict=True)
        ]
        lines = [_line(["", *map(_escaped, columns)]), "|---" * (len(columns) + 1) + "|"]
        for name, cells in rows:
            shown = [f"**{_escaped(c)}**" if is_bold else _escaped(c) for c, is_bold in cells]
            lines.append(_line([_escaped(name), *shown]))
        self._add("table", (columns, rows, kind), "\n".join(lines))

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Adds names with their values, or nothing if there are none."""
        if facts := list(facts):
            lines = [f"- {_escaped(name)}: {_escaped(value)}" for name, value in facts]
            self._add("facts", facts, "\n".join(lines))

    def picture(self, name: str, picture: Picture) -> None:
        """Adds a picture; in the Markdown it is a file, ``<name>.png``."""
        self._pictures[f"{name}.png"] = picture
        panels = zip(picture.panels, picture.panel_pngs(), strict=True)
        shown = [(panel.title, _encoded(png)) for panel, png in panels]
        self._add("picture", (picture, shown), _image(picture.caption, f"{name}.png"))

    def drawings(self, name: str, drawings: Sequence[Drawing], scale: str = "") -> None:
        """Adds drawings of molecules; in the Markdown they are files, ``<name> 0.svg``, ...

        Args:
            name: Name of the files.
            drawings: The drawings.
            scale: The scale of their colours, an element ``<svg>``. (default: none)
        """
        lines = []
        for number, drawing in enumerate(drawings):
            file = f"{name} {number}.svg".replace("/", "_")
            self._drawings[file] = drawing.svg
            lines.append(_image(f"{drawing.caption} {drawing.smiles}".strip(), file))
        self._add("drawings", (drawings, scale), "\n".join(lines))

    def image(self, file: Path) -> None:
        """Adds a PNG file that was drawn for white paper, under its own name."""
        content = (file.stem, _encoded(file.read_bytes()))
        self._add("image", content, _image(file.stem, file.name))

    def write(self, file: Path) -> None:
        """Writes the HTML, whole or not at all."""
        html = _template().render(title=self.title, kind=self.kind, blocks=self._blocks)
        write_durably(file, html.encode())

    def write_folder(self, folder: Path) -> None:
        """Writes ``report.html``, ``report.md`` and the pictures of the latter."""
        for name, picture in self._pictures.items():
            write_durably(folder / name, picture.png())
        for name, svg in self._drawings.items():
            write_durably(folder / name, svg.encode())
        markdown = "\n".join([f"# {_escaped(self.title)}\n", *self._markdown])
        write_durably(folder / MARKDOWN, markdown.encode())
        self.write(folder / HTML)

    def _add(self, kind: str, content: Any, markdown: str) -> None:
        self._blocks.append((kind, content))
        self._markdown.append(f"{markdown}\n")


def claim_folder(folder: Path) -> None:
    """Makes a folder, empty or of an earlier report, the folder of a report.

    Raises:
        ValueError: There are files in it, but no report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / HTML
    mark = f'content="molae_pyg {COMPARISON}"'
    is_ours = file.is_file() and mark in file.read_text(encoding="utf-8", errors="replace")
    if not is_ours and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files that are no report: choose another folder")
    Page("").write(file)  # marks the folder, also if the report is never finished


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("molae_pyg.analysis"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.jinja")


def _encoded(png: bytes) -> str:
    return base64.b64encode(png).decode()


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _image(caption: str, file: str) -> str:
    return f"![{_escaped(caption)}]({quote(file)})"


def _escaped(text: str) -> str:
    """Text for Markdown, in one line, that starts no HTML, emphasis, link or cell."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)
