"""A page of tables and pictures, as HTML that loads nothing from elsewhere and as Markdown."""

import base64
from html import escape
from pathlib import Path

import pandas as pd


class Page:
    """The same content as HTML and as Markdown; pictures as files and inside the HTML."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.html: list[str] = []
        self.markdown: list[str] = []

    def heading(self, text: str, level: int) -> None:
        self.html.append(f"<h{level}>{escape(text)}</h{level}>")
        self.markdown.append(f"{'#' * level} {text}\n")

    def text(self, text: str) -> None:
        self.html.append(f"<p>{escape(text)}</p>")
        self.markdown.append(f"{text}\n")

    def table(self, table: pd.DataFrame, bold: dict[str, set[str]] | None = None) -> None:
        """Cells of the models in ``bold`` of a column stand out."""
        if table.empty:
            return
        rows = [["", *table.columns]]
        for model, cells in table.iterrows():
            strong = [model in (bold or {}).get(column, ()) for column in table.columns]
            rows.append(
                [model, *(f"**{c}**" if s else c for c, s in zip(cells, strong, strict=True))]
            )
        lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
        lines.insert(1, "|---" * len(rows[0]) + "|")
        self.markdown.append("\n".join(lines) + "\n")
        parts = []
        for number, row in enumerate(rows):
            kind = "td" if number else "th"
            cells = (
                f"<b>{escape(c[2:-2])}</b>" if c.startswith("**") else escape(c)
                for c in map(str, row)
            )
            parts.append("<tr>" + "".join(f"<{kind}>{c}</{kind}>" for c in cells) + "</tr>")
        self.html.append(f"<div><table>{''.join(parts)}</table></div>")

    def picture(self, name: str, png: bytes | None, what: str) -> None:
        if png is None:
            return
        (self.folder / f"{name}.png").write_bytes(png)
        code = base64.b64encode(png).decode()
        self.html.append(f'<img alt="{escape(what)}" src="data:image/png;base64,{code}">')
        self.markdown.append(f"![{what}]({name}.png)\n")

    def write(self, title: str) -> None:
        html = TEMPLATE.replace("TITLE", escape(title)).replace("BODY", "\n".join(self.html))
        (self.folder / "report.html").write_text(html)
        (self.folder / "report.md").write_text("\n".join([f"# {title}\n", *self.markdown]))


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>TITLE</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em }
div { overflow-x: auto }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
table { font-variant-numeric: tabular-nums }
td, th { padding: .25em .6em; border-bottom: 1px solid #8884; text-align: right }
td, th { white-space: nowrap }
td:first-child, th:first-child { text-align: left }
img { max-width: min(100%, 900px); display: block; margin: 1em 0 }
</style></head><body><h1>TITLE</h1>
BODY
</body></html>
"""
