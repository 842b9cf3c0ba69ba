"""Small models, written, opened and run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from specprobe.graph.limits import Limits
from specprobe.graph.load import ModelFile, open_model
from specprobe.runtime.session import Session

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@pytest.fixture
def parse() -> Callable[..., onnx.ModelProto]:
    """From the body of a graph in ONNX text to a model; ``weights`` become initializers."""

    def make(
        text: str, *, opset: int = 18, ir_version: int = 8, imports: str = "", **weights: Array
    ) -> onnx.ModelProto:
        head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}{imports}]>'
        model = onnx.parser.parse_model(f"{head} {text}")
        for name, array in weights.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return model

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a model, or any bytes, to a file of its own."""
    count = 0

    def write(content: onnx.ModelProto | bytes) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / f"model_{count}.onnx"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return path

    return write


@pytest.fixture
def opened(parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> Callable[..., ModelFile]:
    """Write a model and open it again as a stranger's file."""

    def make(source: onnx.ModelProto | str, *, limits: Limits | None = None, **settings: Any) -> ModelFile:
        proto = parse(source, **settings) if isinstance(source, str) else source
        return open_model(save(proto), limits=limits)

    return make


@pytest.fixture
def run() -> Callable[..., tuple[Array, ...]]:
    """Evaluate all outputs of a graph on the CPU."""

    def evaluate(model: ir.Model, /, **feeds: Array) -> tuple[Array, ...]:
        names = [str(value.name) for value in model.graph.outputs]
        return Session(model, threads=1).run({k: np.ascontiguousarray(v) for k, v in feeds.items()}, names)

    return evaluate
