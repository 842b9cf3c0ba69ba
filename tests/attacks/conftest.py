"""Classifiers with known answers, written over the array API, that attacks are tried on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from specprobe.arrays import like, namespace
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.streams import Streams

SHAPE = (3, 6, 6)


class LinearClassifier:
    """Logits W · x + b. Nothing of an image's answer depends on the batch that it is in; batches are counted."""

    def __init__(self, weights: NDArray[Any], bias: "NDArray[Any] | None" = None) -> None:
        self.weights = np.asarray(weights, np.float32)
        self.bias = np.zeros(len(weights), np.float32) if bias is None else np.asarray(bias, np.float32)
        self.classes = len(weights)
        self.batches: list[int] = []

    def products(self, images: Any) -> Any:
        self.batches.append(images.shape[0])
        xp = namespace(images)
        parts = [xp.sum(images * like(w, images), axis=(1, 2, 3)) for w in self.weights]
        return xp.stack(parts, axis=1) + like(self.bias, images)

    def logits(self, images: Any, /) -> Any:
        return self.products(images)

    def slopes(self, images: Any) -> Any:
        """Derivative of each logit with respect to its product."""
        return namespace(images).ones((images.shape[0], self.classes), dtype=images.dtype)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        scaled = cotangent * self.slopes(images)
        parts = [scaled[:, k, None, None, None] * like(w, images) for k, w in enumerate(self.weights)]
        return sum(parts[1:], parts[0])

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        return self.logits_and_gradient(images, labels, loss=loss, targets=targets)[1:]

    def logits_and_gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        logits = self.logits(images)
        values, cotangent = loss_and_slope(logits, labels, loss, targets)
        return logits, values, self.vjp(images, cotangent)

    def logits_and_vjp(self, images: Any, cotangent: Any, /) -> Any:
        return self.logits(images), self.vjp(images, cotangent)


class WavyClassifier(LinearClassifier):
    """Each logit is a sine of such a product: there are many hills to climb."""

    def logits(self, images: Any, /) -> Any:
        return 3 * namespace(images).sin(self.products(images))

    def slopes(self, images: Any) -> Any:
        return 3 * namespace(images).cos(self.products(images))


class Counting:
    """A classifier, with how often it is asked and about how many images."""

    def __init__(self, classifier: Any) -> None:
        self.inner, self.classes = classifier, classifier.classes
        self.calls: dict[str, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self.inner, name)

        def call(images: Any, *rest: Any, **options: Any) -> Any:
            self.calls.setdefault(name, []).append(images.shape[0])
            return asked(images, *rest, **options)

        return call

    @property
    def images(self) -> int:
        return sum(map(sum, self.calls.values()))


def loss_and_slope(logits: Any, labels: Any, loss: str, targets: Any) -> tuple[Any, Any]:
    """Losses as in the gradient graphs, and their derivatives with respect to the logits."""
    xp = namespace(logits)
    classes = xp.arange(logits.shape[1])

    def one_hot(which: Any) -> Any:
        return xp.astype(classes[None, :] == which[:, None], logits.dtype)

    own = one_hot(labels)
    if loss == "cross-entropy":  # in differences to the label, which have digits where its share is nearly 1
        odds = xp.exp(logits - xp.sum(logits * own, axis=1, keepdims=True)) * (1 - own)
        total = xp.sum(odds, axis=1, keepdims=True)
        return xp.log1p(total)[:, 0], (odds - total * own) / (1 + total)
    ranked = xp.argsort(logits, axis=1, descending=True)
    first, third = one_hot(ranked[:, 0]), one_hot(ranked[:, 2])
    if loss == "dlr":
        lowered = xp.where(own > 0, xp.full_like(logits, -np.inf), logits)
        other, bottom = one_hot(xp.argmax(lowered, axis=1)), first - third
    else:
        assert loss == "targeted-dlr"
        other, bottom = one_hot(targets), first - (third + one_hot(ranked[:, 3])) / 2
    scale = xp.sum(bottom * logits, axis=1, keepdims=True) + 1e-12
    values = xp.sum((other - own) * logits, axis=1, keepdims=True) / scale
    return values[:, 0], (other - own - values * bottom) / scale


@pytest.fixture
def weighted() -> Callable[..., LinearClassifier]:
    """Makes a linear classifier from its weights, (K, C, H, W), and bias, (K,)."""
    return LinearClassifier


@pytest.fixture
def linear() -> Callable[..., LinearClassifier]:
    """Makes a classifier with random weights, linear or, with ``wavy``, a sine of that."""

    def make(
        classes: int = 5, seed: int = 0, *, wavy: bool = False, bias: "NDArray[Any] | None" = None
    ) -> LinearClassifier:
        weights = np.random.default_rng(seed).normal(size=(classes, *SHAPE))
        return (WavyClassifier if wavy else LinearClassifier)(weights, bias)

    return make


@pytest.fixture
def pictures() -> Callable[..., NDArray[np.float32]]:
    """Makes images; with ``saturated``, most pixels lie at 0 or 1."""

    def make(count: int = 7, seed: int = 0, *, saturated: bool = False) -> NDArray[np.float32]:
        images = np.random.default_rng(seed).random((count, *SHAPE), dtype=np.float32)
        return np.clip(3 * images - 1, 0, 1) if saturated else images

    return make


@pytest.fixture
def counting() -> Callable[[Any], Counting]:
    """Makes a classifier that counts from one."""
    return Counting


@pytest.fixture
def attackable(pictures: Any) -> Callable[..., tuple[Oracle, Streams]]:
    """Makes an oracle over images, labelled as the classifier answers, and its streams.

    ``rows`` takes some of the images; they keep their place in the source, and so their random numbers.
    """

    def make(
        classifier: Any, count: int = 12, *, rows: Any = None, placed: Callable[[Any], Any] = np.asarray
    ) -> tuple[Oracle, Streams]:
        pixels = pictures(count, 1)
        pixels[:, :, 0] = np.round(pixels[:, :, 0])  # a row of pixels at the ends of their range
        index = np.arange(count) if rows is None else np.asarray(rows)
        labels = np.asarray(classifier.logits(pixels)).argmax(axis=1)[index]
        images = placed(pixels[index])
        return Oracle(classifier, images, labels, index, batch_size=5), Streams(3, "test", index, like=images)

    return make
