"""What an attack may ask of a classifier, and how often it did."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.input_gradients import logits_and_gradient, logits_and_vjp
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.attacks.rows import take
from specprobe.errors import InvalidNumbers
from specprobe.protocols import DifferentiableClassifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.protocols import Classifier

__all__ = ["Oracle"]


class Oracle:
    """A classifier and the images that it is to be turned against.

    Parameters
    ----------
    classifier : Classifier
        Under attack. Gradients need a :class:`~specprobe.protocols.DifferentiableClassifier`.
    images : array, shape (N, C, H, W)
        Clean pixels in [0, 1].
    labels : numpy.ndarray of int64, shape (N,)
        Class of each, which the attack is to move it away from.
    index : numpy.ndarray of int64, shape (N,)
        Place of each in its source: it keys the random numbers.
    batch_size : int
        Images run at once.

    Attributes
    ----------
    forward_evaluations, gradient_evaluations : numpy.ndarray of int64, shape (N,)
        How often each image was classified, and how often classified and differentiated. An image of
        ``gradient`` counts in the second alone.

    Notes
    -----
    ``rows`` says which of the N images a batch belongs to, in any order: attacks ask for those that still stand.
    """

    def __init__(
        self,
        classifier: "Classifier",
        images: Array,
        labels: "NDArray[np.int64]",
        index: "NDArray[np.int64]",
        /,
        *,
        batch_size: int = 32,
    ) -> None:
        self.classifier = classifier
        self.images, self.labels, self.index = images, labels, index
        self.batch_size = batch_size
        self.forward_evaluations = np.zeros(len(labels), np.int64)
        self.gradient_evaluations = np.zeros(len(labels), np.int64)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of logits, K."""
        return self.classifier.classes

    def take(self, rows: "NDArray[np.integer[Any]]", /) -> "Oracle":
        """Oracle over some of the images, with counts of its own.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            Which.

        Returns
        -------
        Oracle
            Over copies of these images.
        """
        return Oracle(
            self.classifier,
            self.clean(rows),
            self.labels[rows],
            self.index[rows],
            batch_size=self.batch_size,
        )

    def clean(self, rows: "NDArray[np.integer[Any]]", /) -> Array:
        """Clean images of ``rows``.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            Which.

        Returns
        -------
        array, shape (n, C, H, W)
            In the order of ``rows``; the images themselves where these are all rows.
        """
        return take(self.images, rows)

    def logits(self, images: Array, rows: "NDArray[np.integer[Any]]", /) -> Array:
        """Logits of candidates.

        Parameters
        ----------
        images : array, shape (n, C, H, W)
            One candidate for each of ``rows``.
        rows : numpy.ndarray of int, shape (n,)
            Which images these are candidates for.

        Returns
        -------
        array, shape (n, K)
            Of the library and device of ``images``.

        Raises
        ------
        InvalidNumbers
            If a logit is NaN or infinite.
        """
        np.add.at(self.forward_evaluations, rows, 1)
        (logits,) = self._batched(lambda part: (self.classifier.logits(images[part, ...]),), len(rows))
        return self._finite(logits, rows)

    def gradient(
        self,
        images: Array,
        rows: "NDArray[np.integer[Any]]",
        /,
        *,
        loss: str = "cross-entropy",
        targets: "NDArray[np.int64] | None" = None,
    ) -> tuple[Array, Array, Array]:
        """Logits, losses and their gradients at candidates.

        Parameters
        ----------
        images : array, shape (n, C, H, W)
            One candidate for each of ``rows``.
        rows : numpy.ndarray of int, shape (n,)
            Which images these are candidates for; their labels are those of the loss.
        loss : str
            As of :mod:`specprobe.autodiff.losses`; growing as the label becomes less likely.
        targets : numpy.ndarray of int64, shape (n,), optional
            For targeted losses.

        Returns
        -------
        logits : array, shape (n, K)
            At the candidates.
        losses : array, shape (n,)
            One a candidate.
        gradients : array, shape (n, C, H, W)
            With respect to the pixels.

        Raises
        ------
        TypeError
            If the classifier has no gradient.
        ValueError
            If the loss is ``logit``.
        InvalidNumbers
            If a logit is NaN or infinite.
        """
        if loss == "logit":
            msg = "the loss 'logit' falls as the label becomes less likely; attacks climb cross-entropy, margin or dlr"
            raise ValueError(msg)
        np.add.at(self.gradient_evaluations, rows, 1)
        classifier, labels = self._differentiable(), self.labels[rows]

        def run(part: slice) -> tuple[Array, ...]:
            given = [None if x is None else like(x[part], images) for x in (labels, targets)]
            return logits_and_gradient(classifier, images[part, ...], given[0], loss=loss, targets=given[1])

        logits, losses, gradients = self._batched(run, len(rows))
        return self._finite(logits, rows), losses, gradients

    def differences(
        self, images: Array, rows: "NDArray[np.integer[Any]]", classes: "NDArray[np.int64]", /
    ) -> tuple[Array, Array]:
        """Logit differences z_k − z_y at candidates, and their gradients.

        Parameters
        ----------
        images : array, shape (n, C, H, W)
            One candidate for each of ``rows``.
        rows : numpy.ndarray of int, shape (n,)
            Which images these are candidates for; y is their label.
        classes : numpy.ndarray of int64, shape (n,)
            k, another class for each.

        Returns
        -------
        logits : array, shape (n, K)
            At the candidates.
        gradients : array, shape (n, C, H, W)
            Of the difference with respect to the pixels.

        Raises
        ------
        TypeError
            If the classifier has no gradient.
        InvalidNumbers
            If a logit is NaN or infinite.
        """
        np.add.at(self.gradient_evaluations, rows, 1)
        classifier, labels = self._differentiable(), self.labels[rows]
        cotangent = np.zeros((len(rows), self.classes), np.float32)
        cotangent[np.arange(len(rows)), classes] += 1
        cotangent[np.arange(len(rows)), labels] -= 1

        def run(part: slice) -> tuple[Array, ...]:
            batch = images[part, ...]
            return logits_and_vjp(classifier, batch, like(cotangent[part], images))

        logits, gradients = self._batched(run, len(rows))
        return self._finite(logits, rows), gradients

    def fooled(self, logits: Array, rows: "NDArray[np.integer[Any]]", /) -> "NDArray[np.bool_]":
        """Whether candidates are classified as something else than their label.

        Parameters
        ----------
        logits : array, shape (n, K)
            Of the candidates.
        rows : numpy.ndarray of int, shape (n,)
            Which images these are candidates for.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            By the largest logit, the first one where several are largest, as in the accuracy.
        """
        answers = to_host(namespace(logits).argmax(logits, axis=1))
        return np.asarray(answers != self.labels[rows])

    def _differentiable(self) -> DifferentiableClassifier:
        if not isinstance(self.classifier, DifferentiableClassifier):
            msg = (
                f"{type(self.classifier).__name__} has no gradient, which this attack needs; "
                "the attack 'square' needs none"
            )
            raise TypeError(msg)
        return self.classifier

    def _batched(self, run: "Callable[[slice], tuple[Array, ...]]", count: int) -> tuple[Array, ...]:
        parts = [
            run(slice(start, min(start + self.batch_size, count)))
            for start in range(0, count, self.batch_size)
        ]
        if len(parts) == 1:
            return parts[0]
        xp = namespace(*parts[0])
        return tuple(xp.concat(list(made), axis=0) for made in zip(*parts, strict=True))

    def _finite(self, logits: Array, rows: "NDArray[np.integer[Any]]") -> Array:
        xp = namespace(logits)
        fine = xp.all(xp.isfinite(logits), axis=1)
        if not bool(xp.all(fine)):
            row = int(np.argmin(to_host(fine)))
            msg = (
                f"the logits of image {int(self.index[rows[row]])}, as perturbed, are NaN or infinite: "
                "check the preprocessing recipe and the export"
            )
            raise InvalidNumbers(msg)
        return logits
