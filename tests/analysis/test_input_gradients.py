"""Gradients of batches: whose class they are of, and how they are brought to one size."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specprobe.analysis.input_gradients import (
    checked_source,
    input_gradients,
    logits_and_gradient,
    unit_gradients,
)
from specprobe.errors import DataError, EmptyInput, InputMismatch, InvalidNumbers
from specprobe.images import ArraySource
from specprobe.protocols import Batch

if TYPE_CHECKING:
    from collections.abc import Callable


class Labelled:
    """The gradient of each image is filled with the class that it was asked for."""

    classes = 5

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def logits(self, images: Any, /) -> Any:
        return images[:, 0, 0, :5]

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        self.asked.append((len(labels), loss))
        return np.zeros(len(labels)), np.ones_like(images) * np.asarray(labels)[:, None, None, None]

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        raise NotImplementedError


def pictures(answers: list[int]) -> Any:
    images = np.zeros((len(answers), 1, 6, 6), np.float32)
    images[np.arange(len(answers)), 0, 0, answers] = 1
    return images


def made(batch: Batch, target: Any, classifier: Labelled | None = None) -> Any:
    return input_gradients(
        classifier or Labelled(), batch, target=target, loss="margin", batch_size=2, confidence=0.95
    )


@pytest.mark.parametrize(("target", "classes"), [("true", [1, 1, 4]), ("predicted", [1, 2, 3])])
def test_the_loss_is_of_the_class_asked_for(target: str, classes: list[int]) -> None:
    classifier = Labelled()
    found = made(ArraySource(pictures([1, 2, 3]), [1, 1, 4]).read(0, 3), target, classifier)
    assert found.gradients[:, 0, 0, 0].tolist() == classes
    assert classifier.asked == [(2, "margin"), (1, "margin")]
    assert (found.accuracy.correct, found.accuracy.images) == (1, 3)


def test_without_labels_the_model_says_the_class() -> None:
    batch = ArraySource(pictures([1, 2, 3])).read(0, 3)
    found = made(batch, "predicted")
    assert found.accuracy is None
    assert found.gradients[:, 0, 0, 0].tolist() == [1, 2, 3]
    with pytest.raises(
        DataError, match="no labels; give them with --labels FILE, or take --target predicted"
    ):
        made(batch, "true")


def test_an_empty_batch_is_refused() -> None:
    batch = Batch(
        images=pictures([]), labels=np.zeros(0, np.int64), digests=np.zeros((0, 16), np.uint8), start=0
    )
    with pytest.raises(EmptyInput, match="there are no images to analyse"):
        made(batch, "true")


def test_logits_that_are_no_numbers_name_the_image() -> None:
    images = pictures([0, 1])
    images[1, 0, 0, 1] = np.nan
    batch = Batch(images=images, labels=np.array([0, 1]), digests=np.zeros((2, 16), np.uint8), start=64)
    with pytest.raises(InvalidNumbers, match="the logits of image 65 are NaN"):
        made(batch, "true")


def test_labels_decide_the_target_unless_it_is_said() -> None:
    labelled, bare = ArraySource(pictures([0, 1]), [0, 1]), ArraySource(pictures([0, 1]))
    for source, asked, chosen in (
        (labelled, None, "true"),
        (labelled, "predicted", "predicted"),
        (bare, None, "predicted"),
        (bare, "predicted", "predicted"),
    ):
        assert checked_source(Labelled(), source, None, target=asked, limit=None) == (source, 2, chosen)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the images have no labels; give them with --labels FILE"):
        checked_source(Labelled(), bare, None, target="true", limit=None)
    with pytest.raises(
        ValueError, match=r"target is 'ture'; accepted are 'true' \(the labels\) and 'predicted'"
    ):
        checked_source(Labelled(), bare, None, target="ture", limit=None)  # type: ignore[arg-type]


def test_arrays_and_their_labels_become_a_source() -> None:
    source, count, target = checked_source(Labelled(), pictures([0, 1, 2]), [0, 1, 1], target=None, limit=2)
    assert (source.images, count, target) == (3, 2, "true")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 1]
    with pytest.raises(InputMismatch, match="labels are given beside a source of images, which has its own"):
        checked_source(Labelled(), source, [0, 1, 1], target=None, limit=None)
    with pytest.raises(DataError, match="label 5 of image 1 is no class of the model"):
        checked_source(Labelled(), pictures([0, 1]), [0, 5], target=None, limit=None)


def test_a_classifier_without_gradient_is_refused() -> None:
    class Plain:
        classes = 5

        def logits(self, images: Any, /) -> Any:
            return images[:, 0, 0, :5]

    with pytest.raises(TypeError, match="Plain has no gradient; accepted are classifiers that have one"):
        checked_source(Plain(), pictures([0]), None, target=None, limit=None)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_unit_gradients_do_not_depend_on_the_size(scale: float, placed: "Callable[[Any], Any]") -> None:
    plain = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
    scaled, norm, usable = unit_gradients(placed((plain * np.float32(scale)).astype(np.float32)))
    wanted = plain / np.abs(plain).max(axis=(1, 2, 3), keepdims=True)
    tolerance = 5e-2 if scale == 1e-42 else 1e-6  # what is left of the digits of a denormal number
    np.testing.assert_allclose(np.asarray(scaled), wanted, atol=tolerance)
    np.testing.assert_allclose(norm, scale * np.linalg.norm(plain.reshape(3, -1), axis=1), rtol=tolerance)
    assert usable.all()


def test_gradients_that_are_none_are_marked_and_zero(placed: "Callable[[Any], Any]") -> None:
    plain = np.ones((5, 1, 2, 2), np.float32)
    plain[1], plain[2, 0, 0, 0], plain[3, 0, 1, 1] = 0, np.nan, -np.inf
    scaled, _, usable = unit_gradients(placed(plain))
    assert usable.tolist() == [True, False, False, False, True]
    assert np.asarray(scaled)[:, 0, 0, 1].tolist() == [1, 0, 0, 0, 1]


class Joint(Labelled):
    """Gives logits with its gradient, and counts how often it is run."""

    runs = 0

    def logits(self, images: Any, /) -> Any:
        self.runs += 1
        return super().logits(images)

    def logits_and_gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        self.runs += 1
        return super().logits(images), *super().gradient(images, labels, loss=loss, targets=targets)

    def logits_and_vjp(self, images: Any, cotangent: Any, /) -> Any:
        raise NotImplementedError


def test_a_classifier_that_gives_both_is_run_once_a_batch() -> None:
    batch = ArraySource(pictures([1, 2, 3]), [1, 1, 4]).read(0, 3)
    joint, apart = Joint(), Labelled()
    one, two = made(batch, "true", joint), made(batch, "true", apart)
    assert joint.runs == 2  # three images, two at a time
    assert np.array_equal(one.gradients, two.gradients)
    assert one.accuracy == two.accuracy


def test_both_are_had_from_either_kind() -> None:
    images, labels = pictures([1, 2, 3]), np.array([1, 1, 4])
    for classifier in (Joint(), Labelled()):
        logits, losses, gradients = logits_and_gradient(classifier, images, labels, loss="margin")
        assert np.array_equal(logits, images[:, 0, 0, :5])
        assert losses.tolist() == [0, 0, 0]
        assert gradients[:, 0, 0, 0].tolist() == [1, 1, 4]
