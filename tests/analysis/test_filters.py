import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import array_api_strict
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specprobe.analysis.filter_metrics import (
    centre_dominated,
    centre_energy,
    expected_random_entropy,
    orthogonality,
    sparse_mask,
    sparsity,
    variance_entropy,
)
from specprobe.analysis.filters import FilterStatistics, LayerFilters, filter_statistics
from specprobe.errors import DataError, InputMismatch
from specprobe.protocols import Convolution

Weight: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

METRICS = (
    "sparsity",
    "variance_entropy",
    "variance_entropy_raw",
    "variance_entropy_raw_nonsparse",
    "variance_entropy_ratio",
    "orthogonality",
    "centre_energy",
    "centre_dominated",
)

weights = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 5), st.integers(1, 4), st.sampled_from([1, 3, 5]), st.sampled_from([1, 3])),
    elements=st.floats(-8, 8, width=32, allow_subnormal=False),
)
matrices = hnp.arrays(
    np.float64, st.tuples(st.integers(2, 12), st.integers(2, 10)), elements=st.floats(-1, 1, width=16)
)


def random_weight(*shape: int, seed: int = 0) -> Weight:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def convolution(weight: Any, **fields: Any) -> Convolution:
    return Convolution(**{"name": "conv", "operator": "Conv", "weight": weight, **fields})


def layer(weight: Any, **fields: Any) -> LayerFilters:
    (only,) = filter_statistics([convolution(weight, **fields)]).layers
    return only


def metrics(layer: LayerFilters) -> dict[str, float | None]:
    return {name: getattr(layer, name) for name in METRICS}


def entropy_by_svd(filters: Weight) -> float:
    values = np.linalg.svd(filters - filters.mean(axis=0), compute_uv=False) ** 2
    share = values[values > 0] / values.sum()
    return float(-(share * np.log10(share)).sum())


def read_only(array: Weight) -> Weight:
    array = array.copy()
    array.flags.writeable = False
    return array


def published_threshold(filters: int) -> float:
    """Entropy from which torchconvquality calls 3x3 filters random, fitted to uniform filters."""
    return 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(filters) - 2.30436435))) - 0.31050834


@pytest.fixture(params=["numpy", "numpy read-only", "array_api_strict"])
def place(request: pytest.FixtureRequest) -> Callable[[Weight], Any]:
    places: dict[str, Callable[[Weight], Any]] = {
        "numpy": np.asarray,
        "numpy read-only": read_only,
        "array_api_strict": array_api_strict.asarray,
    }
    return places[request.param]


# Known answers


def test_filter_statistics_of_zeros_is_all_sparse() -> None:
    zeros = layer(np.zeros((4, 3, 3, 3), dtype=np.float32))
    assert zeros.sparsity == 1
    assert zeros.nonsparse_filters == 0
    assert zeros.variance_entropy_raw == 0
    assert zeros.undefined["variance_entropy"] == "0 of 12 filters remain, and entropy takes at least 2"
    assert zeros.undefined["centre_energy"] == "all weights are zero"


@pytest.mark.parametrize("value", [1.0, 0.1, -1e-3, 3e37])
def test_filter_statistics_of_equal_weights_is_fully_redundant(value: float) -> None:
    equal = layer(np.full((4, 3, 3, 3), value, dtype=np.float32))
    assert equal.sparsity == 0
    assert equal.orthogonality == pytest.approx(0, abs=1e-6)
    assert equal.variance_entropy == equal.variance_entropy_raw == equal.variance_entropy_ratio == 0
    assert equal.centre_energy == pytest.approx(1 / 9)
    assert equal.centre_dominated == 0


def test_filter_statistics_of_random_filters_is_at_the_randomness_threshold() -> None:
    weight = np.random.default_rng(1).uniform(-1, 1, (128, 128, 3, 3)).astype(np.float32)
    random = layer(weight)
    assert random.variance_entropy_raw is not None
    assert random.variance_entropy_raw / published_threshold(128 * 128) > 1
    assert random.variance_entropy_ratio == pytest.approx(1, abs=1e-4)
    assert random.orthogonality == pytest.approx(1 - math.sqrt(2 / (math.pi * 9 * 128)), abs=1e-3)


@pytest.mark.parametrize("kernel", [(5,), (3, 3), (1, 7), (3, 3, 3)])
@pytest.mark.parametrize(("filters", "draws"), [(24, 160), (700, 8)])
def test_variance_entropy_ratio_of_random_filters_is_one_for_any_kernel(
    kernel: tuple[int, ...], filters: int, draws: int
) -> None:
    ratios = [
        layer(random_weight(filters // 2, 2, *kernel, seed=seed)).variance_entropy_ratio
        for seed in range(draws)
    ]
    assert np.mean(np.asarray(ratios, dtype=np.float64)) == pytest.approx(1, abs=0.01)


def test_filters_with_centre_taps_only_have_all_energy_there() -> None:
    weight = np.zeros((8, 3, 5, 5), dtype=np.float32)
    weight[:, :, 2, 2] = random_weight(8, 3)
    centred = layer(weight)
    assert (centred.centre_energy, centred.centre_dominated) == (1, 1)
    assert layer(np.roll(weight, 1, axis=-1)).centre_energy == 0


def test_centre_dominated_counts_output_channels_over_nine_tenths() -> None:
    weight = np.zeros((4, 2, 3))
    weight[0, 0] = [0, 3.01, 1]
    weight[1, 0] = [0, 2.99, 1]
    weight[2, :, 1] = [5, 2]
    assert centre_dominated(weight) == 0.5


def test_orthogonality_of_orthogonal_rows_is_one() -> None:
    rows, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((18, 18)))
    assert orthogonality(rows[:6].reshape(6, 2, 3, 3)) == pytest.approx(1, abs=1e-14)
    assert orthogonality(rows[:6].reshape(6, 2, 3, 3).astype(np.float32)) == pytest.approx(1, abs=1e-6)


def test_orthogonality_charges_a_channel_of_zeros_one() -> None:
    weight = np.eye(4).reshape(4, 4, 1)
    weight[3] = 0
    assert orthogonality(weight) == pytest.approx(1 - 1 / (4 * 3), abs=1e-15)
    assert orthogonality(np.zeros((3, 2, 1))) == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, math.pi / 2])
def test_orthogonality_of_two_channels_is_one_minus_their_cosine(angle: float) -> None:
    weight = np.array([[[3.0], [0.0]], [[math.cos(angle)], [math.sin(angle)]]])
    assert orthogonality(weight) == pytest.approx(1 - math.cos(angle), abs=1e-15)


def test_orthogonality_of_more_channels_than_are_compared_at_once() -> None:
    # 3000 channels are compared in three parts, the last one shorter.
    weight = np.repeat(np.eye(3), 1000, axis=0).reshape(3000, 3, 1)
    assert orthogonality(weight) == pytest.approx(1 - 3 * 1000 * 999 / (3000 * 2999), abs=1e-12)


def test_sparse_mask_includes_one_percent_of_the_largest_weight() -> None:
    filters = np.array([[-2.0, 0.0], [0.0, 0.02], [0.0201, 0.0], [0.0, 0.0]])
    assert sparse_mask(filters).tolist() == [False, True, False, True]
    assert sparsity(filters) == 0.5


def test_variance_entropies_differ_by_scaling_and_by_sparse_filters() -> None:
    rng = np.random.default_rng(3)
    filters = rng.standard_normal((50, 9)) * rng.uniform(1, 10, (50, 1))
    filters[:5, 0] = filters[:5, 0] * 1e-4
    filters[:5, 1:] = 0
    scaled = filters / np.abs(filters).max(axis=1, keepdims=True)
    varied = layer(filters.reshape(10, 5, 3, 3))
    assert varied.nonsparse_filters == 45
    assert varied.variance_entropy == pytest.approx(entropy_by_svd(scaled[5:]), abs=1e-12)
    assert varied.variance_entropy_raw == pytest.approx(entropy_by_svd(filters), abs=1e-12)
    assert varied.variance_entropy_raw_nonsparse == pytest.approx(entropy_by_svd(filters[5:]), abs=1e-12)


# Precision


@pytest.mark.parametrize("shape", [(4096, 9), (200, 49), (20, 49), (3, 9), (2, 9)])
@pytest.mark.parametrize("decades", [0, 4, 9])
def test_variance_entropy_agrees_with_singular_values(shape: tuple[int, int], decades: int) -> None:
    spread = 10.0 ** -np.linspace(0, decades, shape[1])
    filters = np.random.default_rng(4).standard_normal(shape) * spread + 0.3
    assert variance_entropy(filters) == pytest.approx(entropy_by_svd(filters), abs=1e-12)


def test_variance_entropy_ignores_rounding_of_the_weights() -> None:
    direction = random_weight(9).reshape(1, 9)
    parallel = np.abs(random_weight(64, 1)) * direction
    assert variance_entropy(parallel, scaled=True) == 0
    assert variance_entropy(parallel) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_filter_statistics_hardly_depends_on_the_precision_of_the_weights(dtype: type) -> None:
    exact = layer(random_weight(16, 12, 3, 3).astype(np.float64))
    for name, value in metrics(layer(random_weight(16, 12, 3, 3).astype(dtype))).items():
        tolerance = 1e-3 if dtype is np.float16 else 1e-6
        assert value == pytest.approx(getattr(exact, name), abs=tolerance), name


@pytest.mark.parametrize("factor", [1e-300, 1e-170, 1e170, 1e300])
def test_filter_statistics_of_extreme_float64_weights_stays_in_range(factor: float) -> None:
    weight = random_weight(6, 4, 3, 3).astype(np.float64)
    for name, value in metrics(layer(weight * factor)).items():
        assert value == pytest.approx(getattr(layer(weight), name), abs=1e-12), name


def test_filter_statistics_agrees_across_array_libraries(place: Callable[[Weight], Any]) -> None:
    weight = random_weight(8, 6, 3, 3)
    weight[0] *= 1e-4
    for groups in (1, 2, 8):
        expected, actual = layer(weight, groups=groups), layer(place(weight), groups=groups)
        assert actual.undefined == expected.undefined
        assert metrics(actual) == pytest.approx(metrics(expected), abs=1e-12)


# Invariances


@given(weights, st.randoms(use_true_random=False))
def test_filter_statistics_ignores_the_order_of_output_channels(weight: Weight, random: Any) -> None:
    order = list(range(weight.shape[0]))
    random.shuffle(order)
    assert metrics(layer(weight[order])) == pytest.approx(metrics(layer(weight)), abs=1e-6)


@given(weights, st.sampled_from([2.0**-20, -1.0, -0.5, 2.0**20]))
def test_filter_statistics_ignores_one_factor_of_all_weights(weight: Weight, factor: float) -> None:
    assert metrics(layer(weight * np.float32(factor))) == pytest.approx(metrics(layer(weight)), abs=1e-12)


@given(matrices, st.data())
def test_scaled_variance_entropy_ignores_a_positive_factor_of_each_filter(
    filters: Weight, data: st.DataObject
) -> None:
    exponents = data.draw(hnp.arrays(np.int64, (filters.shape[0], 1), elements=st.integers(-20, 20)))
    assert variance_entropy(filters * 2.0**exponents, scaled=True) == variance_entropy(filters, scaled=True)


def test_variance_entropy_depends_on_the_sign_of_single_filters() -> None:
    # Equal filters vary nowhere; with half of them negated they vary along one line; centring sees the sign.
    filters = random_weight(1, 9) + np.zeros((40, 1), dtype=np.float32)
    varied = filters + 0.1 * random_weight(40, 9, seed=5)
    negated = varied * np.where(np.arange(40) % 2, 1, -1)[:, None].astype(np.float32)
    assert variance_entropy(negated, scaled=True) < variance_entropy(varied, scaled=True) - 0.3


@given(matrices, st.integers(0, 99))
def test_variance_entropy_ignores_rotation_and_shift_of_the_taps(filters: Weight, seed: int) -> None:
    # Variances near rounding decide between zero and a number, so they are left out.
    assume(float(np.var(filters, axis=0).sum()) > 1e-6)
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((filters.shape[1],) * 2))
    moved = filters @ rotation + rng.standard_normal(filters.shape[1])
    assert variance_entropy(moved) == pytest.approx(variance_entropy(filters), abs=1e-8)


@given(matrices)
def test_variance_entropy_ignores_repetition_of_all_filters(filters: Weight) -> None:
    repeated = np.concatenate([filters, filters])
    assert variance_entropy(repeated) == pytest.approx(variance_entropy(filters), abs=1e-10)


@given(weights, st.data())
def test_orthogonality_is_the_same_with_batch_normalization_folded(
    weight: Weight, data: st.DataObject
) -> None:
    gain = st.floats(0.125, 8, width=32) | st.floats(-8, -0.125, width=32)
    gains = data.draw(hnp.arrays(np.float32, (weight.shape[0], 1, 1, 1), elements=gain))
    # Products below the normal numbers would lose digits.
    weight = np.where(np.abs(weight) < 1e-30, np.float32(0), weight)
    assert orthogonality(weight * gains) == pytest.approx(orthogonality(weight), abs=2e-6)


@given(weights, st.integers(2, 4), st.integers(0, 99))
def test_grouped_metrics_are_means_of_the_groups_alone(weight: Weight, groups: int, seed: int) -> None:
    parts = [weight, *(random_weight(*weight.shape, seed=seed + index) for index in range(1, groups))]
    joined = layer(np.concatenate(parts), groups=groups)
    apart = [layer(part) for part in parts]
    assert joined.in_channels == groups * apart[0].in_channels
    assert joined.orthogonality == pytest.approx(
        sum(part.orthogonality or 0.0 for part in apart) / groups, abs=1e-6
    )
    if joined.centre_dominated is not None:
        shares = [part.centre_dominated or 0.0 for part in apart]
        assert joined.centre_dominated == pytest.approx(sum(shares) / groups, abs=1e-12)


# Ranges


@given(weights, st.booleans())
def test_filter_statistics_stays_in_range(weight: Weight, depthwise: bool) -> None:
    result = layer(weight, groups=weight.shape[0] if depthwise else 1)
    taps = math.prod(result.kernel)
    for name, value in metrics(result).items():
        assert (value is None) == (name in result.undefined), name
        if value is not None:
            assert type(value) is float
            upper = {"variance_entropy_ratio": 10.0}.get(name, math.log10(taps) if "entropy" in name else 1.0)
            assert 0 <= value <= upper, name


@given(weights)
def test_sparsity_and_nonsparse_filters_account_for_all_filters(weight: Weight) -> None:
    result = layer(weight)
    assert result.sparsity is not None
    assert result.nonsparse_filters is not None
    assert result.sparsity * result.filters + result.nonsparse_filters == pytest.approx(result.filters)
    assert (result.nonsparse_filters == 0) == (not weight.any())


# Random filters


def simulated(filters: int, taps: int, *, draws: int, seed: int = 11) -> float:
    rng = np.random.default_rng(seed)
    samples = [rng.standard_normal((filters, taps)) for _ in range(draws)]
    return float(np.mean([variance_entropy(sample, scaled=True) for sample in samples]))


@pytest.mark.parametrize(
    ("filters", "taps", "draws"),
    [
        (3, 9, 4000),
        (9, 9, 2000),
        (64, 9, 400),
        (575, 9, 60),
        (577, 9, 60),
        (2500, 9, 20),
        (129, 2, 800),
        (7, 49, 400),
        (192, 49, 20),
        (4000, 49, 2),
        (200, 8_000, 1),
        (600, 560, 1),
        (9000, 300, 1),
    ],
)
def test_expected_random_entropy_agrees_with_an_independent_simulation(
    filters: int, taps: int, draws: int
) -> None:
    expected = simulated(filters, taps, draws=draws)
    tolerance = 5e-3 if filters < 10 else 1e-3
    assert expected_random_entropy(filters, taps) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("filters", "taps"), [(64 * 9, 9), (64 * 16, 16), (64 * 3, 3)])
def test_expected_random_entropy_is_continuous_where_the_expansion_begins(filters: int, taps: int) -> None:
    below, at, above = (expected_random_entropy(filters + step, taps) for step in (-1, 0, 1))
    assert at == pytest.approx(below, abs=1e-3)
    assert at == pytest.approx(above, abs=2e-5)


@pytest.mark.parametrize("taps", [2, 9, 49])
def test_expected_random_entropy_grows_to_the_largest_entropy(taps: int) -> None:
    values = [expected_random_entropy(2**power, taps) for power in range(1, 40, 2)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == pytest.approx(math.log10(taps), abs=1e-9)


def test_expected_random_entropy_of_many_filters_follows_the_moments() -> None:
    # First order in 1/n, for rows of independent signs, fourth moment m4 and mixed moment m22 at unit variance:
    # shortfall = (d − 1)((d − 1) m22 + m4) / (2 ln(10) n d).
    rows = np.random.default_rng(12).standard_normal((400_000, 9))
    rows /= np.abs(rows).max(axis=1, keepdims=True)
    square = np.mean(rows**2)
    fourth = np.mean(rows**4) / square**2
    mixed = (np.mean(np.sum(rows**2, axis=1) ** 2) / square**2 - 9 * fourth) / 72
    shortfall = 8 * (8 * mixed + fourth) / (2 * math.log(10) * 10_000 * 9)
    assert math.log10(9) - expected_random_entropy(10_000, 9) == pytest.approx(shortfall, rel=0.03)


@pytest.mark.parametrize("filters", [2**power for power in range(2, 19)])
def test_expected_random_entropy_lies_just_above_the_published_threshold(filters: int) -> None:
    # The threshold is a floor that random filters rarely fall below, so it is looser for few filters.
    ratio = published_threshold(filters) / expected_random_entropy(filters, 9)
    assert (0.99 if filters >= 128 else 0.5) < ratio < 1


@pytest.mark.parametrize(("filters", "taps"), [(1, 9), (0, 9), (9, 1)])
def test_expected_random_entropy_refuses_what_has_no_entropy(filters: int, taps: int) -> None:
    with pytest.raises(
        InputMismatch, match=rf"{filters} filters of {taps} taps.*at least 2 filters of 2 taps"
    ):
        expected_random_entropy(filters, taps)


# What cannot be measured

ENTROPIES = {name for name in METRICS if "entropy" in name}
CENTRE = {"centre_energy", "centre_dominated"}


@pytest.mark.parametrize(
    ("weight", "groups", "names", "reason"),
    [
        pytest.param(random_weight(4, 3, 1, 1), 1, ENTROPIES, "differ in nothing but scale", id="1x1"),
        pytest.param(random_weight(4, 3, 1, 1), 1, CENTRE, "all centre", id="1x1 centre"),
        pytest.param(random_weight(1, 1, 3, 3), 1, ENTROPIES, "1 of 1 filters remain", id="one filter"),
        pytest.param(
            random_weight(2, 1, 3, 3),
            1,
            {"variance_entropy_ratio"},
            "any 2 filters have entropy 0",
            id="two filters",
        ),
        pytest.param(random_weight(1, 3, 3, 3), 1, {"orthogonality"}, "one output channel", id="one channel"),
        pytest.param(random_weight(6, 1, 3, 3), 6, {"orthogonality"}, "one output channel", id="depthwise"),
        pytest.param(random_weight(4, 2, 3, 2), 1, CENTRE, "3x2 has no centre tap", id="even kernel"),
        pytest.param(
            np.ones((4097, 1, 4097), dtype=np.float16),
            1,
            ENTROPIES,
            "4097 filters of 4097 taps",
            id="large order",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            random_weight(2**15 + 1, 1, 1, 1),
            1,
            {"orthogonality"},
            "32769 output channels",
            id="many channels",
        ),
        pytest.param(
            np.zeros((0, 3, 3, 3)), 1, set(METRICS), r"\(0, 3, 3, 3\) hold no numbers", id="no filters"
        ),
        pytest.param(np.zeros((3, 3, 0)), 1, set(METRICS), "hold no numbers", id="no taps"),
    ],
)
def test_undefined_metrics_are_none_and_say_why(
    weight: Weight, groups: int, names: set[str], reason: str
) -> None:
    result = layer(weight, groups=groups)
    for name in names:
        assert getattr(result, name) is None
        assert re.search(reason, result.undefined[name])
    assert set(result.undefined) == {name for name, value in metrics(result).items() if value is None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_leave_every_metric_undefined(
    value: float, place: Callable[[Weight], Any]
) -> None:
    weight = random_weight(4, 2, 3, 3)
    weight[1, 1, 2, 0] = value
    result = layer(place(weight))
    assert set(metrics(result).values()) == {None}
    assert result.undefined == dict.fromkeys(METRICS, "1 of 72 weights are NaN or infinite")
    assert result.nonsparse_filters is None


def test_one_filter_that_is_not_sparse_leaves_only_the_raw_entropy() -> None:
    weight = np.full((3, 1, 3, 3), 1e-5)
    weight[0] = np.arange(9).reshape(3, 3)
    result = layer(weight)
    assert result.variance_entropy_raw == pytest.approx(0, abs=1e-9)
    assert result.undefined.keys() == ENTROPIES - {"variance_entropy_raw"}
    assert result.undefined["variance_entropy"] == "1 of 3 filters remain, and entropy takes at least 2"


@pytest.mark.parametrize(
    ("weight", "groups", "message"),
    [
        (np.ones((2, 2, 3, 3), dtype=np.int8), 1, r"Conv 'conv' have dtype int8.*Dequantise"),
        (np.ones((2, 2)), 1, r"Conv 'conv' have shape \(2, 2\).*\*kernel"),
        (np.ones((4, 2, 3)), 3, r"4 output channels of Conv 'conv' do not divide into 3 groups"),
        (np.ones((4, 2, 3)), 0, r"do not divide into 0 groups"),
    ],
)
def test_filter_statistics_refuses_weights_of_no_convolution(
    weight: Weight, groups: int, message: str
) -> None:
    with pytest.raises(InputMismatch, match=message):
        layer(weight, groups=groups)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_entropy(np.ones((1, 9))), "1 filters of 9 taps have no variance entropy"),
        (lambda: orthogonality(np.ones((4, 2, 3)), groups=4), "4 output channels in 4 groups"),
        (lambda: orthogonality(np.ones((4, 2, 3)), groups=3), "4 output channels in 3 groups"),
        (lambda: centre_energy(np.ones((4, 2, 3, 4))), "3x4 has no centre tap"),
        (lambda: centre_energy(np.zeros((4, 2, 3))), "all weights are zero"),
    ],
)
def test_metrics_refuse_what_they_are_undefined_for(call: Callable[[], float], message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        call()


# The result


def sample() -> FilterStatistics:
    dead = random_weight(4, 6, 3, 3, seed=3)
    dead[0] = 0
    return filter_statistics(
        [
            convolution(random_weight(6, 3, 5, 5), name="stem", batch_norm="folded"),
            convolution(random_weight(6, 1, 3, 3, seed=1), name="depthwise", groups=6, depth=1),
            convolution(random_weight(8, 6, 1, 1, seed=2), name="point", depth=2, shared_with=("twin",)),
            convolution(dead, name="dead", operator="ConvTranspose", depth=3),
            convolution(np.full((2, 1, 3, 3), np.nan), name="broken", depth=4),
        ]
    )


def test_filter_statistics_describes_each_layer() -> None:
    stem, depthwise, point, dead, broken = sample().layers
    assert (stem.kernel, stem.in_channels, stem.out_channels, stem.filters) == ((5, 5), 3, 6, 18)
    assert (depthwise.groups, depthwise.in_channels, depthwise.filters) == (6, 6, 6)
    assert (point.shared_with, point.depth, point.operator) == (("twin",), 2, "Conv")
    assert (dead.operator, dead.sparsity, dead.nonsparse_filters) == ("ConvTranspose", 0.25, 18)
    assert broken.filters == 2


def test_overall_counts_filters_and_leaves_entropies_of_unlike_kernels_apart() -> None:
    result = sample()
    stem, depthwise, point, dead, _ = result.layers
    overall = result.overall
    assert overall.kernels == ((1, 1), (3, 3), (5, 5))
    assert (overall.layers, overall.filters) == (5, 18 + 6 + 48 + 24 + 2)
    sparse = sum(one.filters - (one.nonsparse_filters or 0) for one in (stem, depthwise, point, dead))
    assert overall.sparsity == pytest.approx(sparse / (18 + 6 + 48 + 24))
    assert overall.variance_entropy is None
    assert overall.undefined["variance_entropy"] == "entropies of 9 and 25 taps have different ranges"
    ratio = np.average(
        np.asarray([one.variance_entropy_ratio for one in (stem, depthwise, dead)], dtype=np.float64),
        weights=[18, 6, 18],
    )
    assert overall.variance_entropy_ratio == pytest.approx(ratio)


def test_by_kernel_aggregates_each_kernel_size() -> None:
    result = sample()
    stem, depthwise, _, dead, _ = result.layers
    point_wise, three, five = result.by_kernel
    assert [aggregate.kernels for aggregate in result.by_kernel] == [((1, 1),), ((3, 3),), ((5, 5),)]
    assert point_wise.undefined["variance_entropy_ratio"] == "undefined in all 1 layers"
    assert five.variance_entropy == pytest.approx(stem.variance_entropy)
    assert five.orthogonality == pytest.approx(stem.orthogonality)
    assert three.layers == 3
    assert three.orthogonality == pytest.approx(dead.orthogonality)
    assert depthwise.variance_entropy is not None
    assert dead.variance_entropy is not None
    assert three.variance_entropy == pytest.approx(
        (6 * depthwise.variance_entropy + 18 * dead.variance_entropy) / 24
    )


def test_kernels_of_equally_many_taps_share_an_entropy() -> None:
    row, column = random_weight(9, 2, 1, 5), random_weight(9, 2, 5, 1)
    both = filter_statistics([convolution(row), convolution(column)])
    assert both.overall.variance_entropy == pytest.approx(both.layers[0].variance_entropy)


@pytest.mark.parametrize(
    ("known", "folded"),
    [
        (["folded", "folded"], True),
        (["folded", "separate", "unknown"], False),
        (["folded", "none"], None),
        (["folded", "unknown"], None),
        (["none"], None),
        ([], None),
    ],
)
def test_batch_norm_folded_says_only_what_is_known(known: list[str], folded: bool | None) -> None:
    weight = random_weight(2, 2, 3)
    result = filter_statistics([convolution(weight, batch_norm=one) for one in known])
    assert result.batch_norm_folded is folded


def test_filter_statistics_of_no_convolutions_is_empty() -> None:
    empty = filter_statistics([])
    assert not empty.layers
    assert not empty.by_kernel
    assert empty.overall.sparsity is None
    assert empty.overall.undefined == dict.fromkeys(METRICS, "there are no convolutions")
    assert FilterStatistics.from_dict(empty.to_dict()) == empty


def test_merge_is_the_statistics_of_all_layers() -> None:
    first, second = convolution(random_weight(6, 3, 3, 3)), convolution(random_weight(4, 6, 3, 3), depth=1)
    merged = filter_statistics([first]).merge(filter_statistics([second]))
    assert merged == filter_statistics([first, second])
    assert merged.overall == filter_statistics([first, second]).overall


def test_to_dict_survives_json() -> None:
    result = sample()
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert FilterStatistics.from_dict(json.loads(text)) == result
    assert FilterStatistics.from_dict(result.to_dict()).to_dict() == result.to_dict()
    assert set(result.to_dict()) == {"layers", "batch_norm_folded", "overall", "by_kernel"}
    assert result.kind == "filter_statistics"


@settings(max_examples=25)
@given(st.lists(weights, max_size=3))
def test_from_dict_reverses_to_dict(layers: list[Weight]) -> None:
    result = filter_statistics([convolution(weight) for weight in layers])
    assert FilterStatistics.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result


def test_to_dict_shares_nothing_with_the_result() -> None:
    result = layer(random_weight(2, 2, 1, 1))
    result.to_dict()["undefined"].clear()
    assert result.undefined
    assert replace(result, name="other") != result


def test_from_dict_names_what_is_missing() -> None:
    document = sample().to_dict()
    del document["layers"][1]["kernel"], document["layers"][1]["depth"]
    with pytest.raises(DataError, match="layer 'depthwise' have no kernel, depth;"):
        FilterStatistics.from_dict(document)
    with pytest.raises(DataError, match="no 'layers', but 'kind'"):
        FilterStatistics.from_dict({"kind": "sensitivity"})
