"""The code of the page on adapters runs as it stands."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPENING, *BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8"), re.DOTALL
)


def libraries(code: str) -> set[str]:
    """Top-level packages that a block imports."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def named(code: str) -> str:
    return "-".join(sorted(libraries(code) & {"art", "foolbox", "torch"}))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=named(code), marks=[pytest.mark.torch] * ("torch" in libraries(code)))
        for code in BLOCKS
    ],
)
@pytest.mark.usefixtures("seeded")
def test_page_runs(
    code: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for library in libraries(code) & {"art", "foolbox", "torch"}:
        request.getfixturevalue(library)  # skips where it is not installed
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(OPENING, "adapters.md", "exec"), names)  # noqa: S102 - the page's own code
    exec(compile(code, "adapters.md", "exec"), names)  # noqa: S102
    accuracies = re.findall(r"^\d\.\d+$", capsys.readouterr().out, re.MULTILINE)
    assert bool(accuracies) == ("attack" in code)
    assert all(float(accuracy) < 0.7 for accuracy in accuracies)


def test_every_library_has_a_block() -> None:
    assert {named(code) for code in BLOCKS} == {"art", "foolbox", "foolbox-torch", "torch"}
