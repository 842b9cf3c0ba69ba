"""The README's commands and its code are the ones that run."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def commands() -> list[str]:
    return re.findall(r"```console\n(.*?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_readme_has_two_commands() -> None:
    assert len(commands()) == 2


def test_ci_runs_the_test_command_of_the_readme_as_it_stands() -> None:
    assert f"\n{commands()[1]}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_main_job_of_the_readme_prints_survey_filters_and_accuracy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import specprobe_cli

    monkeypatch.chdir(ROOT)
    words = shlex.split(commands()[0].rpartition("&&")[2])
    assert words[0].endswith("specprobe")
    with pytest.raises(SystemExit) as stop:
        specprobe_cli.main(words[1:])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "orthog." in out
    assert re.search(r"accuracy +0\.9\d\d \[0\.9\d\d, 0\.9\d\d\]", out)


def test_python_of_the_readme_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(script))
    assert "/Conv" in capsys.readouterr().out


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
