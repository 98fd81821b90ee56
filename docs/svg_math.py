"""Formulas as SVG, made while the documentation is built.

The pages then need neither a network nor JavaScript, and look the same in every browser.
"""

from functools import cache
from html import escape

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

ziamath.config.svg2 = False  # every formula carries its glyphs: ids cannot clash on a page
SIZE = 16.0  # px for 1 em; the page's own font size scales the result


@cache
def svg(latex: str, inline: bool) -> str:
    """A formula as an ``<svg>`` in the colour and size of the text around it."""
    if r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}} {latex} \end{{aligned}}"
    drawing = ziamath.Latex(latex, size=SIZE, inline=inline, color="currentColor")
    left, top, width, height = map(float, drawing.svgxml().get("viewBox").split())
    style = f"width:{width / SIZE:.3f}em; height:{height / SIZE:.3f}em"
    if inline:  # the baseline is at y = 0
        style += f"; vertical-align:{-(top + height) / SIZE:.3f}em"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {top} {width} {height}"'
    body = drawing.svg().partition(">")[2]
    return f'{head} style="{style}" role="img" aria-label="{escape(latex)}">{body}'


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(f'<span class="math">{svg(node.astext(), True)}</span>')
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{svg(node.astext(), False)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("svg", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
