"""Well-known architectures at full size, without a download: the graphs that the onnx package carries for its tests."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["he_initialised", "light_models"]

_Uses: TypeAlias = "dict[str, list[tuple[onnx.NodeProto, int]]]"
_RESIDUAL_SCALE = (
    0.3  # each branch adds 0.3² · 2 of the variance that it meets: 16 blocks stay within a factor 4 of std
)


def light_models() -> dict[str, Path]:
    """Return the graphs whose weights are left out: each is made by a ConstantOfShape of 0.02.

    Returns
    -------
    dict of str to pathlib.Path
        By name: ``bvlc_alexnet``, ``densenet121``, ``inception_v1``, ``inception_v2``, ``resnet50``, ``shufflenet``,
        ``squeezenet``, ``vgg19``, ``zfnet512``.
    """
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return {path.stem.removeprefix("light_"): path for path in sorted(folder.glob("light_*.onnx"))}


def he_initialised(model_path: str | Path, target: str | Path, /, *, seed: int = 0) -> Path:
    """Write a light model with weights that behave like trained ones: activations neither vanish nor explode.

    Weights of Conv, Gemm and MatMul are normal with variance 2 / fan-in; BatchNormalization has scales near 1 (near 0.3
    where it ends a residual branch), mean 0 and variance 1; biases are small.

    Parameters
    ----------
    model_path : str or pathlib.Path
        One of :func:`light_models`.
    target : str or pathlib.Path
        Where the model goes, its weights as ordinary initializers.
    seed : int
        The same seed gives the same file.

    Returns
    -------
    pathlib.Path
        ``target``.
    """
    model = onnx.load(model_path)
    graph = model.graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    uses: _Uses = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            uses.setdefault(name, []).append((node, position))
    shapes = {
        node.output[0]: tuple(map(int, stored[node.input[0]]))
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    shapes |= {name: array.shape for name, array in stored.items() if array.dtype == np.float32}
    rng = np.random.Generator(np.random.Philox(key=seed))
    made = {name: _draw(rng, name, shape, uses, stored) for name, shape in shapes.items() if name in uses}
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    needed = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    for name, array in {**stored, **made}.items():
        if name in needed:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    inputs = [value for value in graph.input if value.name not in stored]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = 8
    onnx.save(model, target)
    return Path(target)


def _draw(
    rng: np.random.Generator,
    name: str,
    shape: tuple[int, ...],
    uses: _Uses,
    stored: "dict[str, NDArray[Any]]",
) -> "NDArray[np.float32]":
    """Weights fit for what reads ``name``."""
    node, position = uses[name][0]
    read_as = shape
    while node.op_type in {
        "Reshape",
        "Unsqueeze",
    }:  # the weight on its way to the operator that it is meant for
        if node.op_type == "Reshape":
            read_as = np.empty(shape, np.bool_).reshape(stored[node.input[1]]).shape
        node, position = uses[node.output[0]][0]
    if node.op_type in {"Conv", "Gemm", "MatMul"} and position == 1:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        fan_in = math.prod(read_as[1:]) if node.op_type == "Conv" or transposed else read_as[0]
        return _normal(rng, shape, math.sqrt(2 / fan_in))
    if (node.op_type, position) in {("BatchNormalization", 1), ("Mul", 1)}:
        ends_branch = any(user.op_type == "Sum" for user, _ in uses.get(node.output[0], []))
        middle = _RESIDUAL_SCALE if ends_branch else 1.0
        return (middle * (0.9 + 0.2 * rng.random(shape))).astype(np.float32)
    if (node.op_type, position) == ("BatchNormalization", 3):
        return np.zeros(shape, np.float32)
    if (node.op_type, position) == ("BatchNormalization", 4):
        return np.ones(shape, np.float32)
    return _normal(rng, shape, 0.01)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> "NDArray[np.float32]":
    array = rng.standard_normal(shape, np.float32)
    array *= np.float32(deviation)
    return array
