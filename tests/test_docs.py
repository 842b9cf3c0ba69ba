"""The commands and the code of the gradient page run as they stand, one after the other."""

import re
import shlex
from pathlib import Path

import pytest
import specprobe_cli

ROOT = Path(__file__).resolve().parent.parent


def test_gradient_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "gradient.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        specprobe_cli.main(shlex.split(command)[1:])
    assert stop.value.code == 0
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "gradient.md", "exec"), {})  # noqa: S102 - the page's own code


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("filters", ["kernels.npz"]),
        ("sensitivity", ["high.npz", "high.png"]),
        ("heatmap", ["heatmap.png", "heatmap.npz"]),
        ("bands", ["curve.png", "mid.npz"]),
        pytest.param("attack", ["attack.json", "attack.png", "attack.npz"], marks=pytest.mark.slow),
        pytest.param("mask", ["mask.npz", "mask.png", "masks.npz", "pair.json"], marks=pytest.mark.slow),
        ("corruptions", ["corruptions.png", "corruptions.json"]),
        pytest.param("compare", ["twins.npz", "twins.png", "bands.json"], marks=pytest.mark.slow),
        pytest.param(
            "twins",
            ["twins.json", "twins.png", "rotation.json", "masks.json", "noise.json", "fog.json"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_page_runs(name: str, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for command in commands.splitlines():
        with pytest.raises(SystemExit) as stop:
            specprobe_cli.main(shlex.split(command)[1:])
        assert stop.value.code == 0
    for file in made:
        assert (tmp_path / file).exists()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, f"{name}.md", "exec"), {})  # noqa: S102 - the page's own code
