"""How far a Fourier basis image moves the tensors inside a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import InvalidNumbers
from specprobe.protocols import Classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LayerTap", "TensorClassifier"]


@runtime_checkable
class TensorClassifier(Classifier, Protocol):
    """A classifier that gives tensors from inside it beside its logits."""

    def tensors(self, images: Array, names: Sequence[str], /) -> tuple[Array, ...]:
        """Logits and tensors in one run.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].
        names : sequence of str
            Of the tensors.

        Returns
        -------
        tuple of array
            Logits (N, K), then each tensor (N, ...).
        """
        ...


@dataclass(slots=True, kw_only=True)
class LayerTap:
    """A classifier whose tensors are compared with those of clean images, as its logits are asked for.

    Attributes
    ----------
    classifier : TensorClassifier
        The model.
    names : tuple of str
        Of L tensors.
    start : int
        Index in its source of the first clean image, for messages.
    """

    classifier: TensorClassifier
    names: tuple[str, ...]
    start: int = 0
    _clean: list[Array] = field(default_factory=list, init=False)
    _latest: list[Array] = field(default_factory=list, init=False)

    @property
    def classes(self) -> int:
        """Number of logits, K."""
        return self.classifier.classes

    def logits(self, images: Array, /) -> Array:
        """Logits of a batch, whose tensors are kept until the next one.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].

        Returns
        -------
        array, shape (N, K)
            Of the library and device of ``images``.
        """
        logits, *tensors = self.classifier.tensors(images, self.names)
        self._latest = [_flat(tensor) for tensor in tensors]
        return logits

    def keep_clean(self, images: Array, /, *, batch_size: int) -> Array:
        """Classify clean images and keep their tensors.

        Parameters
        ----------
        images : array, shape (N, C, H, W)
            As they are.
        batch_size : int
            Images run at once.

        Returns
        -------
        array, shape (N, K)
            Logits, not checked.
        """
        parts, tensors = [], []
        count = images.shape[0]
        for first in range(0, count, batch_size):
            parts.append(self.logits(images[first : min(first + batch_size, count), ...]))
            tensors.append(self._latest)
        xp = namespace(*parts)
        self._clean = [xp.concat(list(layer), axis=0) for layer in zip(*tensors, strict=True)]
        return xp.concat(parts, axis=0)

    def norms(self) -> "NDArray[np.float64]":
        """L2 norms of the clean tensors.

        Returns
        -------
        numpy.ndarray of float64, shape (N, L)
            Of each image.
        """
        return np.stack([_norm(layer) for layer in self._clean], axis=1)

    def changes(self, rows: "NDArray[np.int64]", /) -> "NDArray[np.float64]":
        """L2 norms of the difference of the latest tensors and the clean ones.

        Parameters
        ----------
        rows : numpy.ndarray of int64, shape (B,)
            Which clean image each of the latest was made of.

        Returns
        -------
        numpy.ndarray of float64, shape (B, L)
            Of each image.

        Raises
        ------
        InvalidNumbers
            If a tensor is NaN or infinite; names image and tensor.
        """
        found = np.empty((len(rows), len(self.names)))
        for n, (latest, clean) in enumerate(zip(self._latest, self._clean, strict=True)):
            xp = namespace(latest)
            with np.errstate(invalid="ignore"):  # infinities are refused below
                found[:, n] = _norm(latest - xp.take(clean, like(rows, clean), axis=0))
        fine = np.isfinite(found)
        if not fine.all():
            row, n = np.argwhere(~fine)[0]
            msg = (
                f"tensor '{self.names[n]}' of image {self.start + int(rows[row])} is NaN or infinite, as it is or with "
                "a frequency added; leave it out, or check the preprocessing recipe"
            )
            raise InvalidNumbers(msg)
        return found


def _flat(tensor: Array) -> Array:
    xp = namespace(tensor)
    rows = xp.reshape(tensor, (tensor.shape[0], -1))
    return rows if rows.dtype == xp.float64 else xp.astype(rows, xp.float32)


def _norm(rows: Array) -> "NDArray[np.float64]":
    xp = namespace(rows)
    wide = xp.astype(rows, xp.float64)
    norms: NDArray[np.float64] = to_host(xp.sqrt(xp.sum(wide * wide, axis=1)))
    return norms
