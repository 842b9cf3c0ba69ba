"""Linear attention against a recurrence in NumPy; attention with subgraphs by central differences."""

import re
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper
from onnx_ir.passes import common

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.evaluation import Feeds, evaluate
from specprobe.testing.gradient_check import check_vjp, disagreement, slopes
from specprobe.testing.widening import widened

BATCH, KEY, VALUE = 2, 3, 4
FLOAT64_TOLERANCE = 1e-7


class Linear(NamedTuple):
    """A LinearAttention node: rule, heads of queries and keys, tokens, last axes of decay and beta."""

    rule: str
    heads: tuple[int, int] = (2, 2)
    tokens: int = 3
    past: bool = False
    decay: int = 0
    beta: int = 0
    scale: float = 0.0

    def feeds(self, dtype: Any = np.float64) -> dict[str, NDArray[Any]]:
        """Inputs by name."""
        queries, keys = self.heads
        shapes = {
            "query": (BATCH, self.tokens, queries * KEY),
            "key": (BATCH, self.tokens, keys * KEY),
            "value": (BATCH, self.tokens, keys * VALUE),
            "past": (BATCH, keys, KEY, VALUE) if self.past else (),
            "decay": (BATCH, self.tokens, self.decay) if self.decay else (),
            "beta": (BATCH, self.tokens, self.beta) if self.beta else (),
        }
        rng = np.random.default_rng(0)
        feeds = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items() if shape}
        return feeds | {name: -np.abs(array) for name, array in feeds.items() if name == "decay"}

    def model(self, kind: int = onnx.TensorProto.FLOAT, *, tokens: int | str = 0) -> onnx.ModelProto:
        """Both outputs."""
        feeds = self.feeds()
        shapes: dict[str, list[int | str]] = {name: ["N", *a.shape[1:]] for name, a in feeds.items()}
        for name in shapes.keys() - {"past"}:
            shapes[name][1] = tokens or self.tokens
        names = [name if name in feeds else "" for name in ("query", "key", "value", "past", "decay", "beta")]
        while not names[-1]:
            names.pop()
        node = helper.make_node(
            "LinearAttention",
            names,
            ["y", "present"],
            name="attend",
            update_rule=self.rule,
            scale=self.scale,
            q_num_heads=self.heads[0],
            kv_num_heads=self.heads[1],
        )
        graph = helper.make_graph(
            [node],
            "linear",
            [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
            [helper.make_tensor_value_info(name, kind, None) for name in ("y", "present")],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)], ir_version=13)

    def outputs(self, feeds: Feeds) -> list[NDArray[Any]]:
        """By the recurrence that the standard gives."""
        queries, keys = self.heads
        at = {name: np.asarray(array, np.float64) for name, array in feeds.items()}
        batch, tokens, _ = at["query"].shape
        query = at["query"].reshape(batch, tokens, queries, KEY)
        key, value = (at[name].reshape(batch, tokens, keys, -1) for name in ("key", "value"))
        state = at.get("past", np.zeros((batch, keys, KEY, VALUE)))
        made = []
        for t in range(tokens):
            if self.decay:
                state = np.exp(at["decay"][:, t].reshape(batch, keys, -1, 1)) * state
            written = value[:, t]
            if self.beta:
                seen = np.einsum("nhkv,nhk->nhv", state, key[:, t])
                written = at["beta"][:, t].reshape(batch, self.beta, 1) * (written - seen)
            state = state + np.einsum("nhk,nhv->nhkv", key[:, t], written)
            shared = np.repeat(state, queries // keys, axis=1)
            made.append((self.scale or KEY**-0.5) * np.einsum("nhk,nhkv->nhv", query[:, t], shared))
        return [np.stack(made, axis=1).reshape(batch, tokens, -1), state]


LINEAR = {
    "linear": Linear("linear"),
    "linear-past": Linear("linear", past=True),
    "linear-one-token": Linear("linear", tokens=1),
    "linear-grouped": Linear("linear", (4, 2), past=True),
    "gated": Linear("gated", decay=2 * KEY),
    "gated-by-head": Linear("gated", decay=2, past=True),
    "delta": Linear("delta", beta=2),
    "delta-one-rate": Linear("delta", beta=1, past=True),
    "gated-delta": Linear("gated_delta", decay=2 * KEY, beta=2),
    "gated-delta-past": Linear("gated_delta", decay=2 * KEY, beta=2, past=True),
    "gated-delta-grouped": Linear("gated_delta", (6, 2), decay=2, beta=1, past=True, scale=0.4),
    "gated-delta-one-key-head": Linear("gated_delta", (3, 1), decay=KEY, beta=1, tokens=5),
    "gated-delta-one-token": Linear("gated_delta", tokens=1, decay=2, beta=2, past=True),
}


@pytest.mark.parametrize("of", ["y", "present"])
@pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR)
def test_linear_attention(case: Linear, of: str) -> None:
    feeds = case.feeds()
    model = case.model()
    gradient = with_gradient(model, of=of)
    named = gradient_names(gradient)
    position = ["y", "present"].index(of)
    value = case.outputs(feeds)[position]
    (stated,) = evaluate(widened(model), feeds, [of], engine="reference")
    np.testing.assert_allclose(stated, value, rtol=1e-4, atol=1e-5)
    u = np.random.default_rng(1).standard_normal(value.shape)
    fed = {**feeds, named["cotangent"]: u}
    wide = widened(ir.to_proto(gradient))
    products = evaluate(wide, fed, list(named["gradients"].values()), engine="reference")
    unseen = {"query"} if of == "present" else set()
    assert feeds.keys() - named["gradients"].keys() - unseen <= {"decay"}
    for name, product in zip(named["gradients"], products, strict=True):
        v = np.random.default_rng(2).standard_normal(feeds[name].shape)
        slope = slopes(case.outputs, feeds, {name: v}, steps=(1e-4, 1e-5, 1e-6))[position]
        assert disagreement(slope, u, float(np.sum(product * v)), 1e-6).error < FLOAT64_TOLERANCE, name


def test_linear_attention_in_float16_accumulates_in_float32() -> None:
    case = Linear("gated_delta", (4, 2), tokens=5, decay=2 * KEY, beta=2, past=True)
    feeds = case.feeds(np.float16)
    u = np.random.default_rng(1).standard_normal((BATCH, 5, 4 * VALUE)).astype(np.float16)
    found = []
    for kind, dtype in ((onnx.TensorProto.FLOAT16, np.float16), (onnx.TensorProto.FLOAT, np.float32)):
        gradient = with_gradient(case.model(kind), of="y")
        named = gradient_names(gradient)
        fed = {
            **{name: array.astype(dtype) for name, array in feeds.items()},
            named["cotangent"]: u.astype(dtype),
        }
        found.append(
            evaluate(ir.to_proto(gradient), fed, list(named["gradients"].values()), engine="reference")
        )
    assert len(found[0]) == len(feeds)
    for half, single in zip(*found, strict=True):
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, single.astype(np.float16))


def test_linear_attention_of_open_length_is_refused() -> None:
    with pytest.raises(
        UnsupportedOperator, match=r"LinearAttention \(node 'attend'\) with an open number of tokens"
    ):
        with_gradient(Linear("linear").model(tokens="T"), of="y")


BIAS = "score_mod = bias (float[B,H,L,S] s) => (float[B,H,L,S] t) <float one = {0.5}> { t = Add (s, one) }"
CAP = """score_mod = cap (float[B,H,L,S] s) => (float[B,H,L,S] t) {
  limit = Constant <value = float {2}> ()
  d = Div (s, limit)
  h = Tanh (d)
  t = Mul (h, limit)
}"""
CAUSAL = """score_mod = causal (float[B,H,L,S] s) => (float[B,H,L,S] t)
  <int64[2] ends = {2, 3}, int64 zero = {0}, int64 one = {1}, int64[2] down = {-1, 1}, float never = {-inf}> {
  shape = Shape (s)
  sizes = Gather (shape, ends)
  rows, columns = Split <num_outputs = 2> (sizes)
  r = Squeeze (rows)
  c = Squeeze (columns)
  i = Range (zero, r, one)
  k = Reshape (i, down)
  j = Range (zero, c, one)
  seen = GreaterOrEqual (k, j)
  t = Where (seen, s, never)
}"""
SQUARE = "prob_mod = square (float[B,H,L,S] p) => (float[B,H,L,S] r) { r = Mul (p, p) }"


class Flex(NamedTuple):
    """A FlexAttention node: attributes in ONNX text, heads of queries and keys."""

    attributes: str = ""
    heads: tuple[int, int] = (2, 2)

    def model(self) -> onnx.ModelProto:
        """Open batch and lengths."""
        queries, keys = self.heads
        attributes = f"<{self.attributes}>" if self.attributes else ""
        return onnx.parser.parse_model(f"""
            <ir_version: 11, opset_import: ["" : 26, "ai.onnx.preview" : 1]>
            f (float[N,{queries},L,16] q, float[N,{keys},S,16] k, float[N,{keys},S,5] v) => (float[N,{queries},L,5] y)
            {{ y = ai.onnx.preview.FlexAttention {attributes} (q, k, v) }}""")

    def feeds(self) -> dict[str, NDArray[Any]]:
        """Three queries, four keys."""
        rng = np.random.default_rng(0)
        queries, keys = self.heads
        shapes = {"q": (2, queries, 3, 16), "k": (2, keys, 4, 16), "v": (2, keys, 4, 5)}
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


FLEX = {
    "plain": Flex(),
    "scale": Flex("scale = 0.0625"),
    "grouped": Flex(heads=(6, 2)),
    "one-key-head": Flex(heads=(3, 1)),
    "bias": Flex(BIAS),
    "cap": Flex(CAP, (4, 2)),
    "causal": Flex(CAUSAL, (4, 2)),
    "probabilities": Flex(SQUARE),
    "both": Flex(f"{CAUSAL}, {SQUARE}, scale = 0.25"),
}


@pytest.mark.parametrize("case", FLEX.values(), ids=FLEX)
def test_flex_attention(case: Flex) -> None:
    check = check_vjp(case.model(), case.feeds(), engine="reference")
    assert check.error < FLOAT64_TOLERANCE


def test_flex_attention_twice() -> None:
    once = with_gradient(Flex(f"{CAP}, {SQUARE}", (4, 2)).model())
    named = gradient_names(once)
    rng = np.random.default_rng(3)
    feeds = {
        **Flex(heads=(4, 2)).feeds(),
        named["cotangent"]: rng.standard_normal((2, 4, 3, 5)).astype(np.float32),
    }
    for name, gradient in named["gradients"].items():
        check = check_vjp(once, feeds, of=gradient, engine="reference")
        assert check.error < FLOAT64_TOLERANCE, name


OUTSIDE = """
<ir_version: 11, opset_import: ["" : 26, "ai.onnx.preview" : 1]>
f (float[N,2,L,4] q, float[N,2,S,4] k, float[N,2,S,5] v, float b) => (float[N,2,L,5] y) <float c = {0.5}> {
  y = ai.onnx.preview.FlexAttention <
    score_mod = bias (float[B,H,L,S] s) => (float[B,H,L,S] t) { t = Mul (s, NAME) }
  > (q, k, v)
}"""


def test_flex_attention_with_a_constant_from_outside() -> None:
    """Half of the default scale for four numbers, 1/2, is 1/4."""
    rng = np.random.default_rng(0)
    shapes = {"q": (1, 2, 3, 4), "k": (1, 2, 4, 4), "v": (1, 2, 4, 5), "cotangent": (1, 2, 3, 5), "b": ()}
    feeds = {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in shapes.items()}
    found = []
    for model in (
        OUTSIDE.replace("NAME", "c"),
        re.sub(r"<\s+score_mod.*?\n  >", "<scale = 0.25>", OUTSIDE, flags=re.DOTALL),
    ):
        gradient = with_gradient(onnx.parser.parse_model(model), wrt=["q", "k", "v"])
        gradient.graph.outputs[:] = [v for v in gradient.graph.outputs if v.name != "y"]
        common.RemoveUnusedNodesPass()(gradient)
        proto = ir.to_proto(gradient)
        assert "FlexAttention" not in {node.op_type for node in proto.graph.node}
        found.append(evaluate(proto, feeds, ["d_q", "d_k", "d_v"], engine="reference"))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_flex_attention_with_an_input_from_outside_is_refused() -> None:
    model = onnx.parser.parse_model(OUTSIDE.replace("NAME", "b"))
    with pytest.raises(
        UnsupportedOperator, match=r"FlexAttention \(node 'y'\) with a subgraph that reads 'b'"
    ):
        with_gradient(model, wrt="q")
