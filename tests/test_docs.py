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


def test_filters_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for command in commands.splitlines():
        with pytest.raises(SystemExit) as stop:
            specprobe_cli.main(shlex.split(command)[1:])
        assert stop.value.code == 0
    assert (tmp_path / "kernels.npz").exists()


def test_sensitivity_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "sensitivity.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for command in commands.splitlines():
        with pytest.raises(SystemExit) as stop:
            specprobe_cli.main(shlex.split(command)[1:])
        assert stop.value.code == 0
    assert (tmp_path / "high.npz").exists()
    assert (tmp_path / "high.png").exists()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "sensitivity.md", "exec"), {})  # noqa: S102 - the page's own code


def test_heatmap_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "heatmap.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for command in commands.splitlines():
        with pytest.raises(SystemExit) as stop:
            specprobe_cli.main(shlex.split(command)[1:])
        assert stop.value.code == 0
    assert (tmp_path / "heatmap.png").exists()
    assert (tmp_path / "heatmap.npz").exists()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "heatmap.md", "exec"), {})  # noqa: S102 - the page's own code


def test_bands_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "bands.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```console\n(.*?)\n```", page, re.DOTALL)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for command in commands.splitlines():
        with pytest.raises(SystemExit) as stop:
            specprobe_cli.main(shlex.split(command)[1:])
        assert stop.value.code == 0
    assert (tmp_path / "curve.png").exists()
    assert (tmp_path / "mid.npz").exists()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "bands.md", "exec"), {})  # noqa: S102 - the page's own code
