"""Spectra of classes whose frequencies are planted, without a model."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.analysis.frequency_shortcuts_spectra import GREY_WEIGHTS, ClassSpectra, class_spectra
from specprobe.errors import DataError, InputMismatch
from specprobe.images import ArraySource
from specprobe.results import document, dump_json, from_document, pack, read_results, unpack, write_npz
from specprobe.spectral.grid import ring_sizes, rings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
SIZE = 8


def waves(images: int, *, channels: int = 1, seed: int = 0) -> tuple[Any, Any]:
    """Class c has a wave of ring c + 1 on noise."""
    classes = np.arange(images) % 3
    x = 2 * np.pi * np.arange(SIZE) / SIZE
    noise = np.random.default_rng(seed).normal(0.5, 0.02, (images, channels, SIZE, SIZE))
    wave = 0.1 * np.cos((classes[:, None] + 1) * x)[:, None, None, :]
    return (noise + wave).astype(np.float32), classes


@pytest.mark.parametrize("channels", [1, 3])
def test_magnitudes_are_means_over_the_images_of_a_class(channels: int) -> None:
    images, classes = waves(70, channels=channels)
    found = class_spectra(images, classes)
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(images.astype(np.float64), norm="ortho"), axes=(-2, -1)))
    weights = np.array(GREY_WEIGHTS) if channels == 3 else np.ones(1)
    grey = np.tensordot(weights, spectrum, axes=(0, 1))
    sizes = ring_sizes((SIZE, SIZE))
    for row, label in enumerate(found.class_labels):
        own = grey[classes == label]
        np.testing.assert_allclose(found.magnitude[row], own.mean(axis=0), rtol=1e-4, atol=1e-6)  # type: ignore[index]
        np.testing.assert_allclose(found.magnitude_std[row], own.std(axis=0), rtol=1e-3, atol=1e-5)  # type: ignore[index]
        ring = np.stack([np.bincount(rings((SIZE, SIZE)).ravel(), weights=m.ravel()) for m in own]) / sizes
        np.testing.assert_allclose(found.ring_magnitude[row], ring.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(found.ring_magnitude_std[row], ring.std(axis=0), rtol=1e-3, atol=1e-5)
    assert found.class_images.tolist() == np.bincount(classes).tolist()


def test_a_class_lies_above_all_others_at_its_own_wave() -> None:
    found = class_spectra(*waves(90))
    difference = found.accumulative_difference
    assert difference is not None
    assert difference.min() >= -3
    assert difference.max() == 1  # above both others, and not above itself
    for label in range(3):
        at = (SIZE // 2, SIZE // 2 + label + 1)
        assert difference[label][at] == 1
        assert all(difference[other][at] < 1 for other in range(3) if other != label)
    assert found.findings == ()


def test_signs_do_not_depend_on_how_many_images_a_class_has() -> None:
    """Sums would put the class with most images above the others everywhere."""
    images, classes = waves(90)
    more = np.concatenate([np.arange(90), np.flatnonzero(classes == 0), np.flatnonzero(classes == 0)])
    found = class_spectra(images[more], classes[more]).accumulative_difference
    assert np.array_equal(found, class_spectra(images, classes).accumulative_difference)  # type: ignore[arg-type]
    sums = [np.abs(np.fft.fft2(images[more][classes[more] == c, 0])).sum(axis=0) for c in range(3)]
    assert (sums[0] > np.maximum(sums[1], sums[2])).mean() > 0.9


@settings(deadline=None, max_examples=10)
@given(st.sets(st.integers(1, 39), max_size=4))
def test_merging_does_not_depend_on_where_the_data_is_cut(cuts: set[int]) -> None:
    images, _ = waves(40)
    classes = np.repeat([2, 0, 5, 0], 10)
    parts = [class_spectra(images[a:b], classes[a:b]) for a, b in pairwise([0, *sorted(cuts), 40])]
    merged, whole = reduce(ClassSpectra.merge, parts), class_spectra(images, classes)
    means: dict[str, Any] = {}
    for name in ("ring_magnitude", "magnitude", "ring_magnitude_std", "magnitude_std"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
        means[name] = getattr(whole, name)
    assert dataclasses.replace(merged, **means) == whole


def test_executors_and_shards_change_nothing() -> None:
    images, classes = waves(200)
    with ThreadPoolExecutor(2) as pool:
        assert class_spectra(images, classes, executor=pool) == class_spectra(images, classes)
    assert class_spectra(images, classes, limit=100) == class_spectra(images[:100], classes[:100])


def test_arrays_of_other_libraries_give_equal_results(placed: Any) -> None:
    images, classes = waves(20, channels=3)
    wanted = class_spectra(images, classes)
    found = class_spectra(placed(images), classes)
    for name in ("magnitude", "magnitude_std", "ring_magnitude"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-6)


def test_spectra_survive_json_and_packing(tmp_path: Path) -> None:
    result = class_spectra(*waves(40), confidence=0.9)
    content = json.loads(dump_json(document(result, provenance={"tool": "specprobe", "version": "0"})))
    jsonschema.validate(content, SCHEMA)
    again = from_document(content)
    assert again.to_dict() == content["result"]
    assert again.accumulative_difference is None
    assert unpack(*pack(result)) == result
    write_npz(tmp_path / "r.npz", content, result.arrays())
    ((_, read),) = read_results(tmp_path / "r.npz")
    assert read == result
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_few_images_and_one_image_are_told() -> None:
    images, classes = waves(40)
    found = class_spectra(images, np.where(np.arange(40) == 0, 7, classes))
    assert [finding.code for finding in found.findings] == ["few-images"]
    content = found.to_dict()
    assert content["ring_magnitude_interval"][3][0] == [None, None]
    low, high = content["ring_magnitude_interval"][0][0]
    assert low < content["ring_magnitude"][0][0] < high


def test_what_has_no_classes_is_refused() -> None:
    images, classes = waves(6)
    with pytest.raises(DataError, match="have no labels, so there are no classes"):
        class_spectra(images)
    with pytest.raises(InputMismatch, match="labels are given beside a source"):
        class_spectra(ArraySource(images, classes), classes)
    one, other = class_spectra(images, classes), class_spectra(images[..., :6], classes)
    with pytest.raises(InputMismatch, match=r"image_size is \(8, 8\) here and \(8, 6\) there"):
        one.merge(other)
    with pytest.raises(ValueError, match="accepted are counts from 1 that add up"):
        dataclasses.replace(one, images=7)
