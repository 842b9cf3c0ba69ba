"""Single operators on arrays; what they compute is compared with the specification's evaluator in ``test_constants``."""

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.graph.evaluation import EVALUATED, evaluated


def node(text: str) -> ir.Node:
    head = '<ir_version: 10, opset_import: ["" : 21, "acme" : 1]>'
    return next(iter(ir.from_onnx_text(f"{head} f (int64[N] a, int64[N] b) => (c) {{ {text} }}").graph))


def test_all_outputs_come_together() -> None:
    made = evaluated(node("c, d, e = Split <num_outputs = 3> (a)"), [np.arange(8)])
    assert made is not None
    assert [part.tolist() for part in made] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_integers_are_divided_exactly_and_towards_zero() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-(2**63), 2**63, 1000), rng.integers(-9, 10, 1000)
    b[b == 0] = 1
    made = evaluated(node("c = Div (a, b)"), [a, b])
    assert made is not None
    signs = [1 if (x < 0) == (y < 0) else -1 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    exact = [s * (abs(x) // abs(y)) for s, x, y in zip(signs, a.tolist(), b.tolist(), strict=True)]
    assert made[0].tolist() == exact


@pytest.mark.parametrize("text", ["c = Tanh (a)", "c = acme.Identity (a)", "c = If (a)"])
def test_what_is_not_listed_is_not_evaluated(text: str) -> None:
    assert evaluated(node(text), [np.arange(3)]) is None


@pytest.mark.parametrize("operator", sorted(EVALUATED - {"Constant"}))
def test_a_missing_input_is_no_crash(operator: str) -> None:
    assert evaluated(node(f"c = {operator} (a, b)"), [None, None]) is None


@pytest.mark.parametrize("operator", sorted(EVALUATED - {"Constant"}))
def test_a_wrong_number_of_inputs_is_no_crash(operator: str) -> None:
    evaluated(node(f"c = {operator} (a, b)"), [np.arange(3)])
    evaluated(node(f"c = {operator} (a, b)"), [np.arange(3)] * 9)
