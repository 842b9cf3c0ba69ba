"""GitHub's action: its steps are run by bash as the runner runs them, on models of this repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]
from specprobe_cli.audit import command

import specprobe

ROOT = Path(specprobe.__file__).parent.parent
FOLDER = ROOT / ".github" / "actions" / "audit"
ACTION = yaml.safe_load((FOLDER / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
CONFIG = """
models = ["normal.onnx"]
[data]
source = "test.npz"
limit = 60
[[check]]
metric = "accuracy"
min = {minimum}
"""

# Stands for the runner's Python: makes an environment whose specprobe is this one, and tells what pip was asked for.
PYTHON = f"""#!/usr/bin/env bash
if [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    printf '#!/usr/bin/env bash\\nexec "{sys.executable}" -c "import specprobe_cli; specprobe_cli.main()" "$@"\\n' > "$3/bin/specprobe"
    chmod +x "$3/bin/specprobe"
else
    echo "$@" >> "$RUNNER_TEMP/pip"
fi
"""


class Runner:
    """What GitHub's runner does with a composite action, but for steps that use other actions."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.temporary = workspace.parent / "runner"
        self.temporary.mkdir()
        self.summary = self.temporary / "summary.md"
        self.log = ""
        self.used: list[dict[str, Any]] = []
        tools = workspace.parent / "tools"
        tools.mkdir()
        (tools / "python3").write_text(PYTHON, encoding="utf-8")
        (tools / "python3").chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(self.temporary),
        }

    def run(self, **inputs: str) -> tuple[int, dict[str, str]]:
        """Exit code of the step that ended the action, and the action's outputs."""
        defaults = {name: given["default"] for name, given in ACTION["inputs"].items()}
        assert set(inputs) <= set(defaults)
        known = {f"inputs.{name}": value for name, value in (defaults | inputs).items()}
        known["github.action_path"] = str(FOLDER)
        code = 0
        for place, step in enumerate(ACTION["runs"]["steps"]):
            if code or not self._wanted(step.get("if"), known):
                continue
            if "uses" in step:
                self.used.append({name: self._filled(text, known) for name, text in step["with"].items()})
                continue
            output = self.temporary / f"output-{place}"
            output.touch()
            code = self._bash(step, known, output)
            for line in output.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                known[f"steps.{step['id']}.outputs.{name}"] = value
        return code, {name: self._filled(out["value"], known) for name, out in ACTION["outputs"].items()}

    def _bash(self, step: dict[str, Any], known: dict[str, str], output: Path) -> int:
        assert step["shell"] == "bash"
        script = self.temporary / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        given = {name: self._filled(text, known) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace / self._filled(step.get("working-directory", "."), known),
            env=self.environment | given | {"GITHUB_OUTPUT": str(output)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.log += done.stdout + done.stderr
        return done.returncode

    @staticmethod
    def _filled(text: str, known: dict[str, str]) -> str:
        return re.sub(r"\$\{\{ *(\S+) *\}\}", lambda match: known.get(match[1], ""), text)

    @staticmethod
    def _wanted(condition: str | None, known: dict[str, str]) -> bool:
        """Comparisons joined by ``&&``, which is all that the action writes."""
        for part in (condition or "").split("&&"):
            if part.strip():
                name, sign, text = part.split()
                if (known.get(name, "") == text.strip("'")) != (sign == "=="):
                    return False
        return True


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    workspace = tmp_path / "workspace"
    (workspace / ".git").mkdir(parents=True)
    (workspace / "models").mkdir()
    for name in ("normal.onnx", "test.npz"):
        shutil.copy(ROOT / "models" / "digits" / name, workspace / "models" / name)
    return Runner(workspace)


def limit(runner: Runner, minimum: float) -> None:
    text = CONFIG.format(minimum=minimum)
    (runner.workspace / "models" / "specprobe.toml").write_text(text, encoding="utf-8")


FILES = {"junit": "specprobe.xml", "sarif": "specprobe.sarif", "report": "specprobe.html"}


@pytest.mark.slow
def test_limits_that_are_kept_pass(runner: Runner) -> None:
    limit(runner, 0.5)
    code, outputs = runner.run(config="models/specprobe.toml", **FILES)
    assert (code, outputs) == (0, {"status": "pass", "exit-code": "0"})
    assert "## specprobe audit: pass" in runner.summary.read_text(encoding="utf-8")
    assert "::" not in runner.log
    assert all((runner.workspace / name).stat().st_size for name in FILES.values())
    asked = (runner.temporary / "pip").read_text(encoding="utf-8").split()
    assert asked[:3] == ["-m", "pip", "install"]
    path, extra = asked[-1].rsplit("[", 1)
    assert (Path(path).resolve(), extra) == (ROOT, "cpu]")
    assert runner.used == []


@pytest.mark.slow
def test_limits_that_are_broken_fail_after_everything_is_written(runner: Runner) -> None:
    limit(runner, 1.1)
    code, outputs = runner.run(**{"working-directory": "models", "upload-sarif": "true", **FILES})
    assert (code, outputs) == (1, {"status": "fail", "exit-code": "1"})
    assert re.search(r"^::error file=models/specprobe\.toml,line=6,title=accuracy", runner.log, re.MULTILINE)
    assert runner.used == [{"sarif_file": "models/specprobe.sarif", "category": "specprobe"}]
    folder = runner.workspace / "models"
    assert json.loads((folder / "specprobe.sarif").read_text(encoding="utf-8"))["runs"][0]["results"]
    assert ET.parse(folder / "specprobe.xml").getroot().get("failures") == "1"
    assert "fail" in runner.summary.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_workflow_may_go_on_and_read_the_status(runner: Runner) -> None:
    limit(runner, 1.1)
    code, outputs = runner.run(config="models/specprobe.toml", fail="false", install="specprobe[cuda]==9")
    assert (code, outputs["status"]) == (0, "fail")
    assert (runner.temporary / "pip").read_text(encoding="utf-8").split()[-1] == "specprobe[cuda]==9"
    assert sorted(path.name for path in runner.workspace.iterdir()) == [".git", "models"]


@pytest.mark.slow
def test_an_audit_that_does_not_end_fails_and_uploads_nothing(runner: Runner) -> None:
    limit(runner, 0.5)
    code, outputs = runner.run(**{"fail": "false", "upload-sarif": "true", "sarif": "s.sarif"})
    assert (code, outputs) == (2, {"status": "error", "exit-code": "2"})
    assert "there is no specprobe.toml here or above" in runner.log
    assert "::error title=specprobe audit::It did not come to an end (exit code 2)" in runner.log
    assert runner.used == []


@pytest.mark.slow
def test_further_arguments_are_taken_as_they_are(runner: Runner) -> None:
    limit(runner, 1.1)
    lines = "--exit-zero\n\n--markdown\n$(touch it) * m.md\n"
    code, outputs = runner.run(config="models/specprobe.toml", args=lines)
    assert (code, outputs["status"]) == (0, "pass")
    assert (runner.workspace / "$(touch it) * m.md").exists()
    assert not (runner.workspace / "it").exists()


def test_inputs_reach_scripts_through_the_environment_alone() -> None:
    # GitHub puts expressions into a script's text before bash reads it: what they hold would be run.
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert "run" not in step or step["shell"] == "bash"


def test_every_input_and_output_is_told() -> None:
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    for name in (*ACTION["inputs"], *ACTION["outputs"]):
        assert f"`{name}`" in page


def test_the_hook_runs_a_command_that_exists() -> None:
    (hook,) = HOOKS
    assert hook["entry"].split() == ["specprobe", command.name]
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False
    for name in ("model.onnx", "deep/model.onnx", "specprobe.toml", "ci/specprobe-baseline.json"):
        assert re.search(hook["files"], name)
    for name in ("onnx.py", "my-specprobe.toml", "setup.json"):
        assert not re.search(hook["files"], name)
