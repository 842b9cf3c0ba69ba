"""What the numerics ask of a model, of its kernels and of its data: no ONNX, no runtime, no file format here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from specprobe.arrays import Array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Batch",
    "Classifier",
    "Convolution",
    "DifferentiableClassifier",
    "ImageSource",
    "JointClassifier",
]


@runtime_checkable
class Classifier(Protocol):
    """A model that turns images into logits.

    Attributes
    ----------
    classes : int
        Number of logits, K.
    """

    @property
    def classes(self) -> int:
        """Number of logits, K."""
        ...

    def logits(self, images: Array, /) -> Array:
        """Logits of a batch.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].

        Returns
        -------
        array, shape (N, K)
            Of the same library and device as ``images``; may be read-only.
        """
        ...


@runtime_checkable
class DifferentiableClassifier(Classifier, Protocol):
    """A classifier that also gives gradients with respect to its images."""

    def gradient(
        self, images: Array, labels: Array, /, *, loss: str = "cross-entropy", targets: Array | None = None
    ) -> tuple[Array, Array]:
        """Losses, and the gradient of their sum.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].
        labels : array, shape (N,), integer
            Classes.
        loss : str
            Of the logits.
        targets : array, shape (N,), integer, optional
            For targeted losses.

        Returns
        -------
        losses : array, shape (N,)
            One an image.
        d_images : array, shape (N, C, H, W)
            With respect to the pixels.
        """
        ...

    def vjp(self, images: Array, cotangent: Array, /) -> Array:
        """Gradient of ``sum(cotangent * logits(images))``.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].
        cotangent : array, shape (N, K)
            Of the logits.

        Returns
        -------
        array, shape (N, C, H, W)
            With respect to the pixels.
        """
        ...


@runtime_checkable
class JointClassifier(DifferentiableClassifier, Protocol):
    """A classifier whose logits come with its gradient, at no further cost."""

    def logits_and_gradient(
        self, images: Array, labels: Array, /, *, loss: str = "cross-entropy", targets: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Logits, losses, and the gradient of the sum of the losses, in one run.

        Parameters
        ----------
        images, labels, loss, targets
            As of :meth:`DifferentiableClassifier.gradient`.

        Returns
        -------
        logits : array, shape (N, K)
            As of :meth:`Classifier.logits`, to rounding.
        losses : array, shape (N,)
            One an image.
        d_images : array, shape (N, C, H, W)
            With respect to the pixels.
        """
        ...

    def logits_and_vjp(self, images: Array, cotangent: Array, /) -> tuple[Array, Array]:
        """Logits, and the gradient of ``sum(cotangent * logits(images))``, in one run.

        Parameters
        ----------
        images, cotangent
            As of :meth:`DifferentiableClassifier.vjp`.

        Returns
        -------
        logits : array, shape (N, K)
            As of :meth:`Classifier.logits`, to rounding.
        d_images : array, shape (N, C, H, W)
            With respect to the pixels.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Consecutive images of one source.

    Attributes
    ----------
    images : array, shape (N, C, H, W), float32
        Pixels in [0, 1].
    labels : numpy.ndarray of int64, shape (N,), or None
        Model classes; None where the source has no labels.
    digests : numpy.ndarray of uint8, shape (N, 16)
        BLAKE2b of each image's pixels (C-ordered float32, little endian) as they are in ``images``.
    start : int
        Index in the source of the first image.
    """

    images: Array
    labels: "NDArray[np.int64] | None"
    digests: "NDArray[np.uint8]"
    start: int


@runtime_checkable
class ImageSource(Protocol):
    """Images in a fixed order, read a few at a time. Picklable: workers open their own files.

    Attributes
    ----------
    images : int
        How many.
    image_shape : (int, int, int)
        C, H, W of every image.
    labels : numpy.ndarray of int64, shape (images,), or None
        Model classes.
    class_names : tuple of str or None
        Names that the source itself gives to its classes.
    """

    @property
    def images(self) -> int:
        """Number of images."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W of every image."""
        ...

    @property
    def labels(self) -> "NDArray[np.int64] | None":
        """Model class of every image, or None."""
        ...

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names that the source itself gives to its classes, or None."""
        ...

    def read(self, start: int, stop: int, /) -> Batch:
        """Images ``start`` to ``stop − 1``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start < stop <= images``.

        Returns
        -------
        Batch
            Decoded.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Format, name and counts for the provenance, as JSON values.

        Returns
        -------
        dict
            Holds no absolute path.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """One convolution's kernels, whatever operator and file layout they come from.

    Attributes
    ----------
    name : str
        Node name, or its first output's name.
    operator : str
        ``Conv``, ``ConvTranspose``, ``QLinearConv``, ``ConvInteger``, ``DeformConv``.
    weight : array, shape (out_channels, in_channels / groups, *kernel)
        Real (dequantised) weights; transposed convolutions are brought to this layout.
    groups : int
        Output channels come in this many equal consecutive groups.
    depth : int
        Number of nodes on the longest path from a graph input to this node, counting only the node levels that
        hold a convolution: 0 for the first.
    batch_norm : {"folded", "separate", "none", "unknown"}
        What is known of a BatchNormalization behind this convolution.
    shared_with : tuple of str
        Names of further nodes that use the same weights.
    """

    name: str
    operator: str
    weight: Array
    groups: int = 1
    depth: int = 0
    batch_norm: str = "unknown"
    shared_with: tuple[str, ...] = ()
