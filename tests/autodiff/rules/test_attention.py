"""Attention and rotary embedding: central differences over masks, heads, caches and outputs."""

from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

FLOAT32_TOLERANCE = 2e-5
FLOAT64_TOLERANCE = 1e-7
BATCH, LENGTH, KEYS, SIZE = 2, 3, 4, 5
SLOTS = ("q", "k", "v", "mask", "past_k", "past_v", "valid")


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Standard normal."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Case(NamedTuple):
    """One Attention node; heads of queries and of keys, further inputs, attributes."""

    heads: tuple[int, int] = (2, 2)
    packed: bool = False
    further: dict[str, NDArray[Any]] = {}  # noqa: RUF012
    attributes: dict[str, Any] = {}  # noqa: RUF012
    opset: int = 23
    runtime: bool = True

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Inputs by slot."""
        queries, keys = self.heads
        shapes = {"q": (queries, LENGTH, SIZE), "k": (keys, KEYS, SIZE), "v": (keys, KEYS, SIZE + 1)}
        feeds: dict[str, NDArray[Any]] = {}
        for seed, (name, (heads, length, size)) in enumerate(shapes.items()):
            shape = (BATCH, length, heads * size) if self.packed else (BATCH, heads, length, size)
            feeds[name] = normal(*shape, seed=seed)
        return {**feeds, **self.further}

    def model(self, *, symbolic: bool = False) -> onnx.ModelProto:
        """All outputs; q, k and v by symbolic batch and lengths where asked for."""
        feeds = self.feeds()
        inputs = []
        for name, array in feeds.items():
            dims: list[int | str] = list(array.shape)
            if symbolic and name in {"q", "k", "v"}:
                dims[0], dims[1 if self.packed else 2] = "N", "Q" if name == "q" else "K"
            inputs.append(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims)
            )
        names = [slot if slot in feeds else "" for slot in SLOTS]
        while not names[-1]:
            names.pop()
        attributes = dict(self.attributes)
        if self.packed:
            attributes |= {"q_num_heads": self.heads[0], "kv_num_heads": self.heads[1]}
        outputs = ["y", "present_k", "present_v", "scores"] if "valid" not in feeds else ["y"]
        node = helper.make_node("Attention", names, outputs, name="attend", **attributes)
        values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph([node], "attention", inputs, values)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=11)


CHOICE = np.array([[True, False, True, True], [False, True, True, False], [True, True, False, False]])
PAST = {"past_k": normal(BATCH, 2, 2, SIZE, seed=5), "past_v": normal(BATCH, 2, 2, SIZE + 1, seed=6)}
CASES = {
    "plain": Case(),
    "packed": Case(packed=True),
    "scale": Case(attributes={"scale": 0.3}),
    "softcap": Case(attributes={"softcap": 1.5}),
    "causal": Case(attributes={"is_causal": 1}),
    "grouped": Case(heads=(4, 2)),
    "grouped-packed": Case(heads=(6, 2), packed=True),
    "one-key-head": Case(heads=(3, 1)),
    "mask": Case(further={"mask": normal(LENGTH, KEYS, seed=3)}),
    "mask-of-heads": Case(further={"mask": normal(BATCH, 2, LENGTH, KEYS, seed=3)}),
    "mask-of-one-head": Case(further={"mask": normal(1, 1, LENGTH, KEYS, seed=3)}),
    "choice": Case(further={"mask": CHOICE}),
    "choice-causal-softcap": Case(further={"mask": CHOICE}, attributes={"is_causal": 1, "softcap": 2.0}),
    "past": Case(further=PAST),
    "past-causal": Case(further=PAST, attributes={"is_causal": 1}),
    "past-mask": Case(further={**PAST, "mask": normal(LENGTH, KEYS + 2, seed=3)}),
    "short-mask": Case(further={"mask": normal(LENGTH, KEYS - 1, seed=3)}, opset=24, runtime=False),
    "valid-keys": Case(further={"valid": np.array([4, 3])}, opset=24, runtime=False),
    "valid-keys-causal": Case(
        further={"valid": np.array([4, 3])}, attributes={"is_causal": 1}, opset=24, runtime=False
    ),
    "window": Case(attributes={"left_window_size": 1, "right_window_size": 1}, opset=25, runtime=False),
    "double-softmax": Case(attributes={"softmax_precision": onnx.TensorProto.DOUBLE}, runtime=False),
}


@pytest.mark.parametrize("name", CASES)
def test_attention(name: str) -> None:
    case = CASES[name]
    proto, feeds = case.model(), case.feeds()
    assert check_vjp(proto, feeds, of="y", engine="reference").error < FLOAT64_TOLERANCE
    assert check_vjp(case.model(symbolic=True), feeds, of="y", engine="reference").error < FLOAT64_TOLERANCE
    if case.runtime:
        assert check_vjp(proto, feeds, of="y").error < FLOAT32_TOLERANCE


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_attention_shows_its_scores(mode: int, packed: bool) -> None:
    """In mode 0 the scores are those before softcap; the reference evaluator shows them after it."""
    case = Case(
        packed=packed,
        further={"mask": normal(LENGTH, KEYS, seed=3)},
        attributes={"qk_matmul_output_mode": mode, "softcap": 1.5 if mode else 0.0},
    )
    check = check_vjp(case.model(), case.feeds(), of="scores", engine="reference")
    assert check.error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("output", ["present_k", "present_v"])
def test_attention_passes_its_cache_on(output: str) -> None:
    case = CASES["past"]
    check = check_vjp(
        case.model(), case.feeds(), of=output, wrt=[output.replace("present", "past"), output[-1]]
    )
    assert check.error < FLOAT32_TOLERANCE


def test_attention_of_a_row_that_sees_nothing_has_no_gradient() -> None:
    mask = CHOICE.copy()
    mask[1] = False
    case = Case(further={"mask": mask})
    gradient = with_gradient(case.model(), of="y")
    names = gradient_names(gradient)
    feeds = case.feeds()
    dy = normal(BATCH, 2, LENGTH, SIZE + 1, seed=9)
    for engine in ("runtime", "reference"):
        dq, dk, dv = evaluate(
            gradient,
            {**feeds, names["cotangent"]: dy},
            [names["gradients"][name] for name in ("q", "k", "v")],
            engine=engine,
        )
        assert not dq[:, :, 1].any()
        assert dq[:, :, [0, 2]].all()
        assert np.isfinite(dk).all()
        assert np.isfinite(dv).all()


def test_attention_of_one_tensor_with_itself() -> None:
    text = """
        <ir_version: 11, opset_import: ["" : 23]>
        f (float[N, 2, L, 4] x) => (float[N, 2, L, 4] y) { y = Attention (x, x, x) }
    """
    proto = onnx.parser.parse_model(text)
    assert check_vjp(proto, {"x": normal(2, 2, 3, 4)}).error < FLOAT32_TOLERANCE


def test_attention_of_open_heads_is_refused() -> None:
    text = """
        <ir_version: 11, opset_import: ["" : 23]>
        f (float[N, H, L, 4] x) => (float[N, H, L, 4] y) { [attend] y = Attention (x, x, x) }
    """
    with pytest.raises(UnsupportedOperator, match="Attention 'attend' leaves its number of heads open"):
        with_gradient(onnx.parser.parse_model(text))


def test_attention_twice() -> None:
    case = Case(heads=(1, 1))
    first = with_gradient(case.model(), of="y", wrt="q")
    names = gradient_names(first)
    feeds = {**case.feeds(), names["cotangent"]: normal(BATCH, 1, LENGTH, SIZE + 1, seed=9)}
    check = check_vjp(first, feeds, of=names["gradients"]["q"], wrt=["q", "k", "v"], engine="reference")
    assert check.error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("positioned", [False, True])
def test_rotary_embedding(packed: bool, turned: int, interleaved: int, positioned: bool) -> None:
    heads, size = 2, 8
    half = (turned or size) // 2
    rows = (7,) if positioned else (BATCH, LENGTH)
    feeds: dict[str, NDArray[Any]] = {
        "x": normal(BATCH, LENGTH, heads * size) if packed else normal(BATCH, heads, LENGTH, size),
        "cos": normal(*rows, half, seed=1),
        "sin": normal(*rows, half, seed=2),
    }
    if positioned:
        feeds["positions"] = np.array([[0, 4, 2], [6, 6, 1]])
    attributes: dict[str, Any] = {
        "interleaved": interleaved,
        "rotary_embedding_dim": turned,
        "num_heads": heads,
    }
    graph = helper.make_graph(
        [helper.make_node("RotaryEmbedding", list(feeds), ["y"], **attributes)],
        "rotary",
        [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(array.dtype),
                ["N", *array.shape[1:]] if name == "x" else array.shape,
            )
            for name, array in feeds.items()
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    assert check_vjp(proto, feeds, engine="reference").error < FLOAT64_TOLERANCE
    if not (turned and packed):
        assert check_vjp(proto, feeds).error < FLOAT32_TOLERANCE
