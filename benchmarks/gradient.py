"""Gradient run over forward run, and PyTorch eager autograd over gradient run: same models, batch and threads.

python benchmarks/gradient.py [MODEL ...] [--batch 8] [--rounds 7] [--threads 2]

MODEL is one of the light graphs of the onnx package, which get He-initialised weights, or a path. The comparison with
PyTorch runs the same graph operator by operator in eager mode, and is left out where torch is not installed.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

MODELS = ("resnet50", "vgg19", "squeezenet", "densenet121", "inception_v2", "shufflenet")


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
    print(f"batch {chosen.batch}, {chosen.threads} threads, median of {chosen.rounds} interleaved rounds")
    print(
        f"{'model':14s} {'forward s':>10s} {'gradient s':>10s} {'gradient/forward':>17s} {'torch/gradient':>15s}"
    )
    ratios = []
    for name in chosen.models:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(name)
            if name in light_models():
                path = he_initialised(light_models()[name], Path(folder) / "model.onnx")
            row = measure(path, chosen.batch, chosen.rounds, chosen.threads)
        forward, gradient, over_forward, over_torch = row
        shown = "–" if over_torch is None else f"{over_torch:.2f}"
        ratios += [] if over_torch is None else [over_torch]
        print(
            f"{Path(name).stem:14s} {forward:10.3f} {gradient:10.3f} {over_forward:17.2f} {shown:>15s}",
            flush=True,
        )
    if ratios:
        print(f"geometric mean of torch/gradient: {statistics.geometric_mean(ratios):.2f}")


def measure(path: Path, batch: int, rounds: int, threads: int) -> tuple[float, float, float, float | None]:
    """Medians of forward and gradient seconds, and of the two ratios."""
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
    logits = forward_session.run({name: x}, [output])[0]
    cotangent = np.random.default_rng(1).standard_normal(logits.shape).astype(np.float32)
    expected = gradient_session.run({name: x, names["cotangent"]: cotangent}, [names["gradients"][name]])[0]
    eager = eager_torch(model, x, cotangent, threads)
    if eager is not None:
        error = np.linalg.norm(eager() - expected) / np.linalg.norm(expected)
        if error > 2e-2:  # rounding alone flips some ReLUs of a network with random weights
            msg = f"{path}: PyTorch's gradient differs by {error:.1e}"
            raise AssertionError(msg)
    times: dict[str, list[float]] = {"forward": [], "gradient": [], "torch": []}
    for _ in range(rounds):
        times["forward"].append(seconds(lambda: forward_session.run({name: x}, [output])))
        feeds = {name: x, names["cotangent"]: cotangent}
        times["gradient"].append(
            seconds(lambda feeds=feeds: gradient_session.run(feeds, [names["gradients"][name]]))
        )
        if eager is not None:
            times["torch"].append(seconds(eager))
    over_forward = statistics.median(g / f for g, f in zip(times["gradient"], times["forward"], strict=True))
    over_torch = None
    if eager is not None:
        over_torch = statistics.median(t / g for t, g in zip(times["torch"], times["gradient"], strict=True))
    return statistics.median(times["forward"]), statistics.median(times["gradient"]), over_forward, over_torch


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


def eager_torch(
    model: ir.Model, x: "np.ndarray[Any, Any]", cotangent: "np.ndarray[Any, Any]", threads: int
) -> "Callable[[], np.ndarray[Any, Any]] | None":
    """Input gradient of the same graph by PyTorch, operator by operator; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    with contextlib.suppress(RuntimeError):
        torch.set_num_threads(threads)
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

    def run() -> "np.ndarray[Any, Any]":
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
