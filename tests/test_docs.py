"""What README and the documentation say is true: code runs, links lead somewhere, flags exist."""

import importlib
import re
import runpy
import shlex
from pathlib import Path

import matplotlib
import pytest

from molae_pyg.cli import main as molae
from molae_pyg.evaluation.config import config_path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *(p for p in sorted(DOCS.rglob("*.md")) if "_build" not in p.parts)]

BLOCK = re.compile(r"^```(?P<kind>[^\s`]+)[^\n]*\n(?P<code>.*?)^```$", re.S | re.M)
LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)(?P<path>[^)#\s]+)[^)]*\)")


TINY = """
data: {num_conformers: 1, add_2d: false}
model: {hidden_channels: 32, ffn_channels: 64, heads: 4, num_layers: 1, num_decoder_layers: 1}
training: {steps: 2, pair_budget: 800, warmup_steps: 1, validate_every: 1}
"""
VERBS = ("train", "predict", "explain", "embed", "compare", "pretrain", "prepare", "merge")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str, kind: str) -> list[tuple[int, str]]:
    """Number of lines before, and content, of the fenced blocks of a kind."""
    found = [match for match in BLOCK.finditer(text) if match["kind"] == kind]
    return [(text.count("\n", 0, match.start("code")), match["code"]) for match in found]


def local_links(text: str) -> list[str]:
    return [match["path"] for match in LINK.finditer(BLOCK.sub("", text))]


def run(page: Path, kind: str) -> None:
    """Runs all blocks in one namespace; a traceback shows the line of the page."""
    namespace = {"__name__": "__main__"}
    for line, code in blocks(page.read_text(), kind):
        code = re.sub(r"^:\w+:.*$", "", code, flags=re.M)  # options of a cell
        exec(compile("\n" * line + code, page, "exec"), namespace)


def commands(page: Path) -> list[list[str]]:
    code = "".join(code for _, code in blocks(page.read_text(), "bash")).replace("\\\n", " ")
    return [words for line in code.splitlines() if (words := shlex.split(line, comments=True))]


def python_words(words: list[str]) -> list[str]:
    """Returns a script of experiments/ or a module of the package, with its arguments."""
    if not words[0].endswith("python"):
        return []
    words = words[2:] if words[1] == "-m" else words[1:]
    return words if words[0].startswith(("experiments/", "molae_pyg.")) else []


COMMANDS = {
    f"{name(page)}: {shlex.join(words)}": words
    for page in PAGES
    for line in commands(page)
    if (words := python_words(line))
}


#: Pages whose Python code runs.
RUN = ["quickstart", "tables", "explain", "sklearn", "objectives", "atoms"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [README, *(DOCS / f"{name}.md" for name in RUN)],
    ids=name,
)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, "python")


@pytest.mark.slow
def test_commands_page_runs(tmp_path, monkeypatch, capsys):
    """Runs all commands of the page in their order; pre-training gets a small model."""
    page = DOCS / "commands.md"
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    run(page, "python")
    (tmp_path / "tiny.yaml").write_text(TINY)
    for program, *words in commands(page):
        assert program == "molae"
        more = ["--config", "tiny.yaml"] if words[0] == "pretrain" else []
        assert molae([*words, *more]) == 0, words
    assert "2 of 3 rows predicted, 1 invalid: see molae_reason" in capsys.readouterr().out
    used = {words[1] for words in commands(page)}
    assert used == set(VERBS), "each command has an example"


@pytest.mark.slow
def test_export_page_runs(tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="pip install 'molae_pyg[onnx]'")
    monkeypatch.chdir(tmp_path)
    run(DOCS / "export.md", "python")


@pytest.mark.parametrize("page", ["walkthrough", "first-model", "pyg", "research"])
def test_executed_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    run(DOCS / f"{page}.md", "{code-cell}")
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_local_links(page):
    assert [p for p in local_links(page.read_text()) if not (page.parent / p).exists()] == []


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_commands_are_understood(words, monkeypatch):
    if words[0].startswith("experiments/"):
        main = runpy.run_path(str(ROOT / words[0]))["main"]  # thin scripts import it
    else:
        main = importlib.import_module(words[0]).main
    monkeypatch.setattr("sys.argv", words)
    args = main.__globals__["parse_args"]()  # exits at an unknown flag
    config = config_path(getattr(args, "config", None) or "moleculenet")
    # Settings in runs/ are written by a command before.
    assert (ROOT / config).is_file() or str(config).startswith("runs/")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = [words[1] for words in commands(page) if words[0] == "make"]
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=lambda page: page.stem)
def test_api_lists_every_public_name(page):
    if not (ROOT / "molae_pyg" / page.stem).is_dir():  # a single module without a list of names
        return
    text, room = page.read_text(), importlib.import_module(f"molae_pyg.{page.stem}")
    if not hasattr(room, "__all__"):  # a room whose names are not public yet
        assert "experimental" in text
        return
    assert set(room.__all__) <= set(re.findall(r"auto\w+:: (\S+)", text))


def test_the_checks_see_what_they_look_for():
    text = "a [b](c.md#d) [e](https://f.g)\n```python\nh[1](2)\n```\n```bash\nmake i  # j\n```\n"
    assert local_links(text) == ["c.md"]
    assert blocks(text, "python") == [(2, "h[1](2)\n")]
    assert blocks(f"````{{note}}\n{text}````\n", "bash") == [(6, "make i  # j\n")]
    assert len(blocks((DOCS / "walkthrough.md").read_text(), "{code-cell}")) > 10
    assert len({words[0] for words in COMMANDS.values()}) >= 4  # moleculenet.py, pretrain.py ...
