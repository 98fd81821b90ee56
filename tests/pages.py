"""What tests of pages share: a parser, what every page has to be, and a browser."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
MARGIN = 10  # pixels at the right edge that every page leaves empty


class Parsed(HTMLParser):
    """Tags with their attributes, text, and the rows of all tables."""

    VOID = ("meta", "img")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words, self.rows = [], [], [], []
        self.feed(text)
        assert self.open == [], "a tag was not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data
        elif self.open[-1:] != ["style"]:
            self.words.append(data.strip())

    def row(self, name: str) -> list[str]:
        return next(row[1:] for row in self.rows if row[:1] == [name])

    def attributes(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def read_page(file: Path) -> Parsed:
    """Reads a page, which needs nothing else, runs nothing, and describes its pictures."""
    text = file.read_text(encoding="utf-8")
    page = Parsed(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    attributes = [item for _, found in page.tags for item in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    links = [value for name, value in attributes if name.endswith("href")]
    assert all(link.startswith("#") for link in links)  # inside the page
    assert "url(" not in text
    for picture in page.attributes("img"):
        assert picture["src"].startswith("data:image/png;base64,")
        assert picture["alt"].strip()
    return page


def screenshot(file: Path, width: int, height: int, folder: Path) -> np.ndarray:
    """Returns the page in a browser as ``[height, width, 3]``, 0 to 1.

    A window is not narrower than 500 pixels, therefore the page is in a frame.
    """
    frame, picture = folder / "frame.html", folder / "screenshot.png"
    style = f"border: 0; width: {width}px; height: {height}px"
    frame.write_text(f"<body style='margin: 0'><iframe src='{file.as_uri()}' style='{style}'>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    size = f"--window-size={max(500, width)},{height}"
    command = [BROWSER, *options, f"--screenshot={picture}", size, frame.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return image.imread(picture)[:height, :width, :3]


def assert_legible(file: Path, folder: Path) -> None:
    """The page is drawn on a wide and on a narrow screen, and nothing sticks out of it."""
    for width in (1280, 420):
        pixels = screenshot(file, width, 2000, folder)
        assert pixels.std() > 0.02, "the page is empty"
        assert pixels[:, -MARGIN:].std(axis=(0, 1)).max() < 1e-6, f"cut at {width} pixels"
