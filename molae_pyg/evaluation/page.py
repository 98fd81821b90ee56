"""A page of tables and pictures, as HTML that loads nothing from elsewhere and as Markdown."""

import base64
from html import escape
from pathlib import Path

import pandas as pd

from molae_pyg.durable import write_durably

GENERATOR = '<meta name="generator" content="molae_pyg report">'


class Page:
    """The same content as HTML and as Markdown; pictures as files and inside the HTML.

    Args:
        folder: To write to, made if absent.

    Raises:
        SystemExit: If there are files in it, but no earlier report: they are somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "report.html"
        is_ours = page.is_file() and GENERATOR in page.read_text(errors="replace")
        if not is_ours and any(folder.iterdir()):
            raise SystemExit(f"{folder} holds files that are no report: give another --output")
        write_durably(page, TEMPLATE.encode())  # says whose the folder is, also after a kill
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
        write_durably(self.folder / f"{name}.png", png)
        code = base64.b64encode(png).decode()
        self.html.append(f'<img alt="{escape(what)}" src="data:image/png;base64,{code}">')
        self.markdown.append(f"![{what}]({name}.png)\n")

    def write(self, title: str) -> None:
        html = TEMPLATE.replace("TITLE", escape(title)).replace("BODY", "\n".join(self.html))
        markdown = "\n".join([f"# {title}\n", *self.markdown])
        write_durably(self.folder / "report.md", markdown.encode())
        write_durably(self.folder / "report.html", html.encode())


TEMPLATE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{GENERATOR}<title>TITLE</title>
"""
TEMPLATE += """\
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
