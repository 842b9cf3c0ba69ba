"""Gradient run over forward run, and PyTorch eager autograd over gradient run: same models, batch and threads.

python benchmarks/gradient.py [MODEL ...] [--batch 8] [--rounds 7] [--threads 2]

MODEL is one of the light graphs of the onnx package, which get He-initialised weights; ``vit_tiny``, which is exported
from PyTorch; or a path. PyTorch runs ``vit_tiny`` as the module that it is, any other graph operator by operator, both
in eager mode with frozen weights; the comparison is left out where torch is not installed. Bars are the project's own.
"""

import argparse
import contextlib
import importlib.util
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.graph.batching import fixed_batch, rebatch
from specprobe.graph.constants import constant_value
from specprobe.graph.load import open_model, raise_opset
from specprobe.graph.simplify import simplify
from specprobe.graph.survey import trailing_activation
from specprobe.runtime.device import Device
from specprobe.runtime.session import Session
from specprobe.testing.light import he_initialised, light_models

if TYPE_CHECKING:
    from numpy.typing import NDArray

Eager: TypeAlias = "Callable[[], NDArray[Any]]"

TRANSFORMER = "vit_tiny"
MODELS = ("resnet50", "vgg19", "squeezenet", "densenet121", "inception_v2", "shufflenet", TRANSFORMER)
OVER_FORWARD = {
    **dict.fromkeys(("resnet50", "vgg19", "inception_v2", TRANSFORMER), 2.3),
    **dict.fromkeys(("squeezenet", "densenet121", "shufflenet"), 2.7),
}
"""Gradient over forward, at most."""

OVER_TORCH, OVER_TORCH_MEAN = 1.3, 1.5
"""PyTorch over gradient, at least: of each model, and their geometric mean."""

WARM_UPS = 3
"""onnxruntime's arena grows in the first two runs, whose time goes into page faults."""

_PAUSE = 0.02  # seconds in which idle threads of the side before stop spinning


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians over the rounds; the ratios are medians of ratios within a round."""

    forward: float
    gradient: float
    over_forward: float
    over_torch: float | None


def main() -> None:
    """Print one row a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    print(
        f"batch {chosen.batch}, {chosen.threads} threads, median of {chosen.rounds} interleaved rounds after "
        f"{WARM_UPS} warm-up rounds"
    )
    print(
        f"{'model':14s} {'forward s':>10s} {'gradient s':>10s}  {'gradient/forward':28s} {'torch/gradient':28s}"
    )
    ratios = []
    for name in chosen.models:
        if name == TRANSFORMER and not can_export():
            print(
                f"{name:14s} left out: it is exported from PyTorch, and torch or onnxscript is not installed"
            )
            continue
        with tempfile.TemporaryDirectory() as folder:
            path, module = written(name, Path(folder))
            row = measure(path, module, chosen.batch, chosen.rounds, chosen.threads)
        label = Path(name).stem
        over_forward = judged(row.over_forward, at_most=OVER_FORWARD.get(label))
        over_torch = "–"
        if row.over_torch is not None:
            ratios.append(row.over_torch)
            over_torch = judged(row.over_torch, at_least=OVER_TORCH)
        print(
            f"{label:14s} {row.forward:10.3f} {row.gradient:10.3f}  {over_forward:28s} {over_torch:28s}".rstrip(),
            flush=True,
        )
    if ratios:
        mean = judged(statistics.geometric_mean(ratios), at_least=OVER_TORCH_MEAN)
        print(f"geometric mean of torch/gradient over {len(ratios)} models: {mean}")


def judged(ratio: float, *, at_most: float | None = None, at_least: float | None = None) -> str:
    """The ratio, its bar if it has one, and by how much it misses it."""
    if at_most is None and at_least is None:
        return f"{ratio:.2f}"
    missing = max(ratio - (math.inf if at_most is None else at_most), (at_least or 0.0) - ratio)
    bar = f"≤ {at_most}" if at_most is not None else f"≥ {at_least}"
    return f"{ratio:.2f} ({bar} {'met' if missing <= 0 else f'missed by {missing:.2f}'})"


def can_export() -> bool:
    """Whether PyTorch and what its exporter needs are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "onnxscript"))


def written(name: str, folder: Path) -> tuple[Path, Any]:
    """Where the model is, and the module that it was exported from, if any."""
    if name == TRANSFORMER:
        import architectures  # type: ignore[import-not-found] # beside this file; needs torch

        module = architectures.vit_tiny()
        return architectures.export(module, folder / "model.onnx"), module
    if name in light_models():
        return he_initialised(light_models()[name], folder / "model.onnx"), None
    return Path(name), None


def measure(path: Path, module: Any, batch: int, rounds: int, threads: int) -> Row:
    """Forward run, gradient run and PyTorch in turn."""
    model = logits_model(path)
    name = str(model.graph.inputs[0].name)
    output = str(model.graph.outputs[0].name)
    simple = simplify(model)
    graph = with_gradient(simple)
    names = gradient_names(graph)
    forward_session = Session(simple, Device(), threads=threads)
    gradient_session = Session(graph, Device(), threads=threads)
    shape = [d for d in list(model.graph.inputs[0].shape or [])[1:] if isinstance(d, int)]
    x = np.random.default_rng(0).standard_normal((batch, *shape)).astype(np.float32)
    (logits,) = forward_session.run({name: x}, [output])
    cotangent = np.random.default_rng(1).standard_normal(logits.shape).astype(np.float32)
    feeds = {name: x, names["cotangent"]: cotangent}
    sides: dict[str, Callable[[], Any]] = {
        "forward": lambda: forward_session.run({name: x}, [output]),
        "gradient": lambda: gradient_session.run(feeds, [names["gradients"][name]]),
    }
    eager = eager_module(module, x, cotangent) if module is not None else eager_graph(model, x, cotangent)
    if eager is not None:
        limit_torch(threads)
        expected = np.asarray(sides["gradient"]()[0])
        error = np.linalg.norm(eager() - expected) / np.linalg.norm(expected)
        if error > 2e-2:  # rounding alone flips some ReLUs of a network with random weights
            msg = f"{path}: PyTorch's gradient differs by {error:.1e}"
            raise AssertionError(msg)
        sides["torch"] = eager
    times: dict[str, list[float]] = {side: [] for side in sides}
    for i in range(WARM_UPS + rounds):
        for side, call in sides.items():
            time.sleep(_PAUSE)
            spent = seconds(call)
            if i >= WARM_UPS:
                times[side].append(spent)
    ratio = partial(_median_ratio, times)
    return Row(
        forward=statistics.median(times["forward"]),
        gradient=statistics.median(times["gradient"]),
        over_forward=ratio("gradient", "forward"),
        over_torch=ratio("torch", "gradient") if eager is not None else None,
    )


def _median_ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def seconds(call: Callable[..., Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def logits_model(path: Path) -> ir.Model:
    """The graph at the floor opset, for any batch size, without its final softmax."""
    model = raise_opset(open_model(path).model)
    value = model.graph.inputs[0]
    if fixed_batch(value) is not None:
        model = rebatch(model, str(value.name))
    logits = trailing_activation(model.graph.outputs[0])
    if logits is not None:
        model.graph.outputs.clear()
        model.graph.outputs.append(logits)
        RemoveUnusedNodesPass()(model)
    return model


def limit_torch(threads: int) -> None:
    """As many threads as onnxruntime gets."""
    import torch

    with contextlib.suppress(RuntimeError):  # too late to be set
        torch.set_num_threads(threads)


def eager_module(module: Any, x: "NDArray[Any]", cotangent: "NDArray[Any]") -> Eager:
    """Input gradient by PyTorch of the module that the graph was exported from."""
    import torch

    image = torch.from_numpy(x).requires_grad_()
    seed = torch.from_numpy(cotangent)

    def run() -> "NDArray[Any]":
        (gradient,) = torch.autograd.grad(module(image), image, seed)
        return np.asarray(gradient)

    return run


def eager_graph(model: ir.Model, x: "NDArray[Any]", cotangent: "NDArray[Any]") -> "Eager | None":
    """Input gradient of the same graph by PyTorch, operator by operator; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    functional = torch.nn.functional
    constants: dict[Any, Any] = {}
    for node in model.graph:
        for value in node.inputs:
            array = constant_value(value)
            if array is not None:
                constants[value] = torch.from_numpy(np.array(array))
    image = torch.from_numpy(x).requires_grad_()
    seed = torch.from_numpy(cotangent)

    def pads(node: ir.Node) -> tuple[list[int], list[int]]:
        given = list(node.attributes.get_ints("pads", [0, 0, 0, 0]))
        return given[:2], given[2:]

    def padded(node: ir.Node, tensor: Any, fill: float) -> tuple[Any, list[int]]:
        begin, end = pads(node)
        if begin == end:
            return tensor, begin
        return functional.pad(tensor, [begin[1], end[1], begin[0], end[0]], value=fill), [0, 0]

    def step(node: ir.Node, args: list[Any]) -> Any:
        get = node.attributes
        strides = list(get.get_ints("strides", [1, 1]))
        if node.op_type == "Conv":
            tensor, padding = padded(node, args[0], 0.0)
            return functional.conv2d(
                tensor,
                args[1],
                args[2] if len(args) > 2 else None,
                strides,
                padding,
                groups=get.get_int("group", 1),
            )
        if node.op_type == "MaxPool":
            tensor, padding = padded(node, args[0], float("-inf"))
            return functional.max_pool2d(tensor, list(get.get_ints("kernel_shape", [])), strides, padding)
        if node.op_type == "AveragePool":
            include = bool(get.get_int("count_include_pad", 0))
            begin, end = pads(node)
            tensor, padding = (args[0], begin) if begin == end else padded(node, args[0], 0.0)
            return functional.avg_pool2d(
                tensor, list(get.get_ints("kernel_shape", [])), strides, padding, count_include_pad=include
            )
        if node.op_type == "BatchNormalization":
            return functional.batch_norm(
                args[0], args[3], args[4], args[1], args[2], eps=get.get_float("epsilon", 1e-5)
            )
        if node.op_type == "Gemm":
            weight = args[1] if get.get_int("transB", 0) else args[1].T
            return functional.linear(args[0], weight, args[2] if len(args) > 2 else None)
        if node.op_type == "LRN":
            size = get.get_int("size", 1)
            return functional.local_response_norm(
                args[0],
                size,
                get.get_float("alpha", 1e-4),
                get.get_float("beta", 0.75),
                get.get_float("bias", 1.0),
            )
        simple: dict[str, Callable[[], Any]] = {
            "Add": lambda: args[0] + args[1],
            "Concat": lambda: torch.cat(args, get.get_int("axis", 1)),
            "Dropout": lambda: args[0],
            "Flatten": lambda: args[0].flatten(get.get_int("axis", 1)),
            "GlobalAveragePool": lambda: args[0].mean((2, 3), keepdim=True),
            "Identity": lambda: args[0],
            "MatMul": lambda: args[0] @ args[1],
            "Mul": lambda: args[0] * args[1],
            "Relu": lambda: functional.relu(args[0]),
            "Reshape": lambda: args[0].reshape(
                [args[0].shape[i] if d == 0 else int(d) for i, d in enumerate(args[1].tolist())]
            ),
            "Sum": lambda: sum(args[1:], args[0]),
            "Transpose": lambda: args[0].permute(list(get.get_ints("perm", []))),
            "Unsqueeze": lambda: args[0][(..., *(None for _ in args[1]))],
        }
        return simple[node.op_type]()

    def run() -> "NDArray[Any]":
        values = dict(constants)
        values[model.graph.inputs[0]] = image
        for node in model.graph:
            if node.outputs[0] in values:
                continue
            values[node.outputs[0]] = step(node, [values[v] for v in node.inputs if v is not None])
        (gradient,) = torch.autograd.grad(values[model.graph.outputs[0]], image, seed)
        return np.asarray(gradient)

    return run


if __name__ == "__main__":
    main()
