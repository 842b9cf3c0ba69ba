"""Maps from gradients alone: exact on linear classifiers, and ranked against what was measured."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

import specprobe
from specprobe.analysis.heatmap import FourierHeatmap, fourier_heatmap
from specprobe.analysis.heatmap_first_order import rank_correlation, rank_correlation_interval
from specprobe.arrays import like, namespace, to_host
from specprobe.errors import DataError, InputMismatch, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.randomness import generator
from specprobe.results import document, dump_json, from_document, pack, unpack
from specprobe.spectral.basis import basis_images
from specprobe.spectral.grid import radius, real_frequencies
from specprobe.spectral.masks import apply_masks

ROOT = Path(__file__).resolve().parents[2]


class Linear:
    """Logits 0 and w · (x - 1/2), so that a step along a basis image does what its derivative says."""

    classes = 2

    def __init__(self, shape: tuple[int, int, int], *, seed: int = 0) -> None:
        self.shape = shape
        self.weight = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        answer = xp.sum((images - 0.5) * like(self.weight, images), axis=(1, 2, 3))
        return xp.stack([xp.zeros_like(answer), answer], axis=1)

    def gradient(self, images: Any, labels: Any, /, *, loss: str = "", targets: Any = None) -> Any:
        assert loss == "margin"
        assert targets is None
        xp = namespace(images)
        sign = 1 - 2 * xp.astype(labels, images.dtype)
        answer = xp.sum((images - 0.5) * like(self.weight, images), axis=(1, 2, 3))
        return answer * sign, sign[:, None, None, None] * like(self.weight, images)[None, ...]

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        raise NotImplementedError


def a_case(shape: tuple[int, int, int], count: int = 40) -> tuple[Linear, Any, Any]:
    rng = np.random.default_rng(1)
    images = rng.uniform(0.3, 0.7, size=(count, *shape)).astype(np.float32)
    classifier = Linear(shape)
    labels = classifier.logits(images).argmax(axis=1)
    labels[:3] = 1 - labels[:3]
    return classifier, images, labels


def a_map(shape: tuple[int, int, int] = (3, 6, 6), **changes: Any) -> FourierHeatmap:
    return fourier_heatmap(
        *a_case(shape), **{"first_order": True, "clip": False, "sample": 10_000, **changes}
    )


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 6)])
@pytest.mark.parametrize("phase", ["0", "45", "random", "worst-of-two"])
def test_rms_and_flips_are_those_of_the_basis_images(shape: tuple[int, int, int], phase: Any) -> None:
    classifier, images, labels = a_case(shape)
    result = a_map(shape, l2_norm_per_channel=0.3, phase=phase)
    size = shape[1:]
    grid = real_frequencies(size)
    margin = (1 - 2 * labels) * (0 - classifier.logits(images)[:, 1]).astype(np.float64)
    power, flips = np.zeros(len(grid)), np.zeros(len(grid), int)
    for i, m in enumerate(margin):
        signs = 1 - 2 * generator(0, "heatmap/sign", i).integers(0, 2, shape[0])
        turns: dict[str, Any] = {
            "0": [0.0],
            "45": [45.0],
            "random": [generator(0, "heatmap/phase", i).uniform(0, 360, len(grid))],
            "worst-of-two": [0.0, -90.0],
        }
        along = []
        for degrees in turns[phase]:
            basis = basis_images(grid, shape=size, like=np.zeros(1), phase_degrees=degrees)
            along.append(np.einsum("chw,khw->ck", classifier.weight, basis))
        power += np.max([(part**2).sum(axis=0) for part in along], axis=0) / len(margin)
        flips += m < 0.3 * np.max([abs(signs @ part) for part in along], axis=0)
    assert result.derivative_rms is not None
    assert result.flip_probability is not None
    assert np.allclose(result.derivative_rms, result.of_cells(np.sqrt(power)), rtol=1e-5)
    assert np.allclose(result.flip_probability, result.of_cells(flips / len(margin)), atol=1e-12)


def test_flips_of_a_linear_classifier_are_what_either_sign_brings_about() -> None:
    classifier, images, labels = a_case((1, 6, 6))
    made = [
        fourier_heatmap(
            classifier, images, labels, clip=False, l2_norm_per_channel=0.5, first_order=True, seed=s
        )
        for s in range(2)
    ]
    for result in made:
        assert result.flips is not None
        assert (result.flips >= result.errors).all()
    assert made[0].flips is not None
    assert made[1].flips is not None
    assert np.array_equal(made[0].flips, made[1].flips)  # one channel: a sign changes nothing
    assert (made[0].flips > 3).any()


def test_one_gradient_an_image_and_a_sample_of_frequencies() -> None:
    shape = (3, 16, 16)
    result = a_map(shape, sample=20)
    assert result.frequencies_evaluated == 20
    assert (result.model_evaluations, result.gradient_evaluations) == (40 * 21, 40)
    assert result.derivative_rms is not None
    assert result.flip_probability is not None
    assert np.isfinite(result.derivative_rms).all()
    assert np.isfinite(result.flip_probability).all()
    assert 30 <= np.isfinite(result.error_rate).sum() <= 40
    assert np.array_equal(result.evaluated, a_map(shape, sample=20).evaluated)
    assert not np.array_equal(result.evaluated, a_map(shape, sample=20, seed=1).evaluated)
    whole = fourier_heatmap(*a_case(shape), clip=False)
    known = np.isfinite(result.error_rate)
    assert np.array_equal(result.error_rate[known], whole.error_rate[known])
    assert a_map(shape, sample=5, frequencies=5).frequencies_evaluated == 5


def test_frequencies_that_have_no_gradient_have_no_derivative() -> None:
    shape = (3, 12, 12)
    classifier, images, labels = a_case(shape)
    kept = (radius((12, 12)) < 4).astype(np.float64)
    classifier.weight = next(apply_masks(classifier.weight, [kept]))
    result = fourier_heatmap(classifier, images, labels, first_order=True, clip=False)
    assert result.derivative_rms is not None
    assert result.flip_probability is not None
    outside = radius((12, 12)) >= 4
    assert result.derivative_rms[outside].max() < 1e-5 * result.derivative_rms[~outside].max()
    assert np.allclose(result.flip_probability[outside], result.clean_error_rate, atol=1e-12)


def test_array_libraries_agree(placed: Callable[[Any], Any]) -> None:
    classifier, images, labels = a_case((3, 6, 7))
    for phase in ("0", "random"):
        wanted = fourier_heatmap(classifier, images, labels, first_order=True, phase=phase)
        found = fourier_heatmap(classifier, placed(images), placed(labels), first_order=True, phase=phase)
        assert np.array_equal(found.flips, wanted.flips)  # type: ignore[arg-type]
        assert np.allclose(found.mean_derivative_power, wanted.mean_derivative_power, rtol=1e-5)  # type: ignore[arg-type]


def test_the_planted_band_has_the_largest_derivatives() -> None:
    folder = ROOT / "models" / "bands"
    with np.load(folder / "mid.npz") as file:
        source = ArraySource(file["images"], file["labels"])
    result = fourier_heatmap(
        specprobe.load(folder / "mid.onnx"), source, limit=32, l2_norm_per_channel=1, first_order=True
    )
    rho = radius((32, 32))
    inside = (rho >= 7) & (rho < 9)
    assert result.derivative_rms is not None
    assert result.flip_probability is not None
    assert result.derivative_rms[inside].mean() > 3 * result.derivative_rms[~inside].mean()
    assert result.flip_probability[inside].mean() > 2 * result.flip_probability[~inside].mean()


# Rank correlation


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30).filter(
        lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
    )
)
def test_rank_correlation_is_spearman_s(pairs: list[tuple[int, int]]) -> None:
    left, right = np.array(pairs).T
    assert math.isclose(rank_correlation(left, right), spearmanr(left, right).statistic, abs_tol=1e-12)


def test_rank_correlation_of_nothing_is_none() -> None:
    assert math.isnan(rank_correlation(np.array([1, 2]), np.array([1, 2])))
    assert math.isnan(rank_correlation(np.array([1, 2, 3]), np.array([1, 1, 1])))
    assert np.isnan(rank_correlation_interval(math.nan, 10)).all()
    assert np.isnan(rank_correlation_interval(0.5, 3)).all()
    assert rank_correlation_interval(1.0, 10) == (1.0, 1.0)
    with pytest.raises(ValueError, match="confidence is 1; accepted are numbers between 0 and 1"):
        rank_correlation_interval(0.5, 10, confidence=1)


def test_rank_correlation_interval_covers() -> None:
    """Of normal pairs with correlation 0.6, whose rank correlation is 6 / π · asin(0.3)."""
    rng = np.random.default_rng(0)
    truth, inside = 6 / np.pi * np.arcsin(0.3), 0
    for _ in range(400):
        x, noise = rng.normal(size=(2, 60))
        low, high = rank_correlation_interval(rank_correlation(x, 0.6 * x + 0.8 * noise), 60)
        inside += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.98


# Results, and what is refused


def test_results_merge_and_come_back_from_files() -> None:
    result = a_map(sample=15)
    content = json.loads(dump_json(document(result)))
    assert from_document(content).to_dict() == result.to_dict() == content["result"]
    assert unpack(*pack(result)) == result
    assert np.shape(content["result"]["derivative_rms_interval"]) == (6, 6, 2)
    assert np.shape(content["result"]["flip_probability_interval"]) == (6, 6, 2)
    low, high = content["result"]["rank_correlation_interval"]
    assert low <= content["result"]["rank_correlation"] <= high
    assert {"derivative_rms", "flip_probability"} <= result.arrays().keys()
    plain = replace(result, flips=None, mean_derivative_power=None, derivative_power_std=None)
    assert plain.rank_correlation is None
    assert plain.rank_correlation_interval is None
    with pytest.raises(InputMismatch, match="different frequencies or orders"):
        result.merge(plain)


def test_shares_that_are_none_are_refused() -> None:
    content = document(a_map())
    content["result"]["flip_probability"][0][0] = None
    with pytest.raises(DataError, match="a share of images is null"):
        from_document(content)


def test_correlations_that_do_not_exist_are_told() -> None:
    result = a_map(sample=2)
    assert "no-rank-correlation" in [finding.code for finding in result.findings]
    content = result.to_dict()
    assert content["rank_correlation"] is content["rank_correlation_interval"] is None


def test_classifiers_without_gradient_are_refused() -> None:
    class Opaque:
        classes = 2

        def logits(self, images: Any, /) -> Any:
            raise AssertionError

    with pytest.raises(TypeError, match="Opaque has no gradient, which first_order needs"):
        fourier_heatmap(Opaque(), np.zeros((1, 1, 4, 4)), [0], first_order=True)


def test_gradients_that_are_none_name_the_image() -> None:
    class Breaks(Linear):
        def gradient(self, images: Any, labels: Any, /, *, loss: str = "", targets: Any = None) -> Any:
            losses, gradients = super().gradient(images, labels, loss=loss, targets=targets)
            return losses, np.where(to_host(images)[:, :1, :1, :1] == 1, np.nan, gradients)

    images = np.full((20, 1, 6, 6), 0.5, np.float32)
    images[17, 0, 0, 0] = 1
    with pytest.raises(InvalidNumbers, match="gradient of the margin of image 17 is NaN or infinite"):
        fourier_heatmap(Breaks((1, 6, 6)), images, [0] * 20, first_order=True)
