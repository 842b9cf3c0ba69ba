"""Graphs exported for one batch size, opened to any, and caught where that changes their numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from specprobe.graph.batching import fixed_batch, keep_batches, rebatch
from specprobe.graph.load import ModelFile, infer_shapes
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import load
from specprobe.runtime.prepare import prepare
from specprobe.runtime.session import Session

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(0)
WEIGHTS = {
    "k": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "m": RNG.standard_normal((4 * 36, 5)).astype(np.float32),
    "b": RNG.standard_normal((4, 1)).astype(np.float32),
    "bias_shape": np.array([1, 4, 1, 1]),
}
CONV = "a = Conv (x, k) r = Relu (a)"
GOOD = {
    "pooled": f"{CONV} g = GlobalAveragePool (r) y = Flatten (g)",
    "reshaped": f"{CONV} s = Constant <value_ints = [BATCH, 144]> () f = Reshape (r, s) y = MatMul (f, m)",
    "reshaped twice": f"{CONV} s = Constant <value_ints = [BATCH, 4, -1]> () f = Reshape (r, s) "
    "t = Constant <value_ints = [BATCH, 144]> () h = Reshape (f, t) y = MatMul (h, m)",
    "zero copies": f"{CONV} s = Constant <value_ints = [0, 144]> () f = Reshape (r, s) y = MatMul (f, m)",
    "weights reshaped": f"{CONV} c = Reshape (b, bias_shape) d = Add (r, c) g = GlobalAveragePool (d) y = Flatten (g)",
    "allowzero": f"{CONV} s = Constant <value_ints = [BATCH, 144]> () f = Reshape <allowzero = 1> (r, s) y = MatMul (f, m)",
}
BAKED = {
    "mean over the batch": f"{CONV} g = GlobalAveragePool (r) f = Flatten (g) n = ReduceMean <axes = [0]> (f) y = Sub (f, n)",
    "expanded": f"{CONV} g = GlobalAveragePool (r) f = Flatten (g) s = Constant <value_ints = [BATCH, 4]> () "
    "y = Expand (f, s)",
    "sliced": f"{CONV} g = GlobalAveragePool (r) f = Flatten (g) o = Constant <value_ints = [0]> () "
    "e = Constant <value_ints = [BATCH]> () l = Slice (f, o, e, o) y = Softplus (l)",
    "mixed by a reshape": f"{CONV} s = Constant <value_ints = [4, -1]> () f = Reshape (r, s) "
    "n = ReduceMean <axes = [0]> (f) t = Constant <value_ints = [BATCH, 36]> () y = Reshape (n, t)",
}


@pytest.fixture
def fixed(opened: Callable[..., ModelFile]) -> Callable[..., ModelFile]:
    """One of the bodies above at a fixed batch size."""

    def make(body: str, batch: int) -> ModelFile:
        words = body.replace(",", " ").replace("(", " ").replace(")", " ").split()
        used = {name: array for name, array in WEIGHTS.items() if name in words}
        text = body.replace("BATCH", str(batch))
        return opened(
            f"g (float[{batch}, 3, 8, 8] x) => (float[{batch}, K] y) {{ {text} }}", opset=17, **used
        )

    return make


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", sorted(GOOD))
def test_any_batch_gives_what_one_at_a_time_gives(
    fixed: Callable[..., ModelFile], run: Callable[..., tuple[Array, ...]], name: str, batch: int
) -> None:
    model = fixed(GOOD[name], batch).model
    x = RNG.standard_normal((6, 3, 8, 8)).astype(np.float32)
    wanted = np.concatenate([run(model, x=part)[0] for part in np.split(x, 6 // batch)])
    before = len(model.graph)
    changed = rebatch(model, "x")
    assert len(model.graph) == before
    assert fixed_batch(model.graph.inputs[0]) == batch
    assert fixed_batch(changed.graph.inputs[0]) is None
    for count in (1, 5, 6):
        np.testing.assert_allclose(run(changed, x=x[:count])[0], wanted[:count], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", sorted(GOOD))
def test_preparing_opens_it(fixed: Callable[..., ModelFile], name: str, batch: int) -> None:
    prepared = prepare(fixed(GOOD[name], batch), Preprocessing())
    assert prepared.batch is None
    assert "rebatched" in [finding.code for finding in prepared.findings]


@pytest.mark.parametrize("name", sorted(BAKED))
def test_a_batch_built_in_is_found_out_and_run_in_turn(
    fixed: Callable[..., ModelFile], run: Callable[..., tuple[Array, ...]], name: str
) -> None:
    file = fixed(BAKED[name], 2)
    x = RNG.random((5, 3, 8, 8), np.float32)
    network = load(file)
    assert network.batch == 2
    assert "fixed-batch" in [finding.code for finding in network.findings]
    filled = np.concatenate([x, np.zeros_like(x[:1])])
    wanted = np.concatenate([run(file.model, x=part)[0] for part in np.split(filled, 3)])[:5]
    np.testing.assert_allclose(network.logits(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "batch"), [("1, 3", 1), ("N, 3", None), ("7", 7), ("?, 3", None)])
def test_the_batch_that_an_input_insists_on(
    parse: Callable[..., onnx.ModelProto], shape: str, batch: int | None
) -> None:
    model = ir.from_proto(parse(f"g (float[{shape}] x) => (y) {{ y = Relu (x) }}"))
    assert fixed_batch(model.graph.inputs[0]) == batch
    assert fixed_batch(ir.Value(name="x")) is None
    assert fixed_batch(ir.Value(name="x", shape=ir.Shape([]))) is None


def reshaped(target: str, shape: str = "N,4,2", attributes: str = "") -> ir.Model:
    rank = len(target.split(","))
    sizes = ",".join(f"k{i}" for i in range(rank))
    return infer_shapes(
        ir.from_onnx_text(
            f'<ir_version: 10, opset_import: ["" : 18]> f (float[{shape}] x) => (float[{sizes}] y) '
            f"<int64[{rank}] s = {{{target}}}> {{ r = Reshape{attributes} (x, s) y = Neg (r) }}"
        )
    )


@pytest.mark.parametrize(
    ("target", "attributes"), [("-1, 8", ""), ("-1, 2, 4", "<allowzero = 1>"), ("-1, 2, 2, 2", "")]
)
def test_a_reshape_that_keeps_the_batch_says_so(target: str, attributes: str) -> None:
    model = reshaped(target, attributes=attributes)
    before = next(iter(model.graph)).outputs[0].shape
    assert before is not None
    assert before[0] != "N"
    kept = keep_batches(model)
    after = next(iter(kept.graph)).outputs[0].shape
    assert after is not None
    assert list(after) == ["N", *map(int, target.split(",")[1:])]
    for count in (1, 3):
        x = RNG.standard_normal((count, 4, 2)).astype(np.float32)
        old, new = (Session(m).run({"x": x}, ["y"])[0] for m in (reshaped(target), kept))
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ("-1, 4", "N,4,2"),
        ("8, -1", "N,4,2"),
        ("-1, 8", "N,4,C"),
        ("-1, 8", "3,4,2"),
        ("-1", "N,4,2"),
        ("0, 8", "N,4,2"),
    ],
)
def test_other_reshapes_stay(target: str, shape: str) -> None:
    model = reshaped(target, shape)
    assert keep_batches(model) is model
