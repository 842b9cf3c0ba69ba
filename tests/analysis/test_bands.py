"""Band accuracy on classifiers whose answers to filtered images are known."""

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import specprobe
from specprobe.analysis.accuracy import accuracy
from specprobe.analysis.bands import BandAccuracy, band_accuracy
from specprobe.arrays import namespace
from specprobe.errors import DataError, EmptyInput, InputMismatch, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.results import pack, unpack
from specprobe.spectral.masks import apply_mask, low_pass
from specprobe.streaming import Checkpoint

CLASSES = 4
SIZE = 16


class Linear:
    """Logits are products with fixed random images; optionally behind an exact low-pass."""

    classes = CLASSES

    def __init__(self, *, behind: float | None = None, size: int = SIZE) -> None:
        weight = np.random.default_rng(5).normal(size=(CLASSES, 3, size, size)).astype(np.float32)
        self.weight = weight - weight.mean(axis=(2, 3), keepdims=True)  # or the means alone would decide
        self.behind = behind
        self.batches: list[int] = []

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        self.batches.append(images.shape[0])
        if self.behind is not None:
            images = apply_mask(images, low_pass(tuple(images.shape[-2:]), cutoff=self.behind))
        weight = xp.asarray(self.weight.copy())
        # One image at a time: a product of matrices may round differently for another number of rows.
        rows = [xp.sum(images[i : i + 1, ...] * weight, axis=(1, 2, 3)) for i in range(images.shape[0])]
        return xp.stack(rows) + xp.asarray(np.array([0.1, 0, 0, 0], np.float32))


def pictures(images: int, *, seed: int = 0, size: int = SIZE) -> Any:
    return np.random.default_rng(seed).uniform(0, 1, (images, 3, size, size)).astype(np.float32)


def labelled(images: int, *, wrong: int = 0, **options: Any) -> ArraySource:
    """Images with the classifier's own answers as labels, but for the first few."""
    pixels = pictures(images, size=options.get("size", SIZE))
    labels = np.argmax(Linear(**options).logits(pixels), axis=1)
    labels[:wrong] = (labels[:wrong] + 1) % CLASSES
    return ArraySource(pixels, labels)


def test_every_filter_is_what_the_masks_make_of_the_images() -> None:
    source = labelled(90, wrong=20)
    batch = source.read(0, 90)
    result = band_accuracy(Linear(), source, radii=(3, 6), bands=((2, 5),), wedges=((0, 60),))
    masks = [low_pass((SIZE, SIZE), cutoff=3), low_pass((SIZE, SIZE), cutoff=6)]
    clean = np.argmax(Linear().logits(batch.images), axis=1)
    for group, kept in (("low_pass", masks), ("high_pass", [~mask for mask in masks])):
        for entry, mask in zip(result.to_dict()[group], kept, strict=True):
            logits = Linear().logits(apply_mask(batch.images, mask)).astype(np.float64)
            answer = np.argmax(logits, axis=1)
            assert entry["accuracy"] == np.mean(answer == batch.labels)
            assert entry["agreement"] == np.mean(answer == clean)
            assert entry["still_correct"] == np.sum((answer == batch.labels) & (clean == batch.labels))
            sure = np.max(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), axis=1)
            assert entry["mean_confidence"] == pytest.approx(sure.mean(), rel=1e-9)
            assert entry["mean_confidence_std"] == pytest.approx(sure.std(), rel=1e-9)
    assert result.clean == accuracy(Linear(), source)


@pytest.mark.parametrize("size", [16, 15])
def test_behind_a_low_pass_nothing_above_it_matters(size: int) -> None:
    """Agreement is 1 for every low-pass beyond the classifier's own; what is left beyond it gets one answer."""
    source = labelled(100, behind=4, size=size)
    radii = (1, 2, 3, 4, 5, 6, 8, 12)
    result = band_accuracy(Linear(behind=4, size=size), source, radii=radii)
    content = result.to_dict()
    for entry in content["low_pass"]:
        assert (entry["agreement"] == 1) == (entry["radius"] >= 4)
    assert result.image_correct is not None
    for place, entry in zip(result.filters.sections()["high_pass"], content["high_pass"], strict=True):
        if entry["radius"] >= 4:
            # Class 0 has the largest bias, and is the answer to an image of nothing.
            assert entry["agreement"] == content["prediction_histogram"]["0"] / 100
            assert entry["mean_confidence_std"] < 1e-6
            right = result.image_correct[:, place]
            assert set(source.read(0, 100).labels[right].tolist()) == {0}  # type: ignore[index]
    assert content["radius_95"] <= 4


def test_filters_that_keep_the_same_share_a_pass() -> None:
    classifier = Linear()
    result = band_accuracy(
        classifier, labelled(10), radii=(0, 0.5, 3, 11, 12, 40), bands=((0, 3),), wedges=((0, 180),)
    )
    # The corner is at 11.3. Low-pass: nothing, the mean, 3, 11, and twice the image itself; high-pass: the complements,
    # of which nothing was had. The band is the low-pass 3, the wedge everything but the mean.
    assert sum(classifier.batches) == result.model_evaluations == 10 * (1 + 4 + 3)
    content = result.to_dict()
    assert [entry["agreement"] for entry in content["low_pass"][4:]] == [1, 1]
    for left, right in (("band_pass", "low_pass"), ("band_stop", "high_pass")):
        assert content[left][0]["accuracy"] == content[right][2]["accuracy"]
    assert content["wedge_pass"][0]["accuracy"] == content["high_pass"][1]["accuracy"]


@pytest.mark.parametrize("batch_size", [1, 7, 32, 64, 100, 1000])
def test_result_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    source = labelled(150, wrong=40)
    classifier = Linear()
    result = band_accuracy(classifier, source, radii=(2, 4, 12), batch_size=batch_size)
    assert result == band_accuracy(Linear(), source, radii=(2, 4, 12))
    # Filters share batches, so that all but the last of each shard are full.
    assert sum(size != batch_size for size in classifier.batches) <= 3


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_executors_give_the_same_bits(workers: str) -> None:
    source = labelled(200, wrong=50)
    serial = band_accuracy(Linear(), source, bands=((1, 3),), restore_mean=True)
    pool: Executor = (
        ThreadPoolExecutor(2) if workers == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    )
    with pool:
        assert band_accuracy(Linear(), source, bands=((1, 3),), restore_mean=True, executor=pool) == serial


def test_arrays_of_other_libraries_give_equal_results(placed: Any) -> None:
    labels = labelled(70, wrong=9).labels
    wanted = band_accuracy(Linear(), pictures(70), labels, radii=(2, 5))
    found = band_accuracy(Linear(), placed(pictures(70)), labels, radii=(2, 5))
    for name in ("image_correct", "image_agrees"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))
    assert found.mean_confidence == pytest.approx(wanted.mean_confidence, rel=1e-5)


def test_clipping_and_the_mean_are_recorded_and_done() -> None:
    seen = []

    class Watched(Linear):
        def logits(self, images: Any, /) -> Any:
            seen.append(np.asarray(images))
            return super().logits(images)

    source = ArraySource(np.round(pictures(20)))
    plain = band_accuracy(Watched(), source, radii=(5,), batch_size=20)
    assert (plain.clip, plain.mean_restored) == (False, False)
    assert seen[1].min() < 0
    assert np.abs(seen[2].mean(axis=(2, 3))).max() < 1e-6
    seen.clear()
    both = band_accuracy(Watched(), source, radii=(5,), batch_size=20, clip=True, restore_mean=True)
    assert (both.clip, both.mean_restored) == (True, True)
    assert all(part.min() >= 0 and part.max() <= 1 for part in seen)
    seen.clear()
    band_accuracy(Watched(), source, radii=(5,), batch_size=20, restore_mean=True)
    np.testing.assert_allclose(seen[2].mean(axis=(2, 3)), seen[0].mean(axis=(2, 3)), atol=1e-6)


def test_radii_are_sorted_and_each_once() -> None:
    assert band_accuracy(Linear(), labelled(5), radii=(8, 2, 2.0, 4)).radii == (2.0, 4.0, 8.0)
    assert band_accuracy(Linear(), labelled(5)).radii == (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12)


def test_without_labels_there_is_agreement_and_a_reason() -> None:
    result = band_accuracy(Linear(), pictures(40), radii=(2, 12))
    content = result.to_dict()
    assert content["clean_accuracy"] is content["chance"] is content["radius_95"] is None
    assert content["radius_95_reason"] == "the images have no labels"
    assert content["low_pass"][0]["accuracy"] is content["low_pass"][0]["accuracy_interval"] is None
    assert 0 < content["low_pass"][0]["agreement"] < 1
    assert [finding["code"] for finding in content["findings"]] == ["no-labels"]
    assert content["per_class"] == []
    assert "low_pass_agrees" in result.arrays()
    assert "low_pass_correct" not in result.arrays()


def test_chance_level_is_told_and_has_no_radius() -> None:
    source = labelled(60, wrong=60)
    result = band_accuracy(Linear(), source, radii=(2, 12))
    assert result.radius_95 is None
    assert result.saturation.reason == "the clean accuracy is not established to be above chance"
    assert [finding.code for finding in result.findings] == ["chance-level"]


def test_radius_95_without_a_radius_that_is_enough() -> None:
    result = band_accuracy(Linear(), labelled(60), radii=(1, 2))
    assert result.radius_95 is None
    assert str(result.saturation.reason).startswith(
        "no radius of the sweep reaches 95 % of the clean accuracy"
    )
    assert [finding.code for finding in result.findings] == ["no-radius-95"]
    assert band_accuracy(Linear(), labelled(60), radii=(), bands=((1, 2),)).saturation.reason == (
        "no radius was asked for"
    )


def test_per_class_adds_up_to_all() -> None:
    source = labelled(150, wrong=40)
    content = band_accuracy(Linear(), source, radii=(2, 4, 12), bands=((1, 3),)).to_dict()
    per_class = content["per_class"]
    assert [part["label"] for part in per_class] == sorted(set(source.labels.tolist()))  # type: ignore[union-attr]
    for group in ("low_pass", "high_pass", "band_pass", "band_stop"):
        for i, entry in enumerate(content[group]):
            right = sum(part["images"] * part[f"{group}_accuracy"][i] for part in per_class)
            assert right / 150 == pytest.approx(entry["accuracy"])
            for part in per_class:
                low, high = part[f"{group}_accuracy_interval"][i]
                assert low <= part[f"{group}_accuracy"][i] <= high


# Merging, and what is kept


@settings(deadline=None, max_examples=10)
@given(st.sets(st.integers(1, 99), max_size=4))
def test_merging_does_not_depend_on_where_the_data_is_cut(cuts: set[int]) -> None:
    source = labelled(100, wrong=30)
    batch = source.read(0, 100)
    edges = [0, *sorted(cuts), 100]
    parts = [
        band_accuracy(Linear(), batch.images[a:b], batch.labels[a:b], radii=(2, 5))  # type: ignore[index]
        for a, b in pairwise(edges)
    ]
    merged, whole = reduce(BandAccuracy.merge, parts), band_accuracy(Linear(), source, radii=(2, 5))
    for name in ("mean_confidence", "confidence_std"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    moments = {"mean_confidence": whole.mean_confidence, "confidence_std": whole.confidence_std}
    assert dataclasses.replace(merged, **moments) == whole  # type: ignore[arg-type]


def test_results_of_other_filters_are_not_merged() -> None:
    one = band_accuracy(Linear(), labelled(5), radii=(2,))
    with pytest.raises(InputMismatch, match=r"radii is \(2\.0,\) here and \(3\.0,\) there"):
        one.merge(band_accuracy(Linear(), labelled(5), radii=(3,)))


@pytest.mark.parametrize("with_labels", [True, False])
def test_results_survive_json_packing_and_pickling(with_labels: bool) -> None:
    source = labelled(20, wrong=3) if with_labels else ArraySource(pictures(20))
    result = band_accuracy(
        Linear(), source, radii=(2, 5), bands=((3, math.inf), (0, 1)), wedges=((-10, 10),), confidence=0.9
    )
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    again = BandAccuracy.from_dict(content)
    assert again.to_dict() == content
    assert again.bands == result.bands
    nothing = dict.fromkeys(("image_correct", "image_agrees", "image_confidence", "image_digest"))
    assert again == dataclasses.replace(result, **nothing)  # type: ignore[arg-type]
    assert again != result
    assert again.arrays() == {}
    assert unpack(*pack(result)) == pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_one_image_has_no_interval_of_its_confidence() -> None:
    content = band_accuracy(Linear(), labelled(1), radii=(2,)).to_dict()
    assert content["low_pass"][0]["mean_confidence_interval"] is None
    assert "one-image" in [finding["code"] for finding in content["findings"]]
    json.dumps(content, allow_nan=False)


def test_arrays_hold_a_row_an_image() -> None:
    source = labelled(70, wrong=9)
    result = band_accuracy(Linear(), source, radii=(2, 5), bands=((1, 2),))
    arrays = result.arrays()
    assert np.array_equal(arrays["digest"], source.read(0, 70).digests)
    assert arrays["clean_correct"].sum() == 61
    assert arrays["clean_agrees"].all()
    for group in ("low_pass", "high_pass", "band_pass", "band_stop"):
        entries = result.to_dict()[group]
        assert arrays[f"{group}_correct"].shape == (70, len(entries))
        assert arrays[f"{group}_correct"].mean(axis=0).tolist() == [entry["accuracy"] for entry in entries]
        assert arrays[f"{group}_agrees"].mean(axis=0).tolist() == [entry["agreement"] for entry in entries]
    assert "wedge_pass_correct" not in arrays


def test_impossible_counts_are_refused() -> None:
    result = band_accuracy(Linear(), labelled(5), radii=(2,))
    with pytest.raises(ValueError, match="counts of 5 images"):
        dataclasses.replace(result, agreeing=np.array([5, 6, 0]))
    with pytest.raises(ValueError, match=r"accepted is one for each of 3 filters"):
        dataclasses.replace(result, agreeing=np.array([5, 5]))


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    source = labelled(300, wrong=70)

    def checkpoint(*, resume: bool) -> Checkpoint:
        return Checkpoint(path=tmp_path / "partial.npz", fingerprint="f", resume=resume)

    def stop(images: int) -> None:
        if images == 192:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        band_accuracy(Linear(), source, radii=(2, 4), checkpoint=checkpoint(resume=False), progress=stop)
    classifier = Linear()
    resumed = band_accuracy(classifier, source, radii=(2, 4), checkpoint=checkpoint(resume=True))
    assert sum(classifier.batches) == 5 * (300 - 192)
    assert resumed == band_accuracy(Linear(), source, radii=(2, 4))


# What does not fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": (2, math.nan)}, "the radii are .*; accepted are finite numbers from 0"),
        ({"radii": (-1,)}, "the radii are -1; accepted are finite numbers from 0"),
        ({"radii": (math.inf,)}, "the radii are inf"),
        ({"radii": ()}, "there is no filter: no radius, no band and no wedge"),
        ({"bands": ((3, 3),)}, "the band 3:3 is empty or below 0"),
        ({"bands": ((-1, 3),)}, "the band -1:3 is empty or below 0"),
        ({"wedges": ((0, 181),)}, "the wedge 0:181 degrees is out of range"),
        ({"wedges": ((10, 10),)}, "the wedge 10:10 degrees is out of range"),
    ],
)
def test_filters_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        band_accuracy(Linear(), labelled(5), **options)


def test_labels_and_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputMismatch, match="labels are given beside a source"):
        band_accuracy(Linear(), labelled(5), np.zeros(5, np.int64))
    with pytest.raises(DataError, match=r"label 4 of image 0 is no class of the model, which has 4"):
        band_accuracy(Linear(), pictures(2), [4, 0])
    with pytest.raises(ValueError, match="batch_size is 0; accepted are whole numbers from 1"):
        band_accuracy(Linear(), labelled(5), batch_size=0)
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        band_accuracy(Linear(), labelled(5), limit=0)
    assert band_accuracy(Linear(), labelled(5), radii=(2,), limit=3).images == 3


def test_logits_that_are_no_numbers_name_image_and_filter() -> None:
    class Spoilt(Linear):
        def logits(self, images: Any, /) -> Any:
            logits = super().logits(images)
            logits[np.ptp(images, axis=(1, 2, 3)) < 1e-6, 2] = np.nan
            return logits

    images = pictures(70)
    images[66] = 0.5
    with pytest.raises(
        InvalidNumbers, match=r"the logits of image 66 are NaN or infinite \(\d of 18 images here\)"
    ):
        band_accuracy(Spoilt(), images, radii=(3,))
    images = pictures(70)
    with pytest.raises(InvalidNumbers, match=r"the logits of image 0 under low_pass 0 are NaN"):
        band_accuracy(Spoilt(), images, radii=(0, 3))


def test_strict_arrays_are_enough() -> None:
    result = specprobe.band_accuracy(Linear(), array_api_strict.asarray(pictures(5)), radii=(2,), clip=True)
    assert result.images == 5


_PEAK = """
import sys
from pathlib import Path
import specprobe

source = specprobe.load_images(sys.argv[1])
result = specprobe.band_accuracy(specprobe.load(sys.argv[2], threads=1), source, radii=(2, 4, 8, 16))
assert result.images == int(sys.argv[3])
status = Path("/proc/self/status").read_text()  # resource's own peak starts with that of the parent process
print(status.partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_does_not_grow_with_the_number_of_images(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 3, 32, 32] x) => (float[N, 10] y) '
    proto = onnx.parser.parse_model(text + "{ f = Flatten (x) y = MatMul (f, w) }")
    weight = np.random.default_rng(0).normal(size=(3072, 10)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(proto, tmp_path / "model.onnx")
    peaks = {}
    for images in (1_000, 10_000):
        rng, path = np.random.default_rng(0), tmp_path / f"{images}.npz"
        pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
        np.savez_compressed(path, images=pixels, labels=rng.integers(0, 10, images))
        command = [sys.executable, "-c", _PEAK, str(path), str(tmp_path / "model.onnx"), str(images)]
        peaks[images] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    record_property("peak_memory_ratio", peaks[10_000] / peaks[1_000])
    assert peaks[10_000] / peaks[1_000] <= 1.05


@pytest.mark.cuda
def test_cupy_images_stay_on_the_gpu() -> None:
    cupy = pytest.importorskip("cupy")
    seen = []

    class Watched(Linear):
        def logits(self, images: Any, /) -> Any:
            seen.append(type(images))
            return super().logits(images)

    found = band_accuracy(Watched(), cupy.asarray(pictures(20)), radii=(2, 5))
    assert set(seen) == {cupy.ndarray}
    wanted = band_accuracy(Linear(), pictures(20), radii=(2, 5))
    assert found.agreeing.tolist() == wanted.agreeing.tolist()
