"""How often the model is right, on classifiers whose answers are known."""

import dataclasses
import json
import math
import pickle
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

import specprobe
from specprobe.analysis.accuracy import Accuracy, accuracy, batch_logits, chance_findings
from specprobe.errors import DataError, EmptyInput, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.protocols import Batch
from specprobe.streaming import Checkpoint

CLASSES = 5


class FirstPixels:
    """Its logits are the first row of the image: who makes the image chooses the answer."""

    def __init__(self, classes: int = CLASSES) -> None:
        self.classes = classes
        self.batches: list[int] = []

    def logits(self, images: Any, /) -> Any:
        self.batches.append(images.shape[0])
        return images[:, 0, 0, : self.classes]


def pictures(answers: Any, *, xp: Any = np) -> Any:
    """Images to which ``FirstPixels`` gives ``answers``."""
    images = np.zeros((len(answers), 1, 6, 6), np.float32)
    images[np.arange(len(answers)), 0, 0, answers] = 1
    images[:, 0, 1, 0] = np.linspace(0, 1, len(answers))
    return xp.asarray(images)


answered = st.integers(1, 200).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, CLASSES - 1), min_size=n, max_size=n),
        st.lists(st.integers(0, CLASSES - 1), min_size=n, max_size=n),
    )
)


@settings(deadline=None, max_examples=40)
@given(answered, st.sampled_from([1, 7, 64]), st.sampled_from([np, array_api_strict]))
def test_accuracy_counts(pair: tuple[list[int], list[int]], batch_size: int, xp: Any) -> None:
    answers, labels = pair
    result = accuracy(FirstPixels(), ArraySource(pictures(answers, xp=xp), labels), batch_size=batch_size)
    right = [answer == label for answer, label in zip(answers, labels, strict=True)]
    assert (result.images, result.correct) == (len(labels), sum(right))
    assert result.accuracy == sum(right) / len(right)
    assert result.class_histogram == {str(k): n for k, n in sorted(Counter(labels).items())}
    assert result.prediction_histogram == {str(k): n for k, n in sorted(Counter(answers).items())}
    assert result.chance == max(Counter(labels).values()) / len(labels)
    assert result.image_correct is not None
    assert result.image_correct.tolist() == right
    wanted = binomtest(sum(right), len(right)).proportion_ci(0.95, method="wilson")
    assert math.isclose(result.accuracy_interval[0], wanted.low, abs_tol=1e-9)
    assert math.isclose(result.accuracy_interval[1], wanted.high, abs_tol=1e-9)


def test_digests_are_those_of_the_images() -> None:
    source = ArraySource(pictures([0, 1, 2] * 50), [0] * 150)
    result = accuracy(FirstPixels(), source)
    assert result.image_digest is not None
    assert np.array_equal(result.image_digest, source.read(0, 150).digests)


@pytest.mark.parametrize(("limit", "images"), [(1, 1), (64, 64), (65, 65), (1000, 150), (None, 150)])
def test_limit_keeps_the_first_images(limit: int | None, images: int) -> None:
    result = accuracy(FirstPixels(), ArraySource(pictures([1] * 150), [1] * 70 + [2] * 80), limit=limit)
    assert (result.images, result.correct) == (images, min(images, 70))


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_of_nothing_is_refused(limit: int) -> None:
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        accuracy(FirstPixels(), ArraySource(pictures([1]), [1]), limit=limit)


def test_labels_behind_the_limit_are_not_looked_at() -> None:
    source = ArraySource(pictures([1, 1]), [1, CLASSES])
    assert accuracy(FirstPixels(), source, limit=1).correct == 1


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_nothing_is_refused(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}; accepted are whole numbers from 1"):
        accuracy(FirstPixels(), ArraySource(pictures([1]), [1]), batch_size=batch_size)


# Merging


@st.composite
def results(draw: st.DrawFn, *, confidence: float = 0.95) -> Accuracy:
    images = draw(st.integers(1, 20))
    flags = np.array(draw(st.lists(st.booleans(), min_size=images, max_size=images)))
    labels = draw(st.lists(st.integers(0, 12), min_size=images, max_size=images))
    arrays = draw(st.booleans())
    return Accuracy(
        images=images,
        correct=int(flags.sum()),
        class_histogram={str(k): n for k, n in sorted(Counter(labels).items())},
        prediction_histogram={str(k): n for k, n in sorted(Counter(reversed(labels)).items())},
        confidence=confidence,
        image_correct=flags if arrays else None,
        image_digest=np.arange(16 * images, dtype=np.uint8).reshape(images, 16) if arrays else None,
    )


@settings(deadline=None)
@given(results(), results(), results())
def test_merging_is_associative(a: Accuracy, b: Accuracy, c: Accuracy) -> None:
    assert a.merge(b).merge(c) == a.merge(b.merge(c))


@settings(deadline=None)
@given(answered, st.sets(st.integers(1, 199), max_size=5))
def test_merging_does_not_depend_on_where_the_data_is_cut(
    pair: tuple[list[int], list[int]], cuts: set[int]
) -> None:
    answers, labels = pair
    edges = [0, *sorted(cut for cut in cuts if cut < len(labels)), len(labels)]
    images = pictures(answers)
    parts = [accuracy(FirstPixels(), ArraySource(images[a:b], labels[a:b])) for a, b in pairwise(edges)]
    assert reduce(Accuracy.merge, parts) == accuracy(FirstPixels(), ArraySource(images, labels))


@settings(deadline=None)
@given(results())
def test_results_survive_json(result: Accuracy) -> None:
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    again = Accuracy.from_dict(content)
    assert again.to_dict() == content
    assert again == dataclasses.replace(result, image_correct=None, image_digest=None)


@settings(deadline=None)
@given(results())
def test_results_survive_pickling(result: Accuracy) -> None:
    assert pickle.loads(pickle.dumps(result)) == result


def test_equality_is_to_the_bit() -> None:
    source = ArraySource(pictures([0, 1, 2]), [0, 1, 1])
    result = accuracy(FirstPixels(), source)
    assert result == accuracy(FirstPixels(), source)
    for change in (
        {"confidence": 0.9},
        {"image_correct": np.array([True, False, True])},
        {"image_correct": None},
        {"image_digest": np.zeros((3, 16), np.uint8)},
    ):
        assert dataclasses.replace(result, **change) != result
    assert result != result.to_dict()
    with pytest.raises(TypeError, match="unhashable"):
        hash(result)


def test_every_estimate_has_an_interval() -> None:
    result = accuracy(FirstPixels(), ArraySource(pictures([0, 1, 2]), [0, 1, 1]), confidence=0.8)
    content = result.to_dict()
    low, high = content["accuracy_interval"]
    assert low < content["accuracy"] < high
    assert content["confidence"] == 0.8
    assert high - low < np.subtract(*dataclasses.replace(result, confidence=0.99).accuracy_interval[::-1])


@pytest.mark.parametrize(("correct", "images"), [(0, 0), (3, 2), (-1, 2)])
def test_counts_that_no_images_have_are_refused(correct: int, images: int) -> None:
    with pytest.raises(
        ValueError, match=f"{correct} of {images} images right: accepted are 0 <= correct <= images"
    ):
        Accuracy(images=images, correct=correct, class_histogram={}, prediction_histogram={})


# Chance


@pytest.mark.parametrize(
    ("right", "labels", "at_chance"),
    [
        (50, [0] * 50 + [1] * 50, True),
        (58, [0] * 50 + [1] * 50, True),
        (62, [0] * 50 + [1] * 50, False),
        (85, [0] * 80 + [1] * 20, True),
        (10, [0] * 100, False),
    ],
    ids=["half", "not clearly above", "above", "below the most frequent label", "one label"],
)
def test_chance_is_the_answer_that_never_looks(right: int, labels: list[int], at_chance: bool) -> None:
    answers = [label if i < right else (label + 1) % 2 for i, label in enumerate(labels)]
    assert accuracy(FirstPixels(), ArraySource(pictures(answers), labels)).at_chance is at_chance


@pytest.mark.parametrize(
    ("right", "labels", "told"),
    [
        (
            2,
            [0, 1],
            r"accuracy 1\.000 .* is above chance \(0\.500\), but 2 images are too few to establish it",
        ),
        (58, [0] * 50 + [1] * 50, r"is above chance \(0\.500\), but 100 images are too few"),
        (50, [0] * 50 + [1] * 50, r"is not above chance \(0\.500\): check --mean, --std"),
        (85, [0] * 90 + [1] * 10, r"is not above chance \(0\.900\): check --mean, --std"),
        (62, [0] * 50 + [1] * 50, None),
    ],
    ids=["two images", "not clearly above", "at chance", "below", "above"],
)
def test_too_few_images_are_not_taken_for_chance(right: int, labels: list[int], told: str | None) -> None:
    answers = [label if i < right else (label + 1) % 2 for i, label in enumerate(labels)]
    found = chance_findings(accuracy(FirstPixels(), ArraySource(pictures(answers), labels)))
    assert [finding.code for finding in found] == ([] if told is None else ["chance-level"])
    assert told is None or re.search(told, found[0].message)


# What does not fit


@pytest.mark.parametrize(("labels", "value", "index"), [([0, 4, 5, 1], 5, 2), ([0, 9, 9, 9], 9, 1)])
def test_labels_without_a_class_are_refused(labels: list[int], value: int, index: int) -> None:
    with pytest.raises(
        DataError,
        match=rf"label {value} of image {index} is no class of the model, which has 5 \(0 to 4\); .* --class-map",
    ):
        accuracy(FirstPixels(), ArraySource(pictures([0] * 4), labels))


@dataclasses.dataclass
class Strange:
    """A source that promises what it does not keep."""

    promised: Any
    given: Any
    names: tuple[str, ...] | None = None
    images: int = 3
    image_shape: tuple[int, int, int] = (1, 6, 6)

    @property
    def labels(self) -> Any:
        return self.promised

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.names

    def read(self, start: int, stop: int, /) -> Batch:
        images = pictures([0] * 3)[start:stop]
        digests = np.zeros((len(images), 16), np.uint8)
        return Batch(images=images, labels=self.given, digests=digests, start=start)

    def describe(self) -> dict[str, Any]:
        return {}


def test_negative_labels_are_refused() -> None:
    labels = np.array([0, -1, 0])
    with pytest.raises(DataError, match="label -1 of image 1 is no class of the model"):
        accuracy(FirstPixels(), Strange(labels, labels))


def test_names_of_another_number_of_classes_are_refused() -> None:
    labels = np.zeros(3, np.int64)
    names = ("cat", "dog", "bird", "fish")
    with pytest.raises(
        DataError, match=r"the data has 4 classes \(cat, dog, bird, …\), the model has 5; .* --class-map FILE"
    ):
        accuracy(FirstPixels(), Strange(labels, labels, names))
    assert accuracy(FirstPixels(classes=4), Strange(labels, labels, names)).correct == 3


def test_without_labels_there_is_no_accuracy() -> None:
    with pytest.raises(DataError, match=r"the images have no labels, .*; give them with --labels FILE"):
        accuracy(FirstPixels(), ArraySource(pictures([0])))
    with pytest.raises(DataError, match="the images have no labels"):
        accuracy(FirstPixels(), Strange(np.zeros(3, np.int64), None))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        accuracy(FirstPixels(), Strange(np.zeros(3, np.int64), np.zeros(0, np.int64)))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 3, 64, 149])
def test_logits_that_are_no_numbers_name_the_image(number: float, index: int) -> None:
    class Spoilt(FirstPixels):
        def logits(self, images: Any, /) -> Any:
            logits = np.array(super().logits(images))
            logits[images[:, 0, 1, 1] == 1, 2] = number
            return logits

    images = pictures([0] * 150)
    images[[index, min(index + 2, 149)], 0, 1, 1] = 1
    with pytest.raises(
        InvalidNumbers, match=rf"the logits of image {index} are NaN or infinite \([12] of \d+ images here\)"
    ):
        accuracy(Spoilt(), ArraySource(images, [0] * 150), batch_size=4)


def test_batch_logits_are_taken_a_few_at_a_time() -> None:
    classifier = FirstPixels()
    images = pictures([3, 1, 2, 0, 4], xp=array_api_strict)
    logits = batch_logits(classifier, images, start=0, batch_size=2)
    assert classifier.batches == [2, 2, 1]
    assert isinstance(logits, type(images))
    assert np.argmax(np.asarray(logits), axis=1).tolist() == [3, 1, 2, 0, 4]


def test_an_interrupted_accuracy_ends_in_the_same_bits(tmp_path: Path) -> None:
    source = ArraySource(pictures([0, 1, 2, 3, 4] * 60), [0, 1, 1, 3, 3] * 60)

    def checkpoint(*, resume: bool) -> Checkpoint:
        return Checkpoint(path=tmp_path / "partial.npz", fingerprint="f", resume=resume)

    def stop(images: int) -> None:
        if images == 192:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        accuracy(FirstPixels(), source, checkpoint=checkpoint(resume=False), progress=stop)
    classifier = FirstPixels()
    resumed = accuracy(classifier, source, checkpoint=checkpoint(resume=True))
    assert sum(classifier.batches) == 300 - 192
    assert resumed == accuracy(FirstPixels(), source)


# Memory


def save_many(path: Path, images: int) -> None:
    """Write a deflated archive of random images, a block at a time."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w") as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (images, 32, 32, 3)}
            np.lib.format.write_array_header_1_0(member, header)
            for _ in range(images // 500):
                member.write(rng.integers(0, 256, 500 * 3072, dtype=np.uint8).tobytes())
        with archive.open("labels.npy", "w") as member:
            np.lib.format.write_array(member, rng.integers(0, 10, images))


_PEAK = """
import resource, sys
import specprobe

source = specprobe.load_images(sys.argv[1])
result = specprobe.accuracy(specprobe.load(sys.argv[2], threads=1), source)
assert result.images == int(sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_memory(model: Path, data: Path, images: int) -> int:
    """Largest resident size of a process that measures the accuracy, in the system's unit."""
    command = [sys.executable, "-c", _PEAK, str(data), str(model), str(images)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_memory_does_not_grow_with_the_number_of_images(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 3, 32, 32] x) => (float[N, 10] y) '
    proto = onnx.parser.parse_model(text + "{ f = Flatten (x) y = MatMul (f, w) }")
    weight = np.random.default_rng(0).normal(size=(3072, 10)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    model = tmp_path / "model.onnx"
    onnx.save(proto, model)
    peaks = {}
    for images in (1_000, 10_000):
        data = tmp_path / f"{images}.npz"
        save_many(data, images)
        peaks[images] = peak_memory(model, data, images)
    record_property("peak_memory_ratio", peaks[10_000] / peaks[1_000])
    assert peaks[10_000] / peaks[1_000] <= 1.05


@pytest.mark.cuda
def test_cupy_images_stay_on_the_gpu() -> None:
    cupy = pytest.importorskip("cupy")
    answers, labels = [0, 1, 2] * 50, [0, 1, 1] * 50
    there = accuracy(FirstPixels(), ArraySource(pictures(answers, xp=cupy), labels))
    assert there == accuracy(FirstPixels(), ArraySource(pictures(answers), labels))


def test_the_package_offers_it() -> None:
    assert specprobe.accuracy is accuracy
