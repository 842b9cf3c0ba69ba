"""Frequency maps on a classifier that reads one wave of one channel, and their similarity."""

from typing import Any

import numpy as np
import pytest

from specprobe.analysis.frequency_maps_learning import frequency_maps
from specprobe.analysis.frequency_maps_similarity import cosine_similarity, linear_alignment
from specprobe.arrays import namespace
from specprobe.errors import EmptyInput, InputMismatch, InvalidNumbers

SIZE = 8
SETTINGS: dict[str, Any] = {"sparsity_weight": 0.01, "min_steps": 30, "max_steps": 400}


class OneWave:
    """Class 1 for a wave of ring 2 in channel 0; never sees anything else."""

    classes = 2

    def __init__(self) -> None:
        wave = np.cos(2 * np.pi * 2 * np.arange(SIZE) / SIZE)
        self.weight = np.zeros((3, SIZE, SIZE), np.float32)
        self.weight[0] = wave

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        score = xp.sum(images * xp.asarray(self.weight.copy()), axis=(1, 2, 3))
        return xp.stack([-score, score], axis=1)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        xp = namespace(images)
        along = cotangent[:, 1] - cotangent[:, 0]
        return along[:, None, None, None] * xp.asarray(self.weight.copy())[None, ...]

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> tuple[Any, Any]:
        xp = namespace(images)
        z = self.logits(images)
        sign = xp.astype(labels * 2 - 1, images.dtype)
        margin = 2 * z[:, 1] * sign
        p = 1 / (1 + xp.exp(margin))
        one_hot = xp.stack([sign * p, -sign * p], axis=1)
        return xp.log1p(xp.exp(-margin)), self.vjp(images, one_hot)


def pictures(images: int = 6) -> tuple[Any, Any]:
    classes = np.arange(images) % 2
    made = np.random.default_rng(0).uniform(0, 1, (images, 3, SIZE, SIZE))
    wave = OneWave().weight
    score = (made * wave).sum(axis=(1, 2, 3))
    target = (2 * classes - 1) * 4.0
    made += ((target - score) / (wave**2).sum())[:, None, None, None] * wave
    return made.astype(np.float32), classes


def test_only_what_the_model_reads_is_left() -> None:
    images, classes = pictures()
    found = frequency_maps(OneWave(), images, classes, **SETTINGS)
    used = np.zeros((3, SIZE, SIZE), bool)
    used[0, SIZE // 2, [SIZE // 2 - 2, SIZE // 2 + 2]] = True
    assert found.image_kept.all()
    assert found.maps[:, ~used].max() == 0
    assert found.maps[:, used].min() > 0.1
    np.testing.assert_array_equal(found.maps[:, used][:, 0], found.maps[:, used][:, 1])
    np.testing.assert_allclose(found.image_density, found.maps.mean(axis=(1, 2, 3)))
    np.testing.assert_array_equal(found.image_class, classes)
    # At the optimum, what a cell costs is what its loss falls by; the pair of cells costs twice.
    m = found.maps[:, used][:, 0].astype(float)
    wave_score = 8 * m  # twice the score of four, as a margin
    slope = 8 / (1 + np.exp(wave_score))
    np.testing.assert_allclose(slope, 2 * 0.01, rtol=0.05)


def test_maps_do_not_depend_on_the_batch_size() -> None:
    images, classes = pictures()
    told: list[int] = []
    short = SETTINGS | {"max_steps": 60}
    whole = frequency_maps(OneWave(), images, classes, **short)
    parts = frequency_maps(OneWave(), images, classes, batch_size=4, progress=told.append, **short)
    np.testing.assert_array_equal(parts.maps, whole.maps)
    np.testing.assert_array_equal(parts.image_steps, whole.image_steps)
    assert told == [4, 6]


def test_learning_ends_by_its_rule_or_at_the_limit() -> None:
    images, classes = pictures()
    early = frequency_maps(OneWave(), images, classes, sparsity_weight=0.01, min_steps=5, max_steps=5)
    assert early.image_steps.tolist() == [5] * 6
    assert not early.image_converged.any()
    np.testing.assert_allclose(early.maps.max(), 1, atol=0.06)  # five steps of a hundredth
    found = frequency_maps(OneWave(), images, classes, sparsity_weight=1, min_steps=200, max_steps=900)
    assert found.image_converged.all()
    assert (found.image_steps >= 200).all()
    assert (found.image_steps < 900).all()


def test_arrays_of_other_libraries_give_equal_results(placed: Any) -> None:
    images, classes = pictures()
    short = {"sparsity_weight": 0.01, "min_steps": 20, "max_steps": 20}
    wanted = frequency_maps(OneWave(), images, classes, **short)  # type: ignore[arg-type]
    found = frequency_maps(OneWave(), placed(images), classes, **short)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.maps, wanted.maps, atol=1e-5)


def test_what_has_no_maps_is_refused() -> None:
    images, classes = pictures()
    with pytest.raises(InputMismatch, match="accepted is one an image"):
        frequency_maps(OneWave(), images, classes[1:])
    with pytest.raises(EmptyInput, match="no images"):
        frequency_maps(OneWave(), images[:0], classes[:0])
    with pytest.raises(ValueError, match="sparsity_weight is -1"):
        frequency_maps(OneWave(), images, classes, sparsity_weight=-1)
    with pytest.raises(ValueError, match="accepted are 1 <= min_steps <= max_steps"):
        frequency_maps(OneWave(), images, classes, min_steps=10, max_steps=9)
    with pytest.raises(TypeError, match="object has no gradient"):
        frequency_maps(object(), images, classes)  # type: ignore[arg-type]
    images[2] = np.inf
    with pytest.raises(InvalidNumbers, match="of image 2 are NaN or infinite"), np.errstate(all="ignore"):
        frequency_maps(OneWave(), images, classes)


# Similarity


def test_cosine_is_that_of_each_pair() -> None:
    a = np.random.default_rng(0).uniform(0, 1, (5, 3, 4, 4))
    np.testing.assert_allclose(cosine_similarity(a, 3 * a), 1)
    b = np.random.default_rng(1).uniform(0, 1, (5, 3, 4, 4))
    wanted = [
        np.dot(x.ravel(), y.ravel()) / np.linalg.norm(x) / np.linalg.norm(y)
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(cosine_similarity(a, b), wanted)
    a[2] = 0
    assert np.isnan(cosine_similarity(a, b)).tolist() == [False, False, True, False, False]
    with pytest.raises(InputMismatch, match="two of one shape"):
        cosine_similarity(a, b[:4])


def test_alignment_is_of_the_unbiased_estimator() -> None:
    """As it is written in Song et al.: few images tell it from others that are nearly unbiased."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(5, 3)), random.normal(size=(5, 4))

    def dependence(x: Any, y: Any) -> float:
        k, m = x @ x.T, y @ y.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        n = len(k)
        whole = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k @ m).sum() / (n - 2)
        return float(whole / (n * (n - 3)))

    wanted = dependence(a, b) / np.sqrt(dependence(a, a) * dependence(b, b))
    assert linear_alignment(a, b, shuffles=0).alignment == pytest.approx(wanted)


def test_alignment_knows_rotations_and_scales_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=(40, 6))
    turned = 3 * a @ np.linalg.qr(random.normal(size=(6, 6)))[0] + 5
    assert linear_alignment(a, turned).alignment == pytest.approx(1)
    assert linear_alignment(a, turned).p_value == 1 / 100
    unrelated = [linear_alignment(a, random.normal(size=(40, 300)), shuffles=0).alignment for _ in range(40)]
    # The biased one is above 0.1 on average: with 300 features, images are nearly orthogonal.
    assert abs(np.mean(unrelated)) < 0.03
    assert linear_alignment(a, random.normal(size=(40, 300))).p_value > 0.01  # type: ignore[operator]
    assert linear_alignment(a, a, shuffles=0).p_value is None
    assert np.isnan(linear_alignment(a, np.ones((40, 2))).alignment)
    with pytest.raises(InputMismatch, match="the same images, four or more"):
        linear_alignment(a[:3], a[:3])
