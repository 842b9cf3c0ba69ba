"""Partial results survive to the bit."""

import dataclasses
import math
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.analysis.accuracy import Accuracy
from specprobe.results import pack, unpack


@settings(deadline=None)
@given(
    st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.floats(0.01, 0.99),
    st.booleans(),
)
def test_packing_keeps_every_bit(counts: tuple[int, int], confidence: float, per_image: bool) -> None:
    images, correct = counts[0] + 1, counts[1]
    packed = Accuracy(
        images=images,
        correct=correct,
        class_histogram={"3": images},
        prediction_histogram={"3": images},
        confidence=confidence,
        image_correct=np.arange(images) < correct if per_image else None,
        image_digest=np.arange(16 * images, dtype=np.uint8).reshape(images, 16) if per_image else None,
    )
    scalars, arrays = pack(packed)
    assert unpack(scalars, arrays) == packed


@dataclasses.dataclass(frozen=True)
class Odd:
    """Numbers that JSON has no word for, nested tuples, arrays of another library."""

    kind = "accuracy"

    x: float
    shape: tuple[tuple[int, ...], ...]
    values: Any


def test_packing_keeps_infinities_tuples_and_strict_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    scalars, arrays = pack(Odd(-math.inf, ((1, 2), (3,)), array_api_strict.asarray([1.5, math.nan])))
    assert isinstance(arrays["values"], np.ndarray)
    monkeypatch.setitem(unpack.__globals__, "result_type", lambda kind: Odd)
    again = unpack(scalars, arrays)
    assert (again.x, again.shape) == (-math.inf, ((1, 2), (3,)))
    assert np.array_equal(again.values, [1.5, math.nan], equal_nan=True)
