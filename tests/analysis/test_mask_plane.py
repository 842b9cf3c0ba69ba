"""Masks as parameters: symmetry, and gradients beside central differences."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.analysis.heatmap_additions import cross_entropy
from specprobe.analysis.mask_objective import invariance, measure
from specprobe.analysis.mask_plane import (
    apply_to_spectra,
    centred,
    densities,
    frequency_counts,
    mask_gradients,
    spectra,
)
from specprobe.analysis.mask_presets import PRESETS, Preset, preset_of
from specprobe.arrays import namespace, to_host
from specprobe.errors import InvalidNumbers
from specprobe.spectral.grid import mirror_index, real_frequencies
from specprobe.spectral.masks import apply_mask

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [(8, 8), (7, 9), (6, 5), (1, 4), (5, 1)]
CLASSES = 4


class Smooth:
    """Logits behind one hidden layer of tanh, in float64, differentiated by hand."""

    classes = CLASSES

    def __init__(self, image_shape: tuple[int, int, int], *, seed: int = 3) -> None:
        draw = np.random.default_rng(seed)
        size = int(np.prod(image_shape))
        self.inner = draw.normal(size=(size, 6)) / np.sqrt(size) * 2
        self.outer = draw.normal(size=(6, CLASSES))

    def logits(self, images: Any, /) -> Any:
        return self._run(images)[1]

    def _run(self, images: Any) -> tuple[Any, Any]:
        xp = namespace(images)
        flat = xp.reshape(images, (images.shape[0], -1))
        hidden = xp.tanh(xp.matmul(flat, xp.asarray(self.inner.copy())))
        return hidden, xp.matmul(hidden, xp.asarray(self.outer.copy()))

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        xp = namespace(images)
        hidden, _ = self._run(images)
        back = xp.matmul(cotangent, xp.asarray(self.outer.T.copy())) * (1 - hidden**2)
        return xp.reshape(xp.matmul(back, xp.asarray(self.inner.T.copy())), images.shape)

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        assert (loss, targets) == ("cross-entropy", None)
        xp = namespace(images)
        logits = self.logits(images)
        wanted = to_host(labels)
        odds = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
        one_hot = xp.asarray(np.eye(CLASSES)[wanted])
        cotangent = odds / xp.sum(odds, axis=1, keepdims=True) - one_hot
        return xp.asarray(cross_entropy(logits, wanted)), self.vjp(images, cotangent)


def drawn(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0, 1, shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_a_symmetric_map(shape: tuple[int, int]) -> None:
    frequencies = len(real_frequencies(shape))
    counts = frequency_counts(shape)
    assert counts.shape == (frequencies,)
    assert counts.sum() == shape[0] * shape[1]
    values = drawn((3, frequencies))
    maps = centred(values, shape=shape)
    assert np.array_equal(maps, maps.reshape(3, -1)[:, mirror_index(shape)])
    assert np.allclose(densities(values, shape=shape), maps.mean(axis=(1, 2)))


@pytest.mark.parametrize("shape", SHAPES)
def test_masked_images_are_those_of_the_map(shape: tuple[int, int], placed: "Callable[[Any], Any]") -> None:
    images = drawn((4, 3, *shape))
    for leading in ((1, 1), (1, 3), (4, 1), (4, 3)):
        values = drawn((*leading, len(real_frequencies(shape))), seed=1)
        found = apply_to_spectra(spectra(placed(images)), placed(values), shape=shape)
        assert namespace(found) is namespace(placed(images))
        expected = apply_mask(images, centred(values, shape=shape))
        assert np.allclose(to_host(found), expected, atol=1e-14)


@pytest.mark.parametrize(
    "preset", [preset_of("default", per_image=False), preset_of("karantzas", per_image=False)]
)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [(6, 6), (5, 7)])
def test_the_gradient_is_that_of_central_differences(
    shape: tuple[int, int], per_channel: bool, preset: Preset
) -> None:
    images, classes = drawn((5, 2, *shape)), np.array([0, 1, 2, 3, 1])
    classifier = Smooth((2, *shape))
    clean = cross_entropy(classifier.logits(images), classes) - np.array([0, 0.1, 0.2, -0.9, 0.05])
    values = drawn((1, 2 if per_channel else 1, len(real_frequencies(shape))), seed=2)

    def total(values: Any) -> Any:
        masked = apply_mask(images, centred(values, shape=shape))
        return invariance(cross_entropy(classifier.logits(masked), classes) - clean, preset)[0]

    found = measure(
        classifier,
        images,
        classes,
        clean,
        values,
        index=np.arange(5),
        per_channel=per_channel,
        batch_size=2,
    )
    counts, step = frequency_counts(shape), 1e-5
    gradient = found.gradient_of_invariance(preset)
    assert gradient.shape == found.gradient.shape == (5, *values.shape[1:])
    for channel, k in np.ndindex(*values.shape[1:]):
        there = np.zeros_like(values)
        there[0, channel, k] = step
        difference = (total(values + there) - total(values - there)) / (2 * step)
        # The parameter moves all cells that it stands for; the gradient is by cell.
        assert np.abs(gradient[:, channel, k] * counts[k] - difference).max() < 1e-6
    predicted = np.argmax(classifier.logits(apply_mask(images, centred(values, shape=shape))), axis=1)
    assert found.predicted.tolist() == predicted.tolist()
    masked = classifier.logits(apply_mask(images, centred(values, shape=shape)))
    first, second = np.sort(masked, axis=1)[:, ::-1][:, :2].T
    assert np.allclose(found.lead, (first - second) / np.abs(masked).max(axis=1))


def test_the_gradient_on_the_full_plane_is_symmetric_and_the_same() -> None:
    shape = (6, 8)
    images, d_images = drawn((3, 2, *shape)), drawn((3, 2, *shape), seed=1) - 0.5
    whole = np.real(np.fft.fft2(images) * np.conj(np.fft.fft2(d_images))) / images[0, 0].size
    shifted = np.fft.fftshift(whole, axes=(-2, -1))
    assert np.allclose(shifted, shifted.reshape(3, 2, -1)[..., mirror_index(shape)])
    found = mask_gradients(spectra(images), d_images, shape=shape, per_channel=True)
    assert np.allclose(centred(found, shape=shape), shifted)
    summed = mask_gradients(spectra(images), d_images, shape=shape, per_channel=False)
    assert np.allclose(summed, found.sum(axis=1, keepdims=True))


def test_at_a_mask_of_ones_the_gradients_sum_to_the_product_with_the_image(
    placed: "Callable[[Any], Any]",
) -> None:
    shape = (6, 5)
    images, d_images = drawn((3, 2, *shape)), drawn((3, 2, *shape), seed=1) - 0.5
    found = mask_gradients(spectra(placed(images)), placed(d_images), shape=shape, per_channel=False)
    total = (to_host(found)[:, 0] * frequency_counts(shape)).sum(axis=1)
    assert np.allclose(total, (images * d_images).sum(axis=(1, 2, 3)))


@given(st.lists(st.floats(-40, 40), min_size=1, max_size=8))
@settings(deadline=None)
def test_the_invariance_is_bounded_and_least_where_nothing_changes(changes: list[float]) -> None:
    change = np.array(changes)
    for preset in PRESETS.values():
        value, slope = invariance(change, preset)
        assert np.isfinite(value).all()
        assert np.isfinite(slope).all()
        assert (value >= 1).all()
        assert (slope * change >= 0).all()
    within = np.abs(change) <= 0.1**0.5
    value, slope = invariance(change, preset_of("default", per_image=False))
    assert np.allclose(value[within], np.exp(change[within] ** 2))
    assert np.abs(slope).max() <= 2 * 0.1**0.5 * np.exp(0.1) + 1e-12
    published = invariance(change[np.abs(change) < 9], preset_of("karantzas", per_image=False))
    assert np.allclose(published[0], np.exp(change[np.abs(change) < 9] ** 2))


@pytest.mark.parametrize("where", ["logits", "gradient"])
def test_what_is_no_number_names_the_image(where: str) -> None:
    class Broken(Smooth):
        def logits(self, images: Any, /) -> Any:
            logits = super().logits(images)
            return (
                np.where(np.arange(len(logits))[:, None] == 1, np.nan, logits)
                if where == "logits"
                else logits
            )

        def vjp(self, images: Any, cotangent: Any, /) -> Any:
            found = np.array(super().vjp(images, cotangent))
            if where == "gradient":
                found[1] = np.inf
            return found

    images = drawn((3, 1, 4, 4))
    what = "logits" if where == "logits" else "input gradient"
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(InvalidNumbers, match=f"the {what} of image 8 are NaN or infinite under a mask"),
    ):
        measure(
            Broken((1, 4, 4)),
            images,
            np.array([0, 1, 2]),
            np.zeros(3),
            np.ones((1, 1, len(real_frequencies((4, 4))))),
            index=np.array([7, 8, 9]),
            per_channel=False,
            batch_size=3,
        )


def test_there_are_two_presets() -> None:
    with pytest.raises(ValueError, match="preset is 'ours'; accepted are 'default' and 'karantzas'"):
        preset_of("ours", per_image=True)
