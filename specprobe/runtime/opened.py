"""A prepared graph with its sessions: for logits, for each loss whose gradient is asked for, for tensors inside."""

import threading
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from specprobe.arrays import Array, contiguous, namespace
from specprobe.autodiff import gradient_names, with_gradient
from specprobe.graph.simplify import simplify
from specprobe.runtime.agreement import TOLERANCE, probe_images, relative_difference
from specprobe.runtime.session import OutOfMemory, Session
from specprobe.runtime.tensors import TensorSession

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from specprobe.runtime.device import Device
    from specprobe.runtime.prepare import Prepared

__all__ = ["Opened", "halving", "in_batches"]

Run: TypeAlias = "Callable[..., tuple[Array, ...]]"
"""From arrays of N examples to arrays of N examples."""


class Opened:
    """What a process keeps of a network.

    Parameters
    ----------
    prepared : Prepared
        The graph.
    device : Device
        Where its sessions run.
    threads : int or None
        For one operator.
    """

    def __init__(self, prepared: "Prepared", device: "Device", threads: int | None, /) -> None:
        self._prepared = prepared
        self._device, self._threads = device, threads
        self._session = Session(prepared.model, device, threads=threads)
        self._gradients: dict[str | None, tuple[Session, list[str], list[str]]] = {}
        self._tensors: dict[tuple[str, ...], TensorSession] = {}
        self._lock = threading.Lock()

    def run(self, images: Array, /) -> Array:
        """Logits of one batch.

        Parameters
        ----------
        images : array, shape (N, C, H, W)
            As the graph takes them.

        Returns
        -------
        array, shape (N, K)
            May be read-only.
        """
        return self._session.run({self._prepared.input: contiguous(images)}, [self._prepared.output])[0]

    def run_gradient(self, loss: str | None, /, *arrays: Array) -> tuple[Array, ...]:
        """Gradient of one batch.

        Parameters
        ----------
        loss : str or None
            Name of a loss; None for the product with a cotangent.
        *arrays : array
            Images, then labels (and targets), or the cotangent.

        Returns
        -------
        tuple of array
            Logits (N, K); losses (N,), where there is a loss; the gradient (N, C, H, W).
        """
        session, inputs, outputs = self._gradient(loss)
        feeds = {name: contiguous(array) for name, array in zip(inputs, arrays, strict=True)}
        return session.run(feeds, outputs)

    def run_tensors(self, names: tuple[str, ...], images: Array, /) -> tuple[Array, ...]:
        """Logits and tensors of one batch.

        Parameters
        ----------
        names : tuple of str
            Of tensors in the graph.
        images : array, shape (N, C, H, W)
            As the graph takes them.

        Returns
        -------
        tuple of array
            Logits (N, K), then each tensor (N, ...). May be read-only.
        """
        with self._lock:
            if names not in self._tensors:
                made = TensorSession(self._prepared, names, self._device, self._threads, logits=self.run)
                self._tensors[names] = made
        return self._tensors[names].run(contiguous(images))

    def _gradient(self, loss: str | None) -> tuple[Session, list[str], list[str]]:
        with self._lock:
            if loss not in self._gradients:
                prepared = self._prepared
                graph = with_gradient(
                    self._simplified,
                    of=prepared.output,
                    wrt=prepared.input,
                    loss=loss,
                    device=self._device.kind,
                )
                names = gradient_names(graph)
                given = [names[key] for key in ("labels", "targets", "cotangent") if key in names]
                losses = [] if loss is None else [names["loss"]]
                made = [prepared.output, *losses, names["gradients"][prepared.input]]
                session = Session(graph, self._device, threads=self._threads)
                self._gradients[loss] = (session, [prepared.input, *given], made)
            return self._gradients[loss]

    @cached_property
    def _simplified(self) -> "ir.Model":
        """The graph with less to differentiate, if it still computes the same; else as it is."""
        prepared = self._prepared
        simple = simplify(prepared.model)
        probe = probe_images(prepared.batch or 3, prepared.image_shape, key=2)
        session = Session(simple, self._device, threads=self._threads)
        after = session.run({prepared.input: probe}, [prepared.output])[0]
        return simple if relative_difference(self.run(probe), after) <= TOLERANCE else prepared.model


def halving(run: Run, arrays: tuple[Array, ...], /) -> tuple[Array, ...]:
    """Run a batch; where the device has no room, run it in two halves.

    Parameters
    ----------
    run : callable
        Takes and returns arrays of as many examples.
    arrays : tuple of array
        What it takes.

    Returns
    -------
    tuple of array
        What it returns.

    Raises
    ------
    OutOfMemory
        If there is no room for a single example.
    """
    try:
        return run(*arrays)
    except OutOfMemory:
        count = arrays[0].shape[0]
        if count == 1:
            raise
    half = count // 2
    first = halving(run, tuple(array[:half, ...] for array in arrays))
    second = halving(run, tuple(array[half:, ...] for array in arrays))
    return _joined([first, second])


def in_batches(run: Run, arrays: tuple[Array, ...], batch: int, /) -> tuple[Array, ...]:
    """Run ``batch`` examples at a time, the last batch filled up with zeros.

    Parameters
    ----------
    run : callable
        Takes and returns arrays of ``batch`` examples.
    arrays : tuple of array
        Of any number of examples.
    batch : int
        The only size that ``run`` takes.

    Returns
    -------
    tuple of array
        Of as many examples as ``arrays``.
    """
    xp = namespace(*arrays)
    count = arrays[0].shape[0]
    missing = -count % batch
    if missing:
        arrays = tuple(
            xp.concat([a, xp.zeros((missing, *a.shape[1:]), dtype=a.dtype, device=a.device)]) for a in arrays
        )
    parts = [run(*(a[i : i + batch, ...] for a in arrays)) for i in range(0, count + missing, batch)]
    return tuple(made[:count, ...] for made in _joined(parts))


def _joined(parts: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    if len(parts) == 1:
        return parts[0]
    xp = namespace(*parts[0])
    return tuple(xp.concat(list(made), axis=0) for made in zip(*parts, strict=True))
