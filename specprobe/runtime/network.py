"""A classifier in a file: a recipe that any process can open."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from specprobe.arrays import Array, like, namespace
from specprobe.autodiff.losses import LOSSES
from specprobe.errors import InputMismatch, ModelError
from specprobe.findings import Finding
from specprobe.graph.limits import Limits
from specprobe.graph.load import ModelFile, open_model
from specprobe.recipe import Preprocessing
from specprobe.runtime.device import Device, check_threads
from specprobe.runtime.opened import Opened, Run, halving, in_batches
from specprobe.runtime.prepare import prepare
from specprobe.runtime.session import choose_device

__all__ = ["Network", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What it takes to open a classifier anywhere. Picklable, and itself a classifier: one session per process.

    Attributes
    ----------
    path : pathlib.Path
        The ``.onnx`` file.
    sha256 : str
        Of that file; a worker that finds another file there refuses it.
    preprocessing : Preprocessing
        Resolved.
    image_shape : (int, int, int)
        C, H, W of the images it takes.
    classes : int
        Number of logits, K, at least 2.
    input, output : str or None
        Names in the file, as asked for.
    fixed_inputs : tuple of (str, float)
        Further inputs of the file, and what fills them.
    batch : int or None
        Batch size that the model insists on; larger ones are run in turn.
    device : Device
        Where it runs.
    threads : int or None
        For one operator; None for all that the process may use.
    limits : Limits
        Caps it was opened under.
    findings : tuple of Finding
        What was done to the graph.
    """

    path: Path
    sha256: str
    preprocessing: Preprocessing
    image_shape: tuple[int, int, int]
    classes: int
    input: str | None = None
    output: str | None = None
    fixed_inputs: tuple[tuple[str, float], ...] = ()
    batch: int | None = None
    device: Device = field(default_factory=Device)
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    findings: tuple[Finding, ...] = ()

    def logits(self, images: Array, /) -> Array:
        """Logits of a batch of any size.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1]. NumPy arrays are copied to the device and back where it is not the CPU.

        Returns
        -------
        array, shape (N, K), float32
            Of the same library and device as ``images``; may be read-only.

        Raises
        ------
        InputMismatch
            If the images have another shape than the model takes.
        ModelError
            If the runtime cannot evaluate the model, or has no room even for one batch of the smallest size.
        """
        images = self._checked(images)
        if images.shape[0] == 0:
            return like(np.empty((0, self.classes), np.float32), images)
        opened = _open(self)
        return self._batched(lambda batch: (opened.run(batch),), images)[0]

    def gradient(
        self, images: Array, labels: Array, /, *, loss: str = "cross-entropy", targets: Array | None = None
    ) -> tuple[Array, Array]:
        """Losses of a batch of any size, and their gradients with respect to the pixels.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].
        labels : array, shape (N,), integer
            Classes. Outside 0 to K − 1, loss and gradient of that image are NaN.
        loss : {"cross-entropy", "margin", "dlr", "targeted-dlr", "logit"}
            Of the logits; see :mod:`specprobe.autodiff.losses`.
        targets : array, shape (N,), integer, optional
            Target classes, for ``targeted-dlr``.

        Returns
        -------
        losses : array, shape (N,), float32
            One an image.
        d_images : array, shape (N, C, H, W), float32
            Gradient of the sum of the losses, which does not depend on the size of the batch.

        Raises
        ------
        InputMismatch
            If images or labels have another shape than the model takes.
        UnsupportedOperator
            If the model holds operators without a gradient rule.
        """
        return self.logits_and_gradient(images, labels, loss=loss, targets=targets)[1:]

    def logits_and_gradient(
        self, images: Array, labels: Array, /, *, loss: str = "cross-entropy", targets: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Logits of a batch of any size, with losses and gradients, in one run.

        Parameters
        ----------
        images, labels, loss, targets
            As of :meth:`gradient`.

        Returns
        -------
        logits : array, shape (N, K), float32
            As of :meth:`logits`, to rounding.
        losses : array, shape (N,), float32
            One an image.
        d_images : array, shape (N, C, H, W), float32
            Gradient of the sum of the losses.

        Raises
        ------
        InputMismatch
            If images or labels have another shape than the model takes.
        UnsupportedOperator
            If the model holds operators without a gradient rule.
        """
        images = self._checked(images)
        if loss not in LOSSES or (targets is None) == LOSSES[loss].targeted:
            msg = (
                f"loss '{loss}' with{'out' if targets is None else ''} targets; accepted are {', '.join(LOSSES)}, "
                "targets with targeted ones only"
            )
            raise InputMismatch(msg)
        given = [self._checked_labels(images, part) for part in (labels, targets) if part is not None]
        if images.shape[0] == 0:
            return *(like(np.empty(s, np.float32), images) for s in ((0, self.classes), 0)), images
        opened = _open(self)
        logits, losses, d_images = self._batched(partial(opened.run_gradient, loss), images, *given)
        return logits, losses, d_images

    def vjp(self, images: Array, cotangent: Array, /) -> Array:
        """Product of a cotangent of the logits with their derivative.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].
        cotangent : array, shape (N, K), float32
            Of the logits.

        Returns
        -------
        array, shape (N, C, H, W), float32
            Gradient of ``sum(cotangent * logits(images))`` with respect to the pixels.

        Raises
        ------
        InputMismatch
            If the shapes are not those of the model.
        UnsupportedOperator
            If the model holds operators without a gradient rule.
        """
        return self.logits_and_vjp(images, cotangent)[1]

    def logits_and_vjp(self, images: Array, cotangent: Array, /) -> tuple[Array, Array]:
        """Logits, and the product of a cotangent with their derivative, in one run.

        Parameters
        ----------
        images, cotangent
            As of :meth:`vjp`.

        Returns
        -------
        logits : array, shape (N, K), float32
            As of :meth:`logits`, to rounding.
        d_images : array, shape (N, C, H, W), float32
            Gradient of ``sum(cotangent * logits(images))`` with respect to the pixels.

        Raises
        ------
        InputMismatch
            If the shapes are not those of the model.
        UnsupportedOperator
            If the model holds operators without a gradient rule.
        """
        images = self._checked(images)
        if tuple(cotangent.shape) != (images.shape[0], self.classes):
            msg = f"the cotangent has shape {tuple(cotangent.shape)}, the logits have {(images.shape[0], self.classes)}"
            raise InputMismatch(msg)
        if images.shape[0] == 0:
            return like(np.empty((0, self.classes), np.float32), images), images
        xp = namespace(images, cotangent)
        opened = _open(self)
        logits, d_images = self._batched(
            partial(opened.run_gradient, None), images, xp.astype(cotangent, xp.float32)
        )
        return logits, d_images

    def tensors(self, images: Array, names: Sequence[str], /) -> tuple[Array, ...]:
        """Logits of a batch of any size, with tensors from inside the model, in one run.

        Parameters
        ----------
        images : array, shape (N, C, H, W), real floating
            Pixels in [0, 1].
        names : sequence of str
            Names in the file of tensors on the way to the logits, whose first axis is that of the images.

        Returns
        -------
        tuple of array
            Logits (N, K), those of :meth:`logits` to rounding, then each tensor (N, ...), all in float32.

        Raises
        ------
        InputMismatch
            If the images have another shape than the model takes.
        ModelError
            If there is no tensor of a name, which lists names close to it, or it has no axis of images.
        """
        images = self._checked(images)
        run = partial(_open(self).run_tensors, tuple(names))
        if images.shape[0] == 0:  # a run tells what shape the tensors have
            nothing = np.zeros((1, *self.image_shape), np.float32)
            return tuple(made[:0, ...] for made in self._batched(run, like(nothing, images)))
        return self._batched(run, images)

    def _checked(self, images: Array) -> Array:
        xp = namespace(images)
        if tuple(images.shape[1:]) != self.image_shape or images.ndim != 4:
            msg = (
                f"images have shape {tuple(images.shape)}, {self.path.name} takes "
                f"(N, {', '.join(map(str, self.image_shape))})"
            )
            raise InputMismatch(msg)
        if images.dtype == xp.float32:
            return images
        if not xp.isdtype(images.dtype, "real floating"):
            msg = f"images are {images.dtype}; accepted are floating point pixels in [0, 1]"
            raise InputMismatch(msg)
        return xp.astype(images, xp.float32)

    @staticmethod
    def _checked_labels(images: Array, labels: Array) -> Array:
        xp = namespace(images)
        if not isinstance(labels, type(images)):
            labels = like(np.asarray(labels), images)
        if tuple(labels.shape) != (images.shape[0],) or not xp.isdtype(labels.dtype, "integral"):
            msg = f"labels are {labels.dtype} of shape {tuple(labels.shape)}; accepted are {images.shape[0]} integers"
            raise InputMismatch(msg)
        return xp.astype(labels, xp.int64)

    def _batched(self, run: Run, *arrays: Array) -> tuple[Array, ...]:
        return halving(run, arrays) if self.batch is None else in_batches(run, arrays, self.batch)

    def open(self) -> None:
        """Open the session now, in this process, rather than at the first image."""
        _open(self)


def load(
    source: str | Path | ModelFile,
    /,
    *,
    preprocessing: Preprocessing | None = None,
    input_name: str | None = None,
    output_name: str | None = None,
    fixed_inputs: Mapping[str, float] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    device: str | Device = "cpu",
    threads: int | None = None,
    limits: Limits | None = None,
) -> Network:
    """Open a classifier.

    Parameters
    ----------
    source : str, pathlib.Path or ModelFile
        The ``.onnx`` file, or what :func:`specprobe.graph.load.open_model` made of it.
    preprocessing : Preprocessing, optional
        What turns pixels in [0, 1] into what the model takes. Layout and size are read off the model, and off
        ``image_shape``, where they are not given.
    input_name, output_name : str, optional
        The image input and the logits, where the model has several of either.
    fixed_inputs : mapping of str to float, optional
        Number that fills each further input.
    image_shape : (int, int, int), optional
        C, H, W of the data, to settle what the model leaves open.
    device : str or Device
        ``cpu``, ``cuda``, ``cuda:1``, ``auto``.
    threads : int, optional
        For one operator, 1 to 256.
    limits : Limits, optional
        Caps on what the file may ask for.

    Returns
    -------
    Network
        Opened once already, so that what cannot work has been refused.

    Raises
    ------
    ModelError
        If the file is no model, or no classifier of images into two classes or more.
    RecipeError
        If the preprocessing does not fit the model.
    DeviceUnavailable
        If no runtime is installed or the device does not start.
    ValueError
        If ``threads`` is out of range.
    """
    check_threads(threads)
    device = choose_device(device) if isinstance(device, str) else device
    file = source if isinstance(source, ModelFile) else open_model(source, limits=limits)
    prepared = prepare(
        file,
        preprocessing or Preprocessing(),
        input_name=input_name,
        output_name=output_name,
        fixed_inputs=fixed_inputs,
        image_shape=image_shape,
    )
    opened = Opened(prepared, device, threads)
    probe = np.zeros((prepared.batch or 1, *prepared.image_shape), np.float32)
    shape = opened.run(probe).shape
    if len(shape) != 2 or shape[0] != probe.shape[0]:
        msg = (
            f"{file.path.name} gives an output of shape {tuple(shape)} for {probe.shape[0]} image(s); accepted are "
            "logits [N, K]; name a tensor of that shape with --output NAME"
        )
        raise ModelError(msg)
    if shape[1] < 2:
        msg = (
            f"{file.path.name} gives logits [N, {shape[1]}], and the largest of one number tells no class: accepted are "
            "[N, K] with K of 2 or more; export two logits, [0, z] concatenated, where z is the log-odds, which a final "
            "Sigmoid takes; or name another tensor with --output NAME"
        )
        raise ModelError(msg)
    network = Network(
        path=file.path,
        sha256=file.sha256,
        preprocessing=prepared.preprocessing,
        image_shape=prepared.image_shape,
        classes=int(shape[1]),
        input=input_name,
        output=output_name,
        fixed_inputs=tuple(sorted((fixed_inputs or {}).items())),
        batch=prepared.batch,
        device=device,
        threads=threads,
        limits=file.limits,
        findings=prepared.findings,
    )
    with _lock:
        _adopt(network, opened)
    return network


_KEPT = 4
_lock = threading.Lock()
_adopted: dict[Network, Opened] = {}
"""Sessions of this process, the latest few. ``load`` puts in the one that it made."""


def _adopt(network: Network, opened: Opened) -> None:
    """Keep what was opened, and the latest few others. The caller holds the lock."""
    _adopted[network] = opened
    while len(_adopted) > _KEPT:
        _adopted.pop(next(iter(_adopted)))


def _open(network: Network) -> Opened:
    with _lock:
        if network not in _adopted:
            _adopt(network, _reopen(network))
        return _adopted[network]


def _reopen(network: Network) -> Opened:
    file = open_model(network.path, limits=network.limits)
    if file.sha256 != network.sha256:
        msg = f"{network.path} is not the file that was loaded: its sha256 begins {file.sha256[:12]}, not {network.sha256[:12]}"
        raise ModelError(msg)
    prepared = prepare(
        file,
        network.preprocessing,
        input_name=network.input,
        output_name=network.output,
        fixed_inputs=dict(network.fixed_inputs),
        image_shape=network.image_shape,
        verify=False,
        keep_batch=network.batch is not None,
    )
    return Opened(prepared, network.device, network.threads)
