"""The pytest plugin, in a pytest of its own."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import specprobe

ROOT = Path(specprobe.__file__).parent.parent
CONFIG = """
models = ["normal.onnx"]
[data]
source = "test.npz"
limit = 60
[[check]]
metric = "accuracy"
min = 0.5
[[check]]
name = "too much"
metric = "sensitivity.low_share"
min = 0.99
[[check]]
name = "unsure"
metric = "accuracy"
min = 0.99
limit = 10
[[check]]
name = "known"
metric = "model.parameters"
max = 1
[[waiver]]
check = "known"
reason = "being pruned"
expires = 9999-01-01
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("normal.onnx", "test.npz"):
        shutil.copy(ROOT / "models" / "digits" / name, tmp_path / name)
    (tmp_path / "specprobe.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "specprobe.pytest_plugin",
            "-v",
            "-rs",
            "--rootdir",
            str(folder),
            *words,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_configuration_is_a_file_of_tests(folder: Path) -> None:
    code, out = run(folder, "--specprobe", "specprobe.toml")
    assert code == 1
    assert "1 failed, 1 passed, 2 skipped" in out
    assert re.search(r"normal\.onnx: accuracy\s+PASSED", out)
    assert "normal.onnx, too much: sensitivity.low_share" in out
    assert "waived until 9999-01-01: being pruned" in out
    assert "Traceback" not in out


@pytest.mark.slow
def test_a_test_that_takes_verdicts_runs_for_each(folder: Path) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_audit.py").write_text(
        "import pytest\n\n\n"
        "def test_limits(specprobe_verdict):\n    assert specprobe_verdict.measured > 0\n\n\n"
        "@pytest.mark.specprobe('../specprobe.toml')\n"
        "def test_named(specprobe_verdict):\n    assert specprobe_verdict.model == 'normal.onnx'\n",
        encoding="utf-8",
    )
    code, out = run(folder, "--strict-markers")
    assert code == 1
    assert "2 failed, 2 passed, 4 skipped" in out
    assert re.search(r"test_limits\[normal\.onnx: accuracy\]\s+PASSED", out)


@pytest.mark.slow
def test_nothing_happens_unasked(folder: Path) -> None:
    (folder / "test_other.py").write_text(
        "import sys\n\n\ndef test_it():\n    assert 'numpy' not in sys.modules\n", encoding="utf-8"
    )
    code, out = run(folder)
    assert (code, "1 passed" in out) == (0, True)


@pytest.mark.slow
def test_a_broken_configuration_is_an_error_of_collection(folder: Path) -> None:
    (folder / "specprobe.toml").write_text("models = 'normal.onnx'", encoding="utf-8")
    code, out = run(folder, "--specprobe", "specprobe.toml")
    assert code == 2
    assert "there is no [[check]]" in out


def test_the_plugin_is_registered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"specprobe": "specprobe.pytest_plugin"}
