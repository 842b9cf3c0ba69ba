"""At which spatial frequencies a decision is sensitive."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.analysis.finite_differences import finite_differences
from specprobe.analysis.input_gradients import (
    InputGradients,
    Target,
    checked_source,
    input_gradients,
    loss_classes,
    unit_gradients,
)
from specprobe.analysis.moments import moments
from specprobe.analysis.sensitivity_result import ACCURACY_FIELDS, NUMBERS, FourierSensitivity
from specprobe.analysis.source import read
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import InvalidNumbers
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.pipeline import Staged
from specprobe.spectral.power import wedge_sizes, wedge_sums
from specprobe.spectral.profiles import (
    band_shares,
    centroid_cycles_per_image,
    ring_shares,
    shares,
    spectral_entropy_bits,
)
from specprobe.spectral.transforms import TRANSFORMS, Transform
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource
    from specprobe.spectral.power import Channels

__all__ = ["FourierSensitivity", "fourier_sensitivity", "sensitivity_step"]


def fourier_sensitivity(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    method: str = "gradient",
    channels: "Channels" = "power",
    basis: str = "fourier",
    loss: str = "cross-entropy",
    target: Target | None = None,
    frequencies_per_ring: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> FourierSensitivity:
    """Power of the input gradient of a classifier by spatial frequency.

    Parameters
    ----------
    classifier : DifferentiableClassifier or Classifier
        Picklable where the executor uses processes.
    images : ImageSource or array
        Arrays as of :class:`~specprobe.images.ArraySource`: (N, C, H, W), pixels in [0, 1], of any library.
    labels : array, shape (N,), optional
        Classes, where ``images`` is an array.
    method : {"gradient", "finite-difference"}
        One backward pass an image; or, for any classifier, two runs of the model a wave (see Notes).
    channels : {"power", "mean_before"}
        Mean of the channels' power; or, as published, power of the channels' mean, in which opposite colours cancel.
    basis : {"fourier", "dct", "hadamard", "haar"}
        Orthonormal basis that the gradient is written in.
    loss : {"cross-entropy", "margin", "dlr", "logit"}
        Of the logits.
    target : {"true", "predicted"}, optional
        Class that the loss is of; the label where there are labels.
    frequencies_per_ring : int, optional
        For finite differences in the Fourier basis: how many frequencies are drawn on each ring, for each image anew,
        instead of all. There is no map then.
    seed : int
        That they are drawn from, with the waves that the step of finite differences is chosen on.
    batch_size : int
        Images run at once.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    FourierSensitivity
        With the map, and some numbers and a digest per image.

    Raises
    ------
    DataError
        If labels are missing, or the classifier has no class for them.
    InputMismatch
        If the basis does not exist for images of this size.
    InvalidNumbers
        If logits are NaN or infinite, or no image has a gradient.
    ValueError
        If a setting is none of those accepted.

    Notes
    -----
    For a unitary transform U, the gradient with respect to ``U x`` is U applied to the gradient with respect to x, so
    one gradient an image says it all [1]_. Each image's power is divided by its total before the average: images count
    alike, and the size of their gradients does not.

    Finite differences take 2 · C · H · W model runs an image, and up to 264 more to choose its step. With frequencies
    drawn, ring sums are right on average, shares nearly so.

    References
    ----------
    .. [1] K. Krishnamachari, S.-K. Ng, C.-S. Foo, Fourier sensitivity and regularization of computer vision
       models, TMLR 2023. arXiv:2301.13514
    """
    if method not in _METHODS:
        msg = f"method is {method!r}; accepted are 'gradient' and 'finite-difference'"
        raise ValueError(msg)
    source, count, target = checked_source(
        classifier, images, labels, target=target, limit=limit, differentiable=method == "gradient"
    )
    step = sensitivity_step(
        classifier,
        source.image_shape,
        target=target,
        method=method,
        channels=channels,
        basis=basis,
        loss=loss,
        frequencies_per_ring=frequencies_per_ring,
        seed=seed,
        batch_size=batch_size,
        confidence=confidence,
    )
    result: FourierSensitivity = map_reduce(
        Staged((partial(read, source), *step.stages)),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )
    if not result.averaged:
        msg = (
            f"none of the {result.images} images has a gradient (zero or not finite): where the loss is saturated, "
            "--loss margin has one; a model whose operators have zero gradient has none"
        )
        raise InvalidNumbers(msg)
    return result


def sensitivity_step(
    classifier: "Classifier",
    image_shape: tuple[int, int, int],
    /,
    *,
    target: Target,
    method: str = "gradient",
    channels: "Channels" = "power",
    basis: str = "fourier",
    loss: str = "cross-entropy",
    frequencies_per_ring: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    confidence: float = CONFIDENCE,
) -> Staged[FourierSensitivity]:
    """From the images of one shard to their sensitivity: the runtime's stage, and that of the spectra.

    Parameters
    ----------
    classifier, method, channels, basis, loss, frequencies_per_ring, seed, batch_size, confidence
        As of :func:`fourier_sensitivity`.
    image_shape : (int, int, int)
        C, H, W.
    target : {"true", "predicted"}
        Class that the loss is of.

    Returns
    -------
    Staged
        Takes a :class:`~specprobe.protocols.Batch`.

    Raises
    ------
    InputMismatch
        If the basis does not exist for images of this size.
    ValueError
        If a setting is none of those accepted.
    """
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    if basis not in TRANSFORMS:
        msg = f"basis is {basis!r}; accepted are {', '.join(TRANSFORMS)}"
        raise ValueError(msg)
    check_confidence(confidence)
    if frequencies_per_ring is not None:
        _check_drawn(frequencies_per_ring, method, basis, channels, image_shape)
    settings: dict[str, Any] = {"method": method, "loss": loss, "target": target, "confidence": confidence}
    if method != "gradient":
        settings |= {"frequencies_per_ring": frequencies_per_ring, "seed": seed}
    shape = TRANSFORMS[basis].power_shape(image_shape[1:], channels=channels)
    TRANSFORMS[basis].rings(shape)  # refuses what the basis does not exist for, before anything is run
    return Staged(
        (
            partial(_METHODS[method], classifier, channels, batch_size, settings),
            partial(_analysed, basis, channels),
        )
    )


def _check_drawn(
    per_ring: int, method: str, basis: str, channels: "Channels", shape: tuple[int, int, int]
) -> None:
    if per_ring < 1:
        msg = f"frequencies_per_ring is {per_ring}; accepted are whole numbers from 1"
        raise ValueError(msg)
    if method != "finite-difference" or basis != "fourier":
        msg = f"frequencies are drawn for method 'finite-difference' in the basis 'fourier', not {method!r} and {basis!r}"
        raise ValueError(msg)
    if channels == "mean_before" and (shape[1] % 2 or shape[2] % 2):
        msg = (
            f"images of height {shape[1]} and width {shape[2]} are padded under 'mean_before', which mixes frequencies: "
            "take them all, or channels 'power'"
        )
        raise ValueError(msg)


class _Run(NamedTuple):
    """What the runtime gave for one shard, and how it was asked."""

    made: InputGradients
    digests: "NDArray[np.uint8]"
    settings: dict[str, Any]


def _gradients(
    classifier: Any, _: "Channels", batch_size: int, settings: dict[str, Any], batch: "Batch"
) -> _Run:
    made = input_gradients(
        classifier,
        batch,
        target=settings["target"],
        loss=settings["loss"],
        batch_size=batch_size,
        confidence=settings["confidence"],
    )
    return _Run(made, batch.digests, settings)


def _differences(
    classifier: Any, channels: "Channels", batch_size: int, settings: dict[str, Any], batch: "Batch"
) -> _Run:
    classes, measured = loss_classes(
        classifier,
        batch,
        target=settings["target"],
        batch_size=batch_size,
        confidence=settings["confidence"],
    )
    found = finite_differences(
        classifier,
        batch.images,
        classes,
        loss=settings["loss"],
        channels=channels,
        frequencies_per_ring=settings["frequencies_per_ring"],
        seed=settings["seed"],
        start=batch.start,
        batch_size=batch_size,
    )
    told = {
        "model_evaluations": found.evaluations + len(classes),
        "step_l2_norm": float(np.mean(found.step_l2_norm)),
        "relative_error": float(np.mean(np.nan_to_num(found.relative_error))),
    }
    made = InputGradients(gradients=found.gradients, accuracy=measured)
    return _Run(made, batch.digests, settings | told)


_METHODS = {"gradient": _gradients, "finite-difference": _differences}


def _analysed(basis: str, channels: "Channels", run: _Run) -> FourierSensitivity:
    part = _of_gradients(run.made, TRANSFORMS[basis], channels, run.digests, run.settings)
    return part if run.settings.get("frequencies_per_ring") is None else replace(part, power_map=None)


def _of_gradients(
    made: InputGradients,
    transform: Transform,
    channels: "Channels",
    digests: "NDArray[np.uint8]",
    settings: dict[str, Any],
) -> FourierSensitivity:
    """Sensitivity of one shard: planes stay where the gradients are, profiles go to the host."""
    gradients, norm, usable = unit_gradients(made.gradients)
    height, width = gradients.shape[-2:]
    shape = transform.power_shape((height, width), channels=channels)
    power = transform.image_power(gradients, channels=channels)
    sums = to_host(transform.ring_sums(power, shape=shape)).astype(np.float64)
    rings = ring_shares(sums)
    usable = usable & np.isfinite(rings).all(axis=1)  # channels may cancel, and all power lie at the mean
    bands = band_shares(rings, shape=shape)
    numbers = [*bands.T, centroid_cycles_per_image(rings), spectral_entropy_bits(rings)]
    values: dict[str, Any] = {}
    for name, of_image in zip(NUMBERS, numbers, strict=True):
        shown = np.where(usable, of_image, np.nan)
        _, mean, std = moments(shown[usable])
        values |= {name: float(mean), f"{name}_std": float(std), f"image_{name}": shown}
    _, values["power_share"], values["power_share_std"] = moments(rings[usable])
    if transform.name == "fourier":
        wedges = shares(to_host(wedge_sums(power, shape=shape)).astype(np.float64))
        _, values["angular_share"], values["angular_share_std"] = moments(wedges[usable])
        values["white_noise_angular_share"] = wedge_sizes(shape) / max(shape[0] * shape[1] - 1, 1)
    if made.accuracy is not None:
        values |= {name: getattr(made.accuracy, name) for name in (*ACCURACY_FIELDS, "image_correct")}
    return FourierSensitivity(
        channels=channels,
        basis=transform.name,
        map_shape=shape,
        images=len(usable),
        dropped=int((~usable).sum()),
        white_noise_share=transform.white_noise_shares(shape),
        power_map=_mean_map(transform, power, sums[:, 1:].sum(axis=1), usable, shape),
        image_gradient_l2_norm=norm,
        image_digest=digests,
        **settings,
        **values,
    )


def _mean_map(
    transform: Transform,
    power: Array,
    totals: "NDArray[np.float64]",
    usable: "NDArray[np.bool_]",
    shape: tuple[int, int],
) -> "NDArray[np.float64]":
    """Mean over usable images of their power, each divided by its total off the mean; without the mean."""
    if not usable.any():
        return np.full(shape, np.nan)
    xp = namespace(power)
    weights = np.where(usable, 1 / (usable.sum() * np.where(usable, totals, 1)), 0)
    weighted = xp.astype(power, xp.float64) * like(weights[:, None, None], power)
    mean = to_host(transform.power_map(xp.sum(weighted, axis=0), shape=shape)).copy()
    mean[transform.rings(shape) == 0] = 0
    return mean
