import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from pages import assert_legible, needs_browser, read_page

from molae_pyg.analysis.page import Drawing, Page, claim_folder
from molae_pyg.analysis.plots import SIZES, Panel, Picture, colours_of, style

ATTACK = "<script>alert('1')</script> & $\\frac{1}$ *a* | `b` [c](d) Größe Ω"
LONG = "a-name-without-any-space-" * 12


def draw(axes) -> None:
    axes.plot([0, 1], [0, 1])
    style(axes, "time, s", "length, m")


def panels(number: int) -> list[Panel]:
    return [Panel(f"{i}: {LONG if i == 1 else ATTACK}", draw) for i in range(number)]


@pytest.fixture
def page() -> Page:
    page = Page(f"{ATTACK} {LONG}")
    page.heading(ATTACK)
    page.text(f"{LONG} {ATTACK}")
    table = pd.DataFrame({LONG: ["1", "2"], ATTACK: ["3", "4"]}, index=[LONG, ATTACK])
    page.table(table, {ATTACK: {LONG}})
    page.table(pd.DataFrame())
    page.facts([(ATTACK, LONG), (LONG, ATTACK)])
    page.facts([])
    for size, number in zip(SIZES, (5, 2, 1), strict=True):
        legend = colours_of([ATTACK, LONG, "_name"]) if number < 5 else {}
        page.picture(f"a {size}", Picture(f"{ATTACK}, {LONG}", panels(number), size, legend))
    return page


def test_everything_is_shown_and_escaped(page, tmp_path):
    page.write_folder(tmp_path)
    found = read_page(tmp_path / "report.html")
    assert {tag for tag, _ in found.tags}.isdisjoint({"i", "em"})
    assert found.words.count(f"{ATTACK} {LONG}") == 2  # in the title and above the page
    assert {ATTACK, f"{LONG} {ATTACK}"} <= set(found.words)
    assert found.rows == [["", LONG, ATTACK], [LONG, "1", "3"], [ATTACK, "2", "4"],
                          [ATTACK, LONG], [LONG, ATTACK]]  # fmt: skip
    assert len(found.attributes("b")) == 1
    titles = [panel.title for number in (5, 2, 1) for panel in panels(number)]
    assert [picture["alt"] for picture in found.attributes("img")] == titles
    assert set(titles) <= set(found.words)


def test_markdown(page, tmp_path):
    page.write_folder(tmp_path)
    text = (tmp_path / "report.md").read_text()
    escaped = "&lt;script>alert('1')&lt;/script> &amp; $\\\\frac{1}$ "
    escaped += r"\*a\* \| \`b\` \[c\](d) Größe Ω"
    assert text.startswith(f"# {escaped} {LONG}\n\n## {escaped}\n\n")
    assert f"\n| {LONG} | 1 | **3** |\n| {escaped} | 2 | 4 |\n" in text
    assert f"\n- {escaped}: {LONG}\n" in text
    assert "](a%20small.png)\n" in text
    names = {f"a {size}.png" for size in SIZES} | {"report.html", "report.md"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("number", [1, 6])
def test_a_picture_file_has_all_panels_and_nothing_is_cut(size, number, tmp_path):
    names = [LONG, ATTACK, "_name", *map(str, range(12))]
    file = tmp_path / "picture.png"
    picture = Picture(f"{ATTACK}, {LONG}", panels(number), size, colours_of(names))
    file.write_bytes(picture.png(transparent=False))
    pixels = image.imread(file)[..., :3]
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edge == 1).all()
    assert pixels.shape[1] == 150 * SIZES[size][0] * min(number, SIZES[size][2])


def test_a_panel_has_no_background(tmp_path):
    (png,) = Picture("", [Panel("", draw)]).panel_pngs()
    (tmp_path / "panel.png").write_bytes(png)
    pixels = image.imread(tmp_path / "panel.png")
    assert pixels[0, 0, 3] == 0
    assert pixels[..., 3].max() > 0.9


def test_drawings_are_in_the_page_and_files_of_the_markdown(tmp_path):
    svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'></svg>"
    page = Page("molecules")
    page.drawings("a/b", [Drawing(svg, ATTACK, LONG), Drawing(svg, "second")], svg)
    page.write_folder(tmp_path)
    found = read_page(tmp_path / "report.html")
    assert len(found.attributes("svg")) == 3
    assert {ATTACK, LONG, "second"} <= set(found.words)
    assert len(found.attributes("code")) == 1
    assert "![second](a_b%201.svg)\n" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "a_b 0.svg").read_text() == svg


def test_a_folder_of_other_files_is_not_claimed(tmp_path):
    claim_folder(tmp_path / "new")
    claim_folder(tmp_path / "new")  # of an earlier report
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="holds files that are no report"):
        claim_folder(tmp_path)
    Page("a run", "training report").write(tmp_path / "report.html")
    with pytest.raises(ValueError, match="holds files that are no report"):
        claim_folder(tmp_path)


@needs_browser
def test_page_in_a_browser(page, tmp_path):
    page.write(tmp_path / "page.html")
    assert_legible(tmp_path / "page.html", tmp_path)
