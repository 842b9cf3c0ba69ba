"""Phases of an image: against slices and assignments of NumPy."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.rules.phases import (
    blocked,
    channels_of,
    constant_image,
    enlarge,
    feature_map,
    interleave,
    pick,
    spread_first,
    step,
    with_channels,
)
from specprobe.testing.evaluation import evaluate

CHANNELS = 3


def image(shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(write: Callable[..., ir.Value], *images: NDArray[np.float32]) -> NDArray[Any]:
    """Evaluate ``write(op, *values)`` on images of any batch size."""
    values = [
        ir.Value(name=f"x{i}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", *x.shape[1:]]))
        for i, x in enumerate(images)
    ]
    model = ir.Model(ir.Graph(values, [], nodes=[], opset_imports={"": 18}), ir_version=10)
    output = write(Operators(model, prefix="t"), *values)
    model.graph.outputs.append(output)
    (made,) = evaluate(model, {f"x{i}": x for i, x in enumerate(images)}, [str(output.name)])
    if output.shape is not None:  # what is stated about a shape is true
        stated = list(output.shape)
        assert [n for n in stated if isinstance(n, int)] == [
            n for n, s in zip(made.shape, stated, strict=True) if isinstance(s, int)
        ]
    return np.asarray(made)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    offsets=st.tuples(st.integers(-3, 3), st.integers(-3, 3)),
    counts=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_pick_reads_what_is_there_and_zeros_elsewhere(
    sizes: tuple[int, int], offsets: tuple[int, int], counts: tuple[int, int], strides: tuple[int, int]
) -> None:
    x = image((2, CHANNELS, *sizes))
    made = run(
        lambda op, value: pick(
            op, value, CHANNELS, sizes=sizes, offsets=offsets, counts=counts, strides=strides, factor=-2
        ),
        x,
    )
    expected = np.zeros((2, CHANNELS, *counts), np.float32)
    for i, j in np.ndindex(*counts):
        row, column = (s * n + o for s, n, o in zip(strides, (i, j), offsets, strict=True))
        if 0 <= row < sizes[0] and 0 <= column < sizes[1]:
            expected[..., i, j] = -2 * x[..., row, column]
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3), (3, 2)])
@pytest.mark.parametrize("sizes", [(6, 6), (7, 5)])
@pytest.mark.parametrize("stacked", [False, True])
def test_interleave_puts_every_phase_in_its_place(
    strides: tuple[int, int], sizes: tuple[int, int], stacked: bool
) -> None:
    counts = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    places = [*itertools.product(*map(range, strides))]
    phases = [image((2, CHANNELS, *counts), seed) for seed in range(len(places))]
    if stacked:
        joined = np.concatenate(phases, axis=1)
        made = run(lambda op, x: interleave(op, [x], CHANNELS, strides=strides, sizes=sizes), joined)
    else:
        made = run(lambda op, *xs: interleave(op, xs, CHANNELS, strides=strides, sizes=sizes), *phases)
    full = np.zeros((2, CHANNELS, *(c * s for c, s in zip(counts, strides, strict=True))), np.float32)
    for (row, column), phase in zip(places, phases, strict=True):
        full[:, :, row :: strides[0], column :: strides[1]] = phase
    np.testing.assert_array_equal(made, full[:, :, : sizes[0], : sizes[1]])


@pytest.mark.parametrize("sizes", [(6, 8), (5, 7)])
def test_spread_first_leaves_zeros_between(sizes: tuple[int, int]) -> None:
    counts = [-(-n // 2) for n in sizes]
    x = image((2, CHANNELS, *counts))
    made = run(lambda op, value: spread_first(op, value, CHANNELS, strides=[2, 2], sizes=sizes), x)
    expected = np.zeros((2, CHANNELS, *sizes), np.float32)
    expected[:, :, ::2, ::2] = x
    np.testing.assert_array_equal(made, expected)


def test_enlarge_repeats_pixels() -> None:
    x = image((2, CHANNELS, 2, 3))
    made = run(lambda op, value: enlarge(op, value, CHANNELS, factors=[3, 2], sizes=[2, 3], times=0.5), x)
    np.testing.assert_array_equal(made, x.repeat(3, axis=2).repeat(2, axis=3) / 2)


def test_constant_image_is_the_same_in_every_channel() -> None:
    x, pixels = image((2, CHANNELS, 4, 5)), image((1, 1, 4, 5), seed=1)
    made = run(lambda op, value: constant_image(op, pixels, CHANNELS, like=value), x)
    np.testing.assert_array_equal(made, np.broadcast_to(pixels, x.shape))


def test_step_is_one_above_zero_down_to_the_least_normal_number() -> None:
    tiny = np.finfo(np.float32).tiny
    x = np.asarray([0, tiny, 1, np.finfo(np.float32).max, np.inf], np.float32).reshape(1, 1, 1, 5)
    assert run(step, x).ravel().tolist() == [0, 1, 1, 1, 1]
    assert run(lambda op, v: step(op, v, at_zero=True), x).ravel().tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("device", "dtype", "shape", "expected"),
    [
        ("cpu", ir.DataType.FLOAT, ["N", 8, "H", "W"], True),
        ("cuda", ir.DataType.FLOAT, ["N", 8, "H", "W"], False),
        ("cpu", ir.DataType.DOUBLE, ["N", 8, "H", "W"], False),
        ("cpu", ir.DataType.FLOAT, ["N", "C", 4, 4], False),
        ("cpu", ir.DataType.FLOAT, ["N", 8, 4], False),
    ],
)
def test_blocked_images_are_of_known_channels(
    device: str, dtype: ir.DataType, shape: list[int | str], expected: bool
) -> None:
    value = ir.Value(name="x", type=ir.TensorType(dtype), shape=ir.Shape(shape))
    model = ir.Model(ir.Graph([value], [], nodes=[], opset_imports={"": 18}), ir_version=10)
    assert blocked(Operators(model, prefix="t", device=device), value) is expected


def test_feature_maps_are_made_by_layers() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N,2,4,4] x, float[N,2,H,4] open) => '
        "(float[N,2,4,4] y, float[N,2,H,4] z, float[N,2,4,4] e) { y = Relu(x) z = Relu(open) e = Exp(x) }"
    )
    op = Operators(model, prefix="t")
    x, opened = model.graph.inputs
    y, z, e = model.graph.outputs
    assert [feature_map(op, value) for value in (y, x, e, z, opened)] == [True, False, False, False, False]


def test_with_channels_is_a_shape_of_no_graph() -> None:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", 8, 4, "W"]))
    some = with_channels(value, 3)
    assert some.shape == ["N", 3, 4, "W"]
    assert some.dtype == value.dtype
    assert channels_of(some) == 3
