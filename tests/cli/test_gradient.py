"""``specprobe gradient``: the file that it writes runs without specprobe."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits" / "normal.onnx"

BARE = """
import sys
import numpy as np
import onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
assert "specprobe" not in sys.modules
for count in (1, 7):
    x = np.random.default_rng(0).random((count, 1, 16, 16), dtype=np.float32)
    feeds = {"image": x, "labels": np.arange(count, dtype=np.int64)}
    logits, loss, gradient = session.run(["logits", "loss", "d_image"], feeds)
    assert logits.shape == (count, 10) and loss.shape == (count,) and gradient.shape == x.shape
    assert np.abs(gradient).max() > 0
"""


def test_the_file_runs_in_a_process_without_specprobe(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "gradient.onnx"
    code, out, err = run("gradient", MODEL, "-o", path, "--loss", "cross-entropy")
    assert code == 0, err
    assert "d_image" in out
    onnx.checker.check_model(path, full_check=True)
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("loss", ["vjp", "cross-entropy", "margin", "dlr", "logit"])
def test_check_prints_a_small_error(run: Any, tmp_path: Path, loss: str) -> None:
    code, out, err = run("gradient", MODEL, "-o", tmp_path / "out.onnx", "--loss", loss, "--check")
    assert code == 0, err
    error = float(out.rpartition("relative error against central differences: ")[2].split()[0])
    assert error < 1e-2


def test_names_that_are_not_there_are_said(refusal: Any, tmp_path: Path) -> None:
    err = refusal("gradient", MODEL, "-o", tmp_path / "out.onnx", "--wrt", "nothing", code=3)
    assert "'nothing' is no floating-point input or initializer" in err
    assert "there is no folder" in refusal("gradient", MODEL, "-o", tmp_path / "nowhere" / "out.onnx")
