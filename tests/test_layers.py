"""Imports point one way, and each heavy library has its place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import specprobe

ROOT = Path(specprobe.__file__).parent
CLI = ROOT.parent / "cli" / "specprobe_cli"

GROUND = {"bootstrap", "files", "errors", "findings", "recipe", "intervals", "randomness"}
ARRAYS = GROUND | {"arrays"}
PIXELS = ARRAYS | {"pipeline", "protocols", "results", "streaming", "images"}
NUMERICS = PIXELS | {"spectral"}
GRAPHS = {"errors", "files", "findings", "recipe", "arrays", "protocols"}

LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "findings": {"errors"},
    "recipe": {"errors"},
    "recipe_files": {"errors", "recipe"},
    "intervals": {"errors"},
    "randomness": {"errors"},
    "bootstrap": {"errors", "intervals", "randomness"},
    "arrays": GROUND,
    "protocols": ARRAYS,
    "results": ARRAYS | {"protocols"},
    "pipeline": ARRAYS,
    "streaming": ARRAYS | {"pipeline", "protocols", "results"},
    "images": ARRAYS | {"protocols"},
    "provenance": ARRAYS | {"protocols", "results", "version"},
    "spectral": ARRAYS | {"protocols"},
    "analysis": NUMERICS,
    "attacks": NUMERICS | {"analysis"},
    "adapters": NUMERICS | {"analysis"},
    "graph": GRAPHS,
    "autodiff": GRAPHS | {"graph", "randomness"},
    "runtime": NUMERICS | {"graph", "autodiff", "version"},
    "tuning": NUMERICS | {"graph", "autodiff", "runtime", "attacks", "analysis"},
    "testing": NUMERICS | {"graph", "autodiff", "runtime", "attacks", "analysis"},
    "pytest_plugin": NUMERICS | {"audit", "workflow"},
    "workflow": NUMERICS
    | {"graph", "autodiff", "runtime", "attacks", "analysis", "tuning", "audit", "provenance", "report"}
    | {"recipe_files", "version"},
    "audit": NUMERICS | {"analysis", "attacks", "provenance", "version"},
    "report": NUMERICS | {"analysis", "attacks", "audit", "provenance", "version"},
}
"""Part of ``specprobe`` → parts it may import, itself aside. ``version`` is the package's own ``__init__``."""

PLACES: dict[str, set[str]] = {
    "onnxruntime": {"runtime"},
    "onnx": {"graph", "autodiff", "runtime", "testing"},
    "onnx_ir": {"graph", "autodiff", "runtime", "testing"},
    "google": {"graph"},
    "cupy": {"arrays"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "PIL": {"images"},
    "pyarrow": {"images"},
    "click": set(),
    "rich": set(),
    "torch": {"adapters"},
    "art": {"adapters"},
    "foolbox": {"adapters"},
    "eagerpy": {"adapters"},
    "distributed": set(),
    "specprobe_cli": set(),
}
"""Library → the only parts of ``specprobe`` that may import it, at whatever depth of their code."""


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, type checking aside."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = str(node.module)
            if module == "specprobe":  # a part, or the version
                yield from (f"specprobe.{alias.name}" for alias in node.names)
            else:
                yield module


def part(module: str) -> str:
    """Part of ``specprobe`` that a dotted name lies in."""
    name = module.split(".")[1] if "." in module else "version"
    return "version" if name == "__version__" else name


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def test_every_part_has_a_place_in_the_table() -> None:
    assert {part_of(path) for path in FILES} <= LAYERS.keys()


def test_the_table_points_one_way() -> None:
    """Whoever is allowed is never, in turn, allowed back."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        pending = [start]
        while pending:
            new = LAYERS.get(pending.pop(), set()) - seen
            seen |= new
            pending.extend(new)
        return seen

    assert [name for name in LAYERS if name in reached(name)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = part_of(path)
    used = {part(module) for module in imports(path) if module.split(".")[0] == "specprobe"}
    assert used - {own} <= LAYERS[own]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_place(path: Path) -> None:
    own = part_of(path)
    used = {module.split(".")[0] for module in imports(path)}
    assert {library for library in used if own not in PLACES.get(library, {own})} == set()


def test_the_package_itself_imports_nothing() -> None:
    assert set(imports(ROOT / "__init__.py")) == {"typing", "importlib"}


@pytest.mark.parametrize("path", sorted(CLI.rglob("*.py")), ids=lambda path: path.name)
def test_the_command_line_computes_nothing(path: Path) -> None:
    """It sees all parts, but neither the runtime's nor the graphs' libraries."""
    assert not {module.split(".")[0] for module in imports(path)} & {
        "onnxruntime",
        "onnx",
        "onnx_ir",
        "cupy",
        "matplotlib",
    }


def test_type_checking_blocks_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
        "def f():\n    from c.d import e\n    import specprobe.graph.load\n    from specprobe import __version__, arrays\n"
    )
    found = set(imports(file))
    assert found == {
        "typing",
        "b",
        "c.d",
        "specprobe.graph.load",
        "specprobe.__version__",
        "specprobe.arrays",
    }
    assert {part(name) for name in found if name.startswith("specprobe")} == {"graph", "version", "arrays"}
