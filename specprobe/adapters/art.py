"""Networks as classifiers of the Adversarial Robustness Toolbox (ART)."""

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.finite_differences import losses_of_logits
from specprobe.arrays import to_host
from specprobe.errors import InputMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.runtime.network import Network

__all__ = ["art_classifier"]

_LOSSES = ("cross-entropy", "margin", "dlr")
"""Those that grow as the label becomes less likely, as ART's attacks expect, and take no target beside it."""

_REDUCTIONS: "dict[str, Callable[[NDArray[Any]], Any]]" = {
    "none": lambda losses: losses,
    "mean": np.mean,
    "sum": np.sum,
}


def art_classifier(network: "Network", /, *, loss: str = "cross-entropy", batch_size: int = 128) -> Any:
    """Wrap a network for ART's attacks, with and without gradients.

    Parameters
    ----------
    network : Network
        With two classes or more.
    loss : {"cross-entropy", "margin", "dlr"}
        What ``loss_gradient`` and ``compute_loss`` are of.
    batch_size : int
        Images differentiated at once; attacks that work in smaller batches keep theirs.

    Returns
    -------
    art.estimators.classification.classifier.ClassifierNeuralNetwork
        Takes pixels in [0, 1], NCHW, as NumPy arrays. ``predict`` returns logits, never probabilities.
        Labels are class indices or one-hot rows.

    Raises
    ------
    ImportError
        If ART is not installed.
    InputMismatch
        If the network has one class, or another loss is asked for.
    """
    if loss not in _LOSSES:
        msg = f"loss is '{loss}'; for ART's attacks, which go up the loss, accepted are {', '.join(_LOSSES)}"
        raise InputMismatch(msg)
    if network.classes < 2:
        msg = f"{network.path.name} has {network.classes} output; ART needs a logit for each of two classes or more"
        raise InputMismatch(msg)
    return _classifier_class()(network, loss, batch_size)


@cache
def _classifier_class() -> Any:
    """The class, which cannot be written before its base is imported."""
    from art.estimators.classification.classifier import ClassifierNeuralNetwork

    class SpecprobeClassifier(ClassifierNeuralNetwork):  # type: ignore[misc]
        """Logits and gradients of a network."""

        _layer_names: list[str] | None = None

        def __init__(self, network: "Network", loss: str, batch_size: int) -> None:
            # No preprocessing of ART's: the network does its own, and standardising by (0, 1) would copy the images.
            super().__init__(model=network, clip_values=(0.0, 1.0), channels_first=True, preprocessing=None)
            self.nb_classes = network.classes
            self._loss = loss
            self._batch_size = batch_size

        @property
        def input_shape(self) -> tuple[int, int, int]:
            """C, H, W."""
            return self.model.image_shape  # type: ignore[no-any-return]

        def predict(self, x: "NDArray[Any]", batch_size: int = 128, **_: Any) -> "NDArray[np.float32]":
            """Logits, (N, K)."""
            x, _y = self._apply_preprocessing(x, None, fit=False)
            logits = _in_batches(self.model.logits, batch_size, x)
            return self._apply_postprocessing(logits, fit=False)  # type: ignore[no-any-return]

        def compute_loss(
            self, x: "NDArray[Any]", y: "NDArray[Any]", reduction: str = "none", **_: Any
        ) -> "NDArray[np.float64]":
            """Losses, (N,), or their mean or sum."""
            if reduction not in _REDUCTIONS:
                msg = f"reduction is '{reduction}'; accepted are {', '.join(_REDUCTIONS)}"
                raise InputMismatch(msg)
            x, y = self._apply_preprocessing(x, y, fit=False)
            logits = _in_batches(self.model.logits, self._batch_size, x)
            losses = losses_of_logits(logits, _classes(y, len(x), self.nb_classes), loss=self._loss)
            return np.asarray(_REDUCTIONS[reduction](losses))

        def loss_gradient(self, x: "NDArray[Any]", y: "NDArray[Any]", **_: Any) -> "NDArray[np.float32]":
            """Gradient of the sum of the losses, of the shape of ``x``."""
            inner, y = self._apply_preprocessing(x, y, fit=False)
            labels = _classes(y, len(inner), self.nb_classes)
            gradient = partial(self.model.gradient, loss=self._loss)
            d_inner = _in_batches(lambda *batch: gradient(*batch)[1], self._batch_size, inner, labels)
            return self._apply_preprocessing_gradient(x, d_inner)  # type: ignore[no-any-return]

        def class_gradient(
            self, x: "NDArray[Any]", label: "int | list[int] | NDArray[Any] | None" = None, **_: Any
        ) -> "NDArray[np.float32]":
            """Gradients of logits: (N, K, C, H, W), or (N, 1, C, H, W) for one class, or one class an image."""
            inner, _y = self._apply_preprocessing(x, None, fit=False)
            count, classes = len(inner), self.nb_classes
            wanted: list[Any] = list(range(classes)) if label is None else [label]
            gradients = []
            for each in wanted:
                rows = _classes(np.broadcast_to(each, count) if np.ndim(each) == 0 else each, count, classes)
                d_inner = _in_batches(
                    self.model.vjp, self._batch_size, inner, np.eye(classes, dtype=np.float32)[rows]
                )
                gradients.append(self._apply_preprocessing_gradient(x, d_inner))
            return np.stack(gradients, axis=1)

        def fit(self, x: "NDArray[Any]", y: "NDArray[Any]", **_: Any) -> None:
            """Refuse."""
            msg = (
                f"{self.model.path.name} is not trained through ART: train the original, and export it again"
            )
            raise NotImplementedError(msg)

        def get_activations(
            self, x: "NDArray[Any]", layer: int | str, batch_size: int = 128, framework: bool = False
        ) -> "NDArray[Any]":
            """Refuse."""
            msg = (
                f"activations of {self.model.path.name} are not given to ART; "
                f"specprobe.load(..., output_name={layer!r}) opens the file at another tensor of shape [N, K]"
            )
            raise NotImplementedError(msg)

        def save(self, filename: str, path: str | None = None) -> None:
            """Refuse."""
            msg = f"the model is a file already: copy {self.model.path}"
            raise NotImplementedError(msg)

    return SpecprobeClassifier


def _in_batches(run: "Callable[..., Any]", size: int, *arrays: "NDArray[Any]") -> "NDArray[Any]":
    """Results of ``run``, one batch after the other, in an array that attacks may write into."""
    starts = range(0, max(len(arrays[0]), 1), size)
    return np.concatenate([to_host(run(*(part[i : i + size] for part in arrays))) for i in starts])


def _classes(y: Any, count: int, classes: int) -> "NDArray[np.int64]":
    """Class indices of labels in any of ART's forms.

    Rows with several equal entries, which ART makes of equal logits, count as their first class. Others that are
    not one-hot would need another loss, and indices that are no class a NaN that ART's attacks replace by 0.
    """
    labels = np.asarray(y)
    if labels.shape == (count, classes):
        largest = labels.max(axis=1, keepdims=True, initial=0)
        if np.any(largest <= 0) or np.any((labels != 0) & (labels != largest)):
            msg = "labels are rows of several weights; accepted are one-hot rows and class indices"
            raise InputMismatch(msg)
        return np.asarray(labels.argmax(axis=1), np.int64)
    if labels.shape not in ((count,), (count, 1)):
        msg = (
            f"labels have shape {labels.shape}; accepted are {count} class indices, "
            f"or one-hot rows of shape {(count, classes)}"
        )
        raise InputMismatch(msg)
    indices = labels.reshape(count)
    accepted = (indices == np.floor(indices)) & (indices >= 0) & (indices < classes)
    if not np.all(accepted):
        msg = f"label {indices[~accepted][0]} is no class; accepted are 0 to {classes - 1}"
        raise InputMismatch(msg)
    return indices.astype(np.int64)
