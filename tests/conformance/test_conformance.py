"""Every case that ONNX has for an operator, and that has floating-point inputs and outputs, differentiates rightly.

A case passes, or its operators have no rule and the refusal names them, or it stands in ``reviewed.toml`` with the
reason. What is meant by differentiable is said in ``judge.py``.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from specprobe.autodiff import supported_operators, with_gradient
from specprobe.errors import UnsupportedOperator

if TYPE_CHECKING:
    from tests.conformance import judge
else:
    _spec = importlib.util.spec_from_file_location("conformance_judge", Path(__file__).with_name("judge.py"))
    judge = sys.modules["conformance_judge"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(judge)

CASES = judge.cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: "judge.Case", record_property: Callable[[str, object], None]) -> None:
    verdict = judge.judge(case)
    record_property("kind", verdict.kind)
    record_property("operator", judge.subject(case, verdict))
    record_property("differentiable", verdict.differentiable)
    expected = [review.kind for review in judge.reviews() if not review.inputs and review.covers(case.name)]
    assert len(expected) <= 1, f"entries of the table overlap: {expected}"
    if verdict.kind == "no rule" and verdict.missing:
        assert not verdict.missing & supported_operators()
        return
    assert verdict.kind == (expected[0] if expected else "passed"), verdict.detail


def test_table_names_kinds_that_there_are() -> None:
    assert {review.kind for review in judge.reviews()} <= set(judge.KINDS)


@pytest.mark.parametrize("review", judge.reviews(), ids=lambda review: review.cases)
def test_table_has_no_entry_without_a_case(review: "judge.Review") -> None:
    covered = [case for case in CASES if review.covers(case.name)]
    assert covered
    assert set(review.inputs) <= {value.name for case in covered for value in case.model.graph.input}


@pytest.mark.parametrize("review", [r for r in judge.reviews() if r.inputs], ids=lambda review: review.cases)
def test_inputs_left_out_are_refused_when_asked_for(review: "judge.Review") -> None:
    for case in CASES:
        there = {value.name for value in case.model.graph.input} & set(review.inputs)
        if review.covers(case.name) and there:
            with pytest.raises(UnsupportedOperator):
                with_gradient(judge.relabelled(case.model), wrt=sorted(there))


def test_every_entry_gives_a_reason() -> None:
    assert all(len(review.reason) > 10 for review in judge.reviews())
