"""Spectral analyses over bare onnxruntime, and the heat map beside a loop in PyTorch, on the same threads.

python benchmarks/spectral.py [MODEL.onnx DATA.npz --mean ... --std ...] [--images 512] [--heatmap-images 32]

MODEL takes 32×32 images; without it, ``models/digits`` and a ResNet-50 with He-initialised weights are measured alone.
What an analysis asks of onnxruntime is recorded, and the very same batches run through the very same sessions once
more, with nothing around them. The loop is the plain one: the network in eager mode, one pass over the images for each
of the 1024 frequencies. It is left out where torch is not installed. Bars are the project's own.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from gradient import judged, limit_torch, seconds  # type: ignore[import-not-found] # beside this file

import specprobe
from specprobe.graph.constants import constant_value
from specprobe.graph.load import open_model, raise_opset
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import Network
from specprobe.runtime.session import Session
from specprobe.testing.light import he_initialised, light_models

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32
OVER_RUNTIME = 1.1
"""Analysis over bare onnxruntime, at most."""
IN_LOGITS = 0.9
"""Share of the heat map's time in which the network runs, at least."""
OVER_LOOP = 2.3
"""PyTorch loop over heat map, at least."""
_PAUSE = 0.02  # seconds in which idle threads of the side before stop spinning


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A network and images in memory."""

    name: str
    network: Network
    images: "NDArray[np.float32]"
    labels: "NDArray[np.int64]"
    bar: float | None = OVER_RUNTIME


@dataclass(slots=True)
class Recorder:
    """What was asked of onnxruntime."""

    calls: list[tuple[Any, list[str], dict[str, Any]]] = field(default_factory=list)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """While it is open, runs of sessions are written down, with a copy of what they were given."""
        run = Session.run

        def kept(session: Session, feeds: Any, outputs: Any) -> Any:
            copies = {name: np.array(array) for name, array in feeds.items()}
            self.calls.append((session._session, list(outputs), copies))
            return run(session, feeds, outputs)

        with patch.object(Session, "run", kept):
            yield

    def replay(self) -> None:
        """All of it, without anything around."""
        for session, outputs, feeds in self.calls:
            session.run(outputs, feeds)


def main() -> None:
    """Print one row an analysis and model, then the heat map."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--mean", type=float, nargs="*", default=[0.0])
    parser.add_argument("--std", type=float, nargs="*", default=[1.0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--large-images", type=int, default=8, help="of 224×224 pixels, for the ResNet-50")
    parser.add_argument("--heatmap-images", type=int, default=32, help="0 leaves the heat map out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--heatmap-rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    if (chosen.model is None) != (chosen.data is None):
        parser.error("MODEL and DATA go together")
    print(
        f"{chosen.threads} threads, batch {BATCH}, images in memory; medians over {chosen.rounds} interleaved rounds"
    )
    print(
        f"{'model':28s} {'analysis':12s} {'images':>6s} {'runs/image':>10s} {'runtime s':>9s}  analysis/runtime"
    )
    with tempfile.TemporaryDirectory() as folder:
        small = _from_files(chosen) if chosen.model is not None else None
        cases = [_digits(chosen), _large(chosen, Path(folder))]
        for case in cases if small is None else [small, *cases]:
            for analysis in (specprobe.fourier_sensitivity, specprobe.band_accuracy):
                over_runtime(case, analysis, chosen.rounds)
        if small is not None and chosen.heatmap_images:
            heatmap(small, chosen)


def _from_files(chosen: argparse.Namespace) -> Case:
    wanted = max(chosen.images, chosen.heatmap_images)
    recipe = Preprocessing(mean=tuple(chosen.mean), std=tuple(chosen.std))
    source = specprobe.load_images(chosen.data, limit=wanted)
    network = specprobe.load(
        chosen.model, preprocessing=recipe, image_shape=source.image_shape, threads=chosen.threads
    )
    return _case(chosen.model.stem, network, source, chosen.images)


def _digits(chosen: argparse.Namespace) -> Case:
    source = specprobe.load_images(ROOT / "models/digits/test.npz")
    network = specprobe.load(
        ROOT / "models/digits/normal.onnx", image_shape=source.image_shape, threads=chosen.threads
    )
    return _case("digits (tiny, no bar)", network, source, chosen.images, bar=None)


def _large(chosen: argparse.Namespace, folder: Path) -> Case:
    path = he_initialised(light_models()["resnet50"], folder / "resnet50.onnx")
    network = specprobe.load(path, threads=chosen.threads)
    rng = np.random.default_rng(0)
    images = rng.random((chosen.large_images, *network.image_shape), np.float32)
    return Case(name="resnet50 224×224", network=network, images=images, labels=_predicted(network, images))


def _predicted(network: Network, images: "NDArray[np.float32]") -> "NDArray[np.int64]":
    predicted: NDArray[np.int64] = np.asarray(network.logits(images)).argmax(axis=1).astype(np.int64)
    return predicted


def _case(name: str, network: Network, source: Any, limit: int, bar: float | None = OVER_RUNTIME) -> Case:
    batch = source.read(0, source.images)
    return Case(
        name=name,
        network=network,
        images=np.ascontiguousarray(batch.images[:limit], np.float32),
        labels=np.asarray(batch.labels[:limit], np.int64),
        bar=bar,
    )


def over_runtime(case: Case, analysis: Callable[..., Any], rounds: int) -> None:
    """Time of an analysis over that of its runs alone."""
    call = partial(analysis, case.network, case.images, case.labels, batch_size=BATCH)
    call()  # opens sessions, fills arenas
    recorder = Recorder()
    with recorder.recording():
        call()
    recorder.replay()
    ours, bare = _interleaved([call, recorder.replay], rounds)
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    count = len(case.images)
    evaluations = sum(len(next(iter(feeds.values()))) for _, _, feeds in recorder.calls) / count
    name = analysis.__name__.removeprefix("fourier_")
    print(
        f"{case.name:28s} {name:12s} {count:6d} {evaluations:10.0f} {statistics.median(bare):9.3f}  "
        f"{judged(ratio, at_most=case.bar)}",
        flush=True,
    )


def _interleaved(calls: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, spent in zip(calls, times, strict=True):
            time.sleep(_PAUSE)
            spent.append(seconds(call))
    return times


def heatmap(case: Case, chosen: argparse.Namespace) -> None:
    """Evaluations, share of the time in the network, and the loop in PyTorch over the heat map."""
    count = min(chosen.heatmap_images, len(case.images))
    images, labels = case.images[:count], case.labels[:count]
    inside: list[float] = []
    logits = Network.logits

    def timed(network: Network, batch: Any, /) -> Any:
        start = time.perf_counter()
        answer = logits(network, batch)
        inside.append(time.perf_counter() - start)
        return answer

    found: list[Any] = []
    spent: list[float] = []
    shares: list[float] = []

    def ours() -> None:
        inside.clear()
        start = time.perf_counter()
        with patch.object(Network, "logits", timed):
            found.append(specprobe.fourier_heatmap(case.network, images, labels, batch_size=BATCH))
        spent.append(time.perf_counter() - start)
        shares.append(sum(inside) / spent[-1])

    loop = eager_loop(chosen, case, images, labels)
    calls = [ours] if loop is None else [ours, loop]
    times = _interleaved(calls, chosen.heatmap_rounds)
    result = found[-1]
    print(
        f"heat map {'×'.join(map(str, result.image_size))}, {case.name}, {count} images, {chosen.heatmap_rounds} rounds"
    )
    a_image = result.model_evaluations / result.images
    print(f"  evaluations an image, the clean one included    {a_image:.0f}")
    print(
        f"  share of the time inside the network            {judged(statistics.median(shares), at_least=IN_LOGITS)}"
    )
    if loop is None:
        print("  PyTorch loop left out: torch is not installed")
        return
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    print(f"  PyTorch loop, all frequencies, over the heat map {judged(ratio, at_least=OVER_LOOP)}")


def eager_loop(
    chosen: argparse.Namespace, case: Case, images: "NDArray[np.float32]", labels: "NDArray[np.int64]"
) -> "Callable[[], NDArray[np.float64]] | None":
    """Map of errors by PyTorch, one frequency after the other; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    limit_torch(chosen.threads)
    network = eager_network(chosen.model, chosen.mean, chosen.std)
    expected = np.asarray(case.network.logits(images))
    with torch.inference_mode():
        error = (
            np.abs(np.asarray(network(torch.from_numpy(images))) - expected).max() / np.abs(expected).max()
        )
    if error > 1e-3:
        msg = f"{chosen.model}: PyTorch's logits differ by {error:.1e} of the largest"
        raise AssertionError(msg)
    count, channels, height, width = images.shape
    batches = [
        (torch.from_numpy(images[i : i + BATCH]), torch.from_numpy(labels[i : i + BATCH]))
        for i in range(0, count, BATCH)
    ]

    def run() -> "NDArray[np.float64]":
        errors = np.empty((height, width))
        random = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for row in range(height):
                for column in range(width):
                    one = torch.zeros(height, width, dtype=torch.complex64)
                    one[row, column] = 1
                    basis = torch.fft.ifft2(one).real
                    basis = 4 * basis / basis.norm()
                    wrong = 0
                    for batch, wanted in batches:
                        sign = 1.0 - 2 * torch.randint(0, 2, (len(batch), channels, 1, 1), generator=random)
                        answer = network((batch + sign * basis).clamp(0, 1))
                        wrong += int((answer.argmax(1) != wanted).sum())
                    errors[row, column] = wrong / count
        return errors

    return run


def eager_network(path: Path, mean: list[float], std: list[float]) -> Callable[[Any], Any]:
    """The graph operator by operator in PyTorch: those that residual networks are made of."""
    import torch

    functional = torch.nn.functional
    model = raise_opset(open_model(path).model)
    constants: dict[Any, Any] = {}
    for node in model.graph:
        for value in node.inputs:
            array = constant_value(value)
            if array is not None:
                constants[value] = torch.from_numpy(np.array(array))
    shift = torch.tensor(mean).reshape(1, -1, 1, 1)
    scale = torch.tensor(std).reshape(1, -1, 1, 1)

    def conv(node: Any) -> Callable[..., Any]:
        pads = list(node.attributes.get_ints("pads", [0, 0, 0, 0]))
        if pads[:2] != pads[2:]:
            msg = f"convolution '{node.name}' has pads {pads}; accepted here are equal ones"
            raise ValueError(msg)
        return partial(
            functional.conv2d,
            stride=list(node.attributes.get_ints("strides", [1, 1])),
            padding=pads[:2],
            groups=node.attributes.get_int("group", 1),
        )

    def gemm(node: Any) -> Callable[..., Any]:
        turned = node.attributes.get_int("transB", 0)
        return lambda x, w, b=None: functional.linear(x, w if turned else w.T, b)

    def norm(node: Any) -> Callable[..., Any]:
        epsilon = node.attributes.get_float("epsilon", 1e-5)
        return lambda x, s, b, m, v: functional.batch_norm(x, m, v, s, b, eps=epsilon)

    def pad(x: Any, widths: Any) -> Any:
        begin, end = widths.reshape(2, -1).tolist()
        return functional.pad(x, [n for pair in zip(begin[::-1], end[::-1], strict=True) for n in pair])

    def sliced(x: Any, starts: Any, ends: Any, axes: Any, steps: Any) -> Any:
        index = [slice(None)] * x.ndim
        for axis, *bounds in zip(*(part.tolist() for part in (axes, starts, ends, steps)), strict=True):
            index[axis] = slice(*bounds)
        return x[tuple(index)]

    made: dict[str, Callable[[Any], Callable[..., Any]]] = {
        "Add": lambda _: torch.add,
        "BatchNormalization": norm,
        "Conv": conv,
        "Flatten": lambda _: partial(torch.flatten, start_dim=1),
        "Gemm": gemm,
        "GlobalAveragePool": lambda _: partial(torch.mean, dim=(2, 3), keepdim=True),
        "Pad": lambda _: pad,
        "Relu": lambda _: functional.relu,
        "Slice": lambda _: sliced,
    }
    steps = [
        (node.outputs[0], made[node.op_type](node), list(node.inputs))
        for node in model.graph
        if node.outputs[0] not in constants
    ]

    def run(x: Any) -> Any:
        values = dict(constants)
        values[model.graph.inputs[0]] = (x - shift) / scale
        for output, step, inputs in steps:
            values[output] = step(*(values[v] for v in inputs if v is not None))
        return values[model.graph.outputs[0]]

    return run


if __name__ == "__main__":
    main()
