"""Classifiers with known answers, for attacks."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specprobe.arrays import like, namespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (3, 6, 6)


class LinearClassifier:
    """Logits W · x + b, gradients of logits and cross-entropy written by hand; counts what it is asked."""

    def __init__(self, weights: "NDArray[np.float32]", bias: "NDArray[np.float32] | None" = None) -> None:
        self.weights = weights.astype(np.float32)
        self.bias = np.zeros(len(weights), np.float32) if bias is None else bias.astype(np.float32)
        self.batches: list[int] = []

    @property
    def classes(self) -> int:
        return len(self.weights)

    def logits(self, images: Any, /) -> Any:
        self.batches.append(images.shape[0])
        xp = namespace(images)
        flat = xp.reshape(images, (images.shape[0], -1))
        return flat @ like(self.weights.reshape(self.classes, -1).T.copy(), images) + like(self.bias, images)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        xp = namespace(images)
        product = cotangent @ like(self.weights.reshape(self.classes, -1), images)
        return xp.reshape(xp.astype(product, images.dtype), tuple(images.shape))

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> tuple[Any, Any]:
        xp = namespace(images)
        logits = self.logits(images)
        index = xp.arange(self.classes)
        chosen = xp.astype(index == labels[:, None], images.dtype)
        if loss == "cross-entropy":
            raised = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
            shares = raised / xp.sum(raised, axis=1, keepdims=True)
            return -xp.log(xp.sum(shares * chosen, axis=1)), self.vjp(images, shares - chosen)
        wanted = xp.astype(index == targets[:, None], images.dtype)
        return xp.sum(logits * (wanted - chosen), axis=1), self.vjp(images, wanted - chosen)


@pytest.fixture
def linear() -> "Callable[..., LinearClassifier]":
    """Makes linear classifiers with random weights."""

    def make(classes: int = 5, seed: int = 0) -> LinearClassifier:
        return LinearClassifier(np.random.default_rng(seed).normal(size=(classes, *SHAPE)).astype(np.float32))

    return make


@pytest.fixture
def pictures() -> "Callable[..., NDArray[np.float32]]":
    """Makes images; with ``saturated``, most pixels lie at 0 or 1."""

    def make(count: int = 7, seed: int = 0, *, saturated: bool = False) -> "NDArray[np.float32]":
        images = np.random.default_rng(seed).random((count, *SHAPE), dtype=np.float32)
        return np.clip(3 * images - 1, 0, 1) if saturated else images

    return make
