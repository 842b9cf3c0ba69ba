"""What a command reads is never what it writes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODELS / "normal.onnx", tmp_path / "model.onnx"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return Path(shutil.copy(MODELS / "test.npz", tmp_path / "data.npz"))


def test_inputs_are_not_overwritten(
    tmp_path: Path, model: Path, data: Path, refusal: Callable[..., str]
) -> None:
    labels, before = tmp_path / "labels.json", (model.read_bytes(), data.read_bytes())
    labels.write_text("{}")
    (tmp_path / "link.npz").symlink_to(data)
    for words in (
        ("gradient", model, "-o", model),
        ("sensitivity", model, "--data", data, "--limit", "4", "-o", data),
        ("bands", model, "--data", data, "--radii", "2", "-o", tmp_path / "link.npz"),
        ("inspect", model, "--data", data, "--class-map", labels, "-o", labels),
        ("compare", model, model, "--preprocess", f"{model}={labels}", "-o", labels),
    ):
        told = refusal(*words)
        assert "this file is also read here, and would be overwritten; name another one" in told, words
    assert (model.read_bytes(), data.read_bytes()) == before


def test_other_files_are(
    tmp_path: Path, model: Path, data: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    made = tmp_path / "made.npz"
    for _ in range(2):
        assert run("bands", model, "--data", data, "--limit", "4", "--radii", "2", "-o", made)[0] == 0


def test_a_model_is_written_to_onnx_alone(tmp_path: Path, model: Path, refusal: Callable[..., str]) -> None:
    told = refusal("gradient", model, "-o", tmp_path / "gradient.txt")
    assert "the suffix '.txt' is not known; accepted is .onnx" in told
