"""Small classifiers in ONNX text, and the same functions in NumPy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

SHAPE = (3, 4, 5)
CLASSES = 7


@pytest.fixture
def tensors() -> dict[str, Any]:
    """Weights of the linear classifier: ``weight`` is large enough to travel beside the graph, ``bias`` is not."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(CLASSES, int(np.prod(SHAPE)))).astype(np.float32)
    return {"weight": weight, "bias": rng.normal(size=CLASSES).astype(np.float32)}


@pytest.fixture
def expected(tensors: dict[str, Any]) -> Callable[[Any], Any]:
    """Logits of the linear classifier, in float64."""

    def logits(images: Any) -> Any:
        flat = np.asarray(images, np.float64).reshape(len(images), -1)
        return flat @ tensors["weight"].astype(np.float64).T + tensors["bias"]

    return logits


@pytest.fixture
def images() -> Any:
    """Nine images, read-only as those of many sources are."""
    pixels = np.random.default_rng(1).random((9, *SHAPE), dtype=np.float32)
    pixels.flags.writeable = False
    return pixels


@pytest.fixture
def save_model(tmp_path: Path, tensors: dict[str, Any]) -> Callable[..., Path]:
    """Write a model whose nodes are given as text; ``weight`` and ``bias`` are initializers wherever they are used."""

    def save(
        body: str = "flat = Flatten (images) logits = Gemm <transB = 1> (flat, weight, bias)",
        *,
        inputs: str = "float[N, 3, 4, 5] images",
        outputs: str = "float[N, 7] logits",
        opset: int = 18,
        name: str = "model.onnx",
        extra: Mapping[str, Any] | None = None,
        external: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
        proto = onnx.parser.parse_model(text)
        used = {name for node in proto.graph.node for name in node.input}
        for key, value in {**tensors, **(extra or {})}.items():
            if key in used:
                proto.graph.initializer.append(onnx.numpy_helper.from_array(value, key))
        onnx.helper.set_model_props(proto, dict(metadata or {}))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if external is not None:
            (path.parent / external).parent.mkdir(parents=True, exist_ok=True)
            onnx.external_data_helper.convert_model_to_external_data(
                proto, location=external, size_threshold=0, convert_attribute=False
            )
        onnx.save(proto, path)
        return path

    return save
