"""What is doubtful about a model stands in every document and below every table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest


@pytest.fixture
def channels_last(tmp_path: Path) -> Path:
    """A model whose layout has to be guessed from the shape of its input."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[N, 4, 4, 3] images) => (float[N, K] logits)
        <int64[2] axes = {1, 2}> { logits = ReduceMean <keepdims = 0> (images, axes) }"""
    )
    path = tmp_path / "channels_last.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("command", [("bands", "--radii", "1"), ("heatmap", "--grid", "3")])
def test_a_guessed_layout_is_told(
    channels_last: Path,
    tmp_path: Path,
    run: Callable[..., tuple[int, str, str]],
    document: Callable[..., dict[str, Any]],
    command: tuple[str, ...],
) -> None:
    images = tmp_path / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
    np.savez(images, images=pixels, labels=np.arange(8) % 3)
    name, *words = command
    made = document(name, channels_last, "--data", images, *words)
    assert [finding["code"] for finding in made["model"]["findings"]] == ["guessed-recipe"]
    code, out, _ = run(name, channels_last, "--data", images, *words)
    assert code == 0
    assert "layout NHWC is a guess from the shape of the input" in " ".join(out.split())
    _, out, _ = run(name, channels_last, "--data", images, "--layout", "NHWC", *words)
    assert "is a guess" not in out
