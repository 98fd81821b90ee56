"""The shape of the source: import direction between the rooms, and sizes that can be read.

The direction is leaf to top. A room may import itself, lower rooms and ``chem.elements``; the
leaves load nothing but PyTorch, NumPy and PyTorch Geometric. Imports for type checking do not
count, as they do not run.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "molae_pyg"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
VOCABULARY = "chem.elements"
LEVELS = (
    {"kinds", "task_scores"},
    {
        VOCABULARY,
        "_version",
        "cores",
        "durable",
        "environment",
        "fingerprint",
        "metrics",
        "model_files",
        "nn",
        "seeds",
        "testing",
        "transforms",
    },
    {"chem", "checkpoint", "loss"},
    {"official_file", "splits"},
    {"official_checkpoint", "official_transformer_m"},
    {"tables", "models"},
    {"store"},
    {"datasets"},
    {"inference"},
    {"training"},
    {"analysis", "baselines"},
    {"evaluation"},
    {"workflow"},
    {"estimators"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
LEAVES = LEVELS[0] | LEVELS[1] | {"loss"}
LEAF_PACKAGES = {*sys.stdlib_module_names, "molae_pyg", "numpy", "torch", "torch_geometric"}
LEAF_EXCEPTIONS = {"durable": {"filelock"}, "fused_attention": {"triton"}}

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60  # docstring not counted
MAX_CONSTRUCTOR_ARGUMENTS = 12

#: The one upward import, inside a method: ``MolAE.embed`` calls ``inference``.
UPWARD = {Path("models/mol_ae.py"): {"inference"}}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text())


def room(module: str) -> str:
    """``nn.gaussian`` -> ``nn``; the vocabulary is a room of its own."""
    return VOCABULARY if module == VOCABULARY else module.split(".")[0]


def room_of_file(path: Path) -> str:
    return room(".".join(path.with_suffix("").parts))


def imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names that the nodes import, ``from a import b`` as ``a.b``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + f"{node.module}.{alias.name}" for alias in node.names)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def walk(node: ast.AST, into_functions: bool = True) -> Iterator[ast.AST]:
    """The nodes below that can run; without functions, those that run on import."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child) or (isinstance(child, Function) and not into_functions):
            continue
        yield child
        yield from walk(child, into_functions)


def imported_rooms(path: Path) -> set[str]:
    inside = [name.split(".") for name in imports(walk(tree(path)))]
    return {room(".".join(parts[1:3])) for parts in inside if parts[0] == "molae_pyg"}


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, Function))


def lines_without_docstring(function: Function) -> int:
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def num_arguments(function: Function) -> int:
    args = function.args
    named = len(args.posonlyargs) + len(args.args) + len(args.kwonlyargs) - 1
    return named + (args.vararg is not None) + (args.kwarg is not None)


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "__init__.py"], ids=str)
def test_every_file_has_a_room(path):
    assert room_of_file(path) in LEVEL, "give the new room a place in LEVELS"


@pytest.mark.parametrize("path", [p for p in FILES if p != Path("__init__.py")], ids=str)
def test_imports_point_downwards(path):
    own = room_of_file(path)
    for other in imported_rooms(path) - {own, VOCABULARY} - UPWARD.get(path, set()):
        assert other in LEVEL, f"molae_pyg.{other} has no place in LEVELS"
        assert LEVEL[other] < LEVEL[own], f"{own} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_stay_in_the_package(path):
    names = list(imports(ast.walk(tree(path))))
    assert not [name for name in names if name.startswith(".")], "imports are absolute"
    assert {name.split(".")[0] for name in names}.isdisjoint({"experiments", "benchmarks", "tests"})


@pytest.mark.parametrize("path", [p for p in FILES if room_of_file(p) in LEAVES], ids=str)
def test_leaves_load_only_torch_numpy_and_pyg(path):
    packages = {name.split(".")[0] for name in imports(walk(tree(path), into_functions=False))}
    assert packages <= LEAF_PACKAGES | LEAF_EXCEPTIONS.get(path.stem, set())


@pytest.mark.parametrize("path", FILES, ids=str)
def test_sizes(path):
    num_lines = len((PACKAGE / path).read_text().splitlines())
    assert num_lines <= MAX_FILE_LINES
    for function in functions(path):
        assert lines_without_docstring(function) <= MAX_FUNCTION_LINES, function.name
        if function.name == "__init__":
            assert num_arguments(function) <= MAX_CONSTRUCTOR_ARGUMENTS, ast.unparse(function.args)


@pytest.mark.parametrize("path", UPWARD, ids=str)
def test_upward_imports_are_inside_functions(path):
    names = imports(walk(tree(path), into_functions=False))
    rooms = {name.split(".")[1] for name in names if name.startswith("molae_pyg.")}
    assert not rooms & UPWARD[path]


def test_names_of_test_files_are_unique():
    """pytest imports test files by their names alone, as tests/ has no packages."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_the_checks_see_what_they_look_for():
    module = ast.parse(
        "import a.b\n"
        "if TYPE_CHECKING:\n    import t\n"
        "def f():\n    from c import d\n"
        "class E:\n    from .g import h\n"
    )
    assert sorted(imports(walk(module))) == [".g.h", "a.b", "c.d"]
    assert sorted(imports(walk(module, into_functions=False))) == [".g.h", "a.b"]
    (init,) = ast.parse('def __init__(self, a, *, b=1, **c):\n    "One."\n    pass').body
    assert num_arguments(init) == 3
    assert lines_without_docstring(init) == 2
