"""Band replacement on classifiers that look at one known frequency."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.accuracy import accuracy
from specprobe.analysis.band_replacement import BandReplacement, band_replacement
from specprobe.arrays import namespace
from specprobe.errors import DataError, InputMismatch, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.results import document, from_document, pack, unpack
from specprobe.spectral.masks import apply_mask, low_pass
from specprobe.streaming import Checkpoint

SIZE = 16


def wave(ring: int) -> Any:
    return np.broadcast_to(np.cos(2 * np.pi * ring * np.arange(SIZE) / SIZE), (SIZE, SIZE)).astype(np.float32)


class OneWave:
    """Class 1 where the product with a wave is above a threshold, class 0 else; never sees other rings."""

    classes = 2

    def __init__(self, *, ring: int = 4, threshold: float = 1.0) -> None:
        self.weight, self.threshold = wave(ring), threshold
        self.evaluations = 0

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        self.evaluations += images.shape[0]
        score = xp.sum(images * xp.asarray(self.weight.copy()), axis=(1, 2, 3)) - self.threshold
        return xp.stack([xp.zeros_like(score), score], axis=1)


def flat(images: int) -> Any:
    return np.full((images, 1, SIZE, SIZE), 0.5, np.float32)


def pushed(clean: Any, *, rings: dict[int, float]) -> Any:
    """Adversarial images of a few waves."""
    return clean + sum((amplitude * wave(ring) for ring, amplitude in rings.items()), np.float32(0))


def test_the_ring_that_carries_the_attack_is_found() -> None:
    """Only ring 4 counts, though ring 6 has more energy."""
    clean = flat(10)
    result: Any = band_replacement(
        OneWave(), clean, pushed(clean, rings={4: 0.02, 6: 0.04}), np.zeros(10, np.int64), radii=range(12)
    )
    for radius, low, high in zip(
        result.radii, result.low_pass_correct, result.high_pass_correct, strict=True
    ):
        assert low == (10 if radius <= 4 else 0)
        assert high == (0 if radius <= 4 else 10)
    assert (result.clean_accuracy, result.adversarial_accuracy, result.broken) == (1, 0, 10)
    assert result.low_pass_half.radius == 5
    assert result.high_pass_half.radius == 4
    np.testing.assert_allclose(result.energy_share[[4, 5, 6, 7]], [0, 0.2, 0.2, 1], atol=1e-5)
    content = result.to_dict()
    assert content["low_pass_half_radius_interval"] == [5, 5]
    assert content["high_pass_half_radius_interval"] == [4, 4]
    assert content["findings"] == []


def test_halves_are_of_the_images_that_the_attack_breaks() -> None:
    """Of 8 broken images, 3 need ring 2 and 5 ring 5; one was wrong before and one withstands."""
    clean, labels = flat(10), np.zeros(10, np.int64)
    moved = clean.copy()
    moved[:3] = pushed(clean[:3], rings={2: 0.02})
    moved[3:8] = pushed(clean[3:8], rings={5: 0.02})
    labels[8] = 1

    class Both:
        classes = 2

        def logits(self, images: Any, /) -> Any:
            score = np.sum(images * (wave(2) + wave(5)), axis=(1, 2, 3)) - 1
            return np.stack([np.zeros_like(score), score], axis=1)

    result: Any = band_replacement(Both(), clean, moved, labels, radii=(0, 2, 3, 5, 6, 12))
    assert (result.clean_correct, result.adversarial_correct, result.broken, result.moved) == (9, 1, 8, 8)
    assert result.low_pass_broken.tolist() == [0, 0, 3, 3, 8, 8]
    assert result.high_pass_broken.tolist() == [8, 8, 5, 5, 0, 0]
    assert result.low_pass_half.radius == 6
    assert result.high_pass_half.radius == 5
    # 3 of 8 may be half of all such images, 8 of 8 are more; 5 of 8 may be less.
    assert result.low_pass_half.interval == (3, 6)
    assert result.high_pass_half.interval == (2, 5)
    assert [entry["broken_share"] for entry in result.to_dict()["low_pass"]] == [0, 0, 3 / 8, 3 / 8, 1, 1]


def random_pairs(images: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(2)
    clean = rng.uniform(0, 1, (images, 3, SIZE, SIZE)).astype(np.float32)
    moved = np.clip(clean + rng.normal(size=clean.shape) * 0.1, 0, 1).astype(np.float32)
    return clean, moved, rng.integers(0, 2, images)


def test_mixed_images_have_one_spectrum_below_the_radius_and_the_other_beyond() -> None:
    clean, moved, labels = random_pairs(20)
    seen: list[Any] = []

    class Watching(OneWave):
        def logits(self, images: Any, /) -> Any:
            seen.append(np.array(images))
            return super().logits(images)

    band_replacement(Watching(), clean, moved, labels, radii=(4,), batch_size=20)
    below = low_pass((SIZE, SIZE), cutoff=4)
    first, second, low, high = seen
    np.testing.assert_array_equal(first, clean)
    np.testing.assert_array_equal(second, moved)
    np.testing.assert_allclose(low, apply_mask(moved, below) + apply_mask(clean, ~below), atol=2e-6)
    np.testing.assert_allclose(high, apply_mask(clean, below) + apply_mask(moved, ~below), atol=2e-6)
    assert low.min() < 0  # not clipped
    seen.clear()
    clipped = band_replacement(Watching(), clean, moved, labels, radii=(4,), batch_size=20, clip=True)
    np.testing.assert_array_equal(seen[2], np.clip(low, 0, 1))
    assert clipped.clip


def test_ends_are_exactly_the_clean_and_the_adversarial_accuracy() -> None:
    clean, moved, labels = random_pairs(100)
    classifier = OneWave(threshold=0)
    result: Any = band_replacement(classifier, clean, moved, labels)
    assert result.radii[0] == 0
    ends = [accuracy(OneWave(threshold=0), ArraySource(images, labels)) for images in (clean, moved)]
    assert ends[0].correct != ends[1].correct
    for counts, order in ((result.low_pass_correct, ends), (result.high_pass_correct, ends[::-1])):
        assert [counts[0], counts[-1]] == [end.correct for end in order]
    np.testing.assert_array_equal(result.image_low_pass_correct[:, 0], ends[0].image_correct)
    np.testing.assert_array_equal(result.image_low_pass_correct[:, -1], ends[1].image_correct)
    np.testing.assert_array_equal(result.energy_share[[0, -1]], [0, 1])
    assert (np.diff(result.energy_share) >= -1e-6).all()
    # Both ends cost two passes; every radius between them two more.
    assert classifier.evaluations == result.model_evaluations == 100 * 2 * (len(result.radii) - 1)


def test_radii_that_keep_the_same_share_their_passes() -> None:
    clean, moved, labels = random_pairs(5)
    classifier = OneWave()
    result: Any = band_replacement(classifier, clean, moved, labels, radii=(40, 0, 3.05, 3.1, 12))
    assert result.radii == (0, 3.05, 3.1, 12, 40)
    assert classifier.evaluations == result.model_evaluations == 5 * 4
    assert result.low_pass_correct[1] == result.low_pass_correct[2]


def test_parts_merge_to_the_whole_and_batches_do_not_matter() -> None:
    clean, moved, labels = random_pairs(150)
    whole = band_replacement(OneWave(threshold=0), clean, moved, labels, radii=(0, 3, 12))
    assert whole == band_replacement(
        OneWave(threshold=0), clean, moved, labels, radii=(0, 3, 12), batch_size=7
    )
    edges = (0, 64, 128, 150)
    parts = [
        band_replacement(OneWave(threshold=0), clean[a:b], moved[a:b], labels[a:b], radii=(0, 3, 12))
        for a, b in pairwise(edges)
    ]
    assert reduce(BandReplacement.merge, parts) == whole
    cut = [
        band_replacement(OneWave(threshold=0), clean[p], moved[p], labels[p], radii=(0, 3, 12))
        for p in (slice(37), slice(37, 150))
    ]
    merged = cut[0].merge(cut[1])
    np.testing.assert_allclose(merged.energy_share, whole.energy_share, rtol=1e-12)
    np.testing.assert_allclose(merged.energy_share_std, whole.energy_share_std, rtol=1e-12)
    np.testing.assert_array_equal(merged.image_high_pass_correct, whole.image_high_pass_correct)
    with ThreadPoolExecutor(2) as pool:
        threads = band_replacement(
            OneWave(threshold=0), clean, moved, labels, radii=(0, 3, 12), executor=pool
        )
    assert threads == whole
    with pytest.raises(InputMismatch, match="radii is"):
        whole.merge(band_replacement(OneWave(), clean[:2], moved[:2], labels[:2], radii=(0, 4)))


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    clean, moved, labels = random_pairs(150)
    options: dict[str, Any] = {"radii": (0, 3, 12)}
    whole = band_replacement(OneWave(threshold=0), clean, moved, labels, **options)
    kept = Checkpoint(path=tmp_path / "partial.npz", fingerprint="f", seconds=0)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        band_replacement(
            OneWave(threshold=0), clean, moved, labels, **options, checkpoint=kept, progress=stop
        )
    classifier = OneWave(threshold=0)
    again = replace(kept, resume=True)
    assert band_replacement(classifier, clean, moved, labels, **options, checkpoint=again) == whole
    assert classifier.evaluations < whole.model_evaluations


def test_streams_pairs_from_a_source_and_a_function() -> None:
    clean, moved, labels = random_pairs(100)
    whole = band_replacement(OneWave(threshold=0), clean, moved, labels, radii=(0, 3), limit=90)
    starts: list[int] = []

    def attack(batch: Any) -> Any:
        starts.append(batch.start)
        return moved[batch.start : batch.start + len(batch.labels)]

    source = ArraySource(clean, labels)
    assert band_replacement(OneWave(threshold=0), source, attack, radii=(0, 3), limit=90) == whole
    assert starts == [0, 64]
    assert whole.images == 90


def test_arrays_of_other_libraries_give_equal_results(placed: Any) -> None:
    clean, moved, labels = random_pairs(70)
    wanted = band_replacement(OneWave(threshold=0), clean, moved, labels, radii=(0, 3, 12))
    found = band_replacement(OneWave(threshold=0), placed(clean), placed(moved), labels, radii=(0, 3, 12))
    for name in ("low_pass_correct", "high_pass_correct", "low_pass_broken", "image_low_pass_correct"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_allclose(found.energy_share, wanted.energy_share, rtol=1e-5)


def test_survives_documents_and_checkpoints() -> None:
    clean, moved, labels = random_pairs(30)
    result: Any = band_replacement(OneWave(threshold=0), clean, moved, labels, confidence=0.9)
    assert unpack(*pack(result)) == result
    read = from_document(json.loads(json.dumps(document(result), allow_nan=False)))
    assert read.to_dict() == result.to_dict()
    assert read.arrays() == {}
    assert result.arrays().keys() == {
        "low_pass_correct",
        "high_pass_correct",
        "clean_correct",
        "adversarial_correct",
        "digest",
    }
    assert result != 3


def test_an_attack_that_breaks_nothing_has_no_half() -> None:
    clean = flat(4)
    result: Any = band_replacement(OneWave(), clean, clean, np.zeros(4, np.int64), radii=(0, 3))
    assert (result.broken, result.moved) == (0, 0)
    assert result.low_pass_half.radius is result.high_pass_half.radius is None
    content = result.to_dict()
    json.dumps(content, allow_nan=False)
    assert content["low_pass"][0]["broken_share"] is content["energy_share_interval"] is None
    assert [f["code"] for f in content["findings"]] == ["nothing-broken"]
    assert BandReplacement.from_dict(content).to_dict() == content


def test_a_sweep_that_ends_too_early_says_so() -> None:
    clean = flat(4)
    result: Any = band_replacement(
        OneWave(), clean, pushed(clean, rings={4: 0.02}), np.zeros(4, np.int64), radii=(0, 3)
    )
    assert result.low_pass_half.radius is None
    assert result.high_pass_half.radius == 3
    assert [f.code for f in result.findings] == ["no-half-radius"]


def test_what_does_not_fit_is_refused() -> None:
    clean, moved, labels = random_pairs(4)
    with pytest.raises(DataError, match="no labels"):
        band_replacement(OneWave(), clean, moved)
    for wrong in (moved[:3], np.concatenate([moved, moved])):
        with pytest.raises(InputMismatch, match="for 4 clean ones"):
            band_replacement(OneWave(), clean, wrong, labels)
    with pytest.raises(InputMismatch, match="from image 0 on"):
        band_replacement(OneWave(), clean, moved[:, :1], labels)
    with pytest.raises(InputMismatch, match="radii are"):
        band_replacement(OneWave(), clean, moved, labels, radii=(-1,))
    with pytest.raises(InputMismatch, match="no filter"):
        band_replacement(OneWave(), clean, moved, labels, radii=())
    with pytest.raises(ValueError, match="batch_size"):
        band_replacement(OneWave(), clean, moved, labels, batch_size=0)
    with pytest.raises(ValueError, match="confidence"):
        band_replacement(OneWave(), clean, moved, labels, confidence=0)
    moved[2] = np.nan
    with pytest.raises(InvalidNumbers, match="image 2"):
        band_replacement(OneWave(), clean, moved, labels)
