"""Which single frequency, added to an image, breaks a classifier."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from specprobe.analysis.accuracy import batch_logits, check_logits, counted
from specprobe.analysis.heatmap_additions import Additions, Answers, answers, cross_entropy
from specprobe.analysis.heatmap_first_order import first_order_maps
from specprobe.analysis.heatmap_frequencies import chosen_frequencies, paired, sampled_frequencies
from specprobe.analysis.heatmap_layers import LayerTap, TensorClassifier
from specprobe.analysis.heatmap_refinement import check_refine, refined
from specprobe.analysis.heatmap_result import FourierHeatmap
from specprobe.analysis.heatmap_rings import cells_by_ring, image_rings, spreads
from specprobe.analysis.input_gradients import checked_source
from specprobe.analysis.moments import moments
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import DataError, EmptyInput
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.protocols import DifferentiableClassifier, ImageSource
from specprobe.randomness import generator
from specprobe.spectral.grid import frequency_index, real_frequencies
from specprobe.streaming import Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import ArrayLike, NDArray

    from specprobe.protocols import Classifier
    from specprobe.streaming import Shard

__all__ = ["HEATMAP_SHARD_IMAGES", "FourierHeatmap", "Phase", "fourier_heatmap"]

HEATMAP_SHARD_IMAGES = 16
"""Images a shard: fewer than elsewhere, since each is classified hundreds of times."""

Phase: TypeAlias = Literal["0", "45", "random", "worst-of-two"]
"""Of the basis images, in degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What a step needs to know, beside the images."""

    l2_norm_per_channel: float
    phase: Phase
    clip: bool
    random_sign: bool
    seed: int
    target: Literal["true", "predicted"]
    first_order: bool
    layers: tuple[str, ...]
    evaluated: "NDArray[np.bool_]"
    batch_size: int
    confidence: float


def fourier_heatmap(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    l2_norm_per_channel: float = 4.0,
    phase: Phase = "0",
    clip: bool = True,
    random_sign: bool = True,
    frequencies: "int | ArrayLike | None" = None,
    refine: int | None = None,
    layers: "Sequence[str]" = (),
    first_order: bool = False,
    sample: int = 64,
    target: Literal["true", "predicted"] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> FourierHeatmap:
    """Error rate and loss under one Fourier basis image at a time.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes; a DifferentiableClassifier for ``first_order``.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    l2_norm_per_channel : float
        Of what is added to each channel. [1]_ takes 4 for 32 × 32 and 15.7 for 224 × 224 pixels.
    phase : {"0", "45", "random", "worst-of-two"}
        Of the basis image in degrees; drawn for each image and frequency; or cosine and sine, of which the worse
        counts, image by image: that takes twice the evaluations.
    clip : bool
        Whether images are clipped to [0, 1] after the addition, which shrinks and spreads it.
    random_sign : bool
        Whether each channel of each image draws a sign, the same for every frequency.
    frequencies : int or array_like of int, shape (M, 2), optional
        Side of the central square of the map to evaluate, such as 63; or ``(f_y, f_x)``, -k standing for k. All.
    refine : int, optional
        Evaluate every ``refine``-th frequency along both axes first, a power of two, then more where the map changes,
        as :func:`~specprobe.analysis.heatmap_refinement.further_frequencies` says; each time in a pass of its own
        over the images. Goes with a square of frequencies, and without ``first_order``.
    layers : sequence of str
        Tensors inside the model, by name, whose change is measured, too: the layer heat maps of [1]_.
    first_order : bool
        Whether to predict the maps from gradients. The images are then classified under a sample of the frequencies
        only, to tell how well the prediction ranks them.
    sample : int
        Size of that sample; all frequencies if there are no more.
    target : {"true", "predicted"}, optional
        Class that errors and losses are of; the label where there are labels.
    seed : int
        Of signs, phases and sample.
    batch_size : int
        Images classified at once; frequencies share batches.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done; with ``refine``, anew in each pass.

    Returns
    -------
    FourierHeatmap
        With means and a digest per image.

    Raises
    ------
    DataError
        If labels are missing, or the classifier has no class for them.
    InputMismatch
        If a frequency lies outside the grid, or labels are given beside a source that has its own.
    InvalidNumbers
        If logits, gradients or tensors are NaN or infinite; names image and frequency.
    TypeError
        If ``first_order`` is asked of a classifier without gradient, or ``layers`` of one without tensors.
    ValueError
        If another setting is none of those accepted.

    Notes
    -----
    Image ``x + v · s · U_k`` is classified for each k of one half plane, since U_k and U_-k are one image, or show
    one. The official code of [1]_ is had by ``phase="45", random_sign=False, clip=False, l2_norm_per_channel=1``; the
    other public one by the defaults.

    References
    ----------
    .. [1] D. Yin, R. Gontijo Lopes, J. Shlens, E. D. Cubuk, J. Gilmer, A Fourier perspective on model robustness in
       computer vision, NeurIPS 2019. arXiv:1906.08988
    """
    for name, value in (("batch_size", batch_size), ("sample", sample)):
        if value < 1:
            msg = f"{name} is {value}; accepted are whole numbers from 1"
            raise ValueError(msg)
    if phase not in get_args(Phase):
        msg = f"phase is {phase!r}; accepted are {', '.join(map(repr, get_args(Phase)))}"
        raise ValueError(msg)
    if not 0 < l2_norm_per_channel < np.inf:
        msg = f"l2_norm_per_channel is {l2_norm_per_channel}; accepted are numbers above 0, such as 4"
        raise ValueError(msg)
    if first_order and not isinstance(classifier, DifferentiableClassifier):
        msg = (
            f"{type(classifier).__name__} has no gradient, which first_order needs; accepted are classifiers that "
            "have one, such as those of specprobe.load(path)"
        )
        raise TypeError(msg)
    if isinstance(layers, str) or (layers and not isinstance(classifier, TensorClassifier)):
        msg = (
            f"layers are {layers!r} of {type(classifier).__name__}; accepted are lists of names, of classifiers with a "
            "method tensors, such as those of specprobe.load(path)"
        )
        raise TypeError(msg)
    if refine is not None:
        check_refine(refine)
        if first_order or np.ndim(frequencies) > 0:  # type: ignore[arg-type]
            msg = "refine goes with a square of frequencies, and without first_order"
            raise ValueError(msg)
    source, count, target = checked_source(
        classifier, images, labels, target=target, limit=limit, differentiable=False
    )
    shape = (source.image_shape[1], source.image_shape[2])
    check_confidence(confidence)
    evaluated = chosen_frequencies(frequencies, shape)
    if first_order:
        evaluated = sampled_frequencies(evaluated, sample, seed)
    settings = _Settings(
        l2_norm_per_channel=float(l2_norm_per_channel),
        phase=phase,
        clip=clip,
        random_sign=random_sign,
        seed=seed,
        target=target,
        first_order=first_order,
        layers=tuple(layers),
        evaluated=evaluated,
        batch_size=batch_size,
        confidence=confidence,
    )

    def measure(some: "NDArray[np.bool_]", kept: Checkpoint | None) -> FourierHeatmap:
        return map_reduce(
            partial(_step, classifier, source, replace(settings, evaluated=some)),
            shards(count, size=HEATMAP_SHARD_IMAGES),
            executor=executor,
            checkpoint=kept,
            progress=progress,
        )

    if refine is None:
        return measure(evaluated, checkpoint)
    side: Any = frequencies
    return refined(measure, shape, side=side, stride=refine, checkpoint=checkpoint)


def _step(
    classifier: "Classifier", source: "ImageSource", settings: _Settings, shard: "Shard"
) -> FourierHeatmap:
    batch = source.read(*shard)
    count, channels, height, width = batch.images.shape
    if count == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    shape = (height, width)
    grid = real_frequencies(shape)
    which = np.arange(batch.start, batch.start + count)
    steps = _steps(settings, which, channels)
    phases = None
    if settings.phase == "random":
        draws = [generator(settings.seed, "heatmap/phase", int(i)).uniform(0, 360, len(grid)) for i in which]
        phases = np.stack(draws)
    places, degrees = _probes(settings, shape)
    additions = Additions(
        frequencies=grid[places],
        phase_degrees=degrees if phases is None else phases[:, places].T,
        steps=like(steps.astype(np.float32), batch.images),
        clip=settings.clip,
    )

    tap = None
    if settings.layers and isinstance(classifier, TensorClassifier):
        tap = LayerTap(classifier=classifier, names=settings.layers, start=batch.start)
        clean = tap.keep_clean(batch.images, batch_size=settings.batch_size)
        check_logits(clean, start=batch.start)
    else:
        clean = batch_logits(classifier, batch.images, start=batch.start, batch_size=settings.batch_size)
    predicted = to_host(namespace(clean).argmax(clean, axis=1)).astype(np.int64)
    classes = predicted
    if settings.target == "true":
        if batch.labels is None:
            msg = "the images have no labels; give them with --labels FILE, or take --target predicted"
            raise DataError(msg)
        classes = batch.labels
    given = answers(tap or classifier, batch, classes, additions=additions, batch_size=settings.batch_size)
    increased = given._replace(losses=given.losses - cross_entropy(clean, classes))
    result = _of_answers(
        settings, shape, classes != predicted, increased, None if tap is None else tap.norms()
    )
    if batch.labels is not None:
        right = counted(batch.labels, predicted, digests=batch.digests)
        names = ("correct", "class_histogram", "prediction_histogram", "image_correct")
        result = replace(result, **{name: getattr(right, name) for name in names})
    if isinstance(classifier, DifferentiableClassifier) and settings.first_order:
        made = first_order_maps(
            classifier,
            batch,
            classes,
            steps=steps,
            phase=settings.phase,
            phase_degrees=phases,
            batch_size=settings.batch_size,
        )
        _, mean, std = moments(made.power)
        result = replace(
            result,
            gradient_evaluations=count,
            mean_derivative_power=mean,
            derivative_power_std=std,
            flips=made.flips.sum(axis=0),
        )
    return replace(result, image_digest=batch.digests)


def _steps(settings: _Settings, which: "NDArray[np.int64]", channels: int) -> "NDArray[np.float64]":
    """Signed norms (N, C); the signs of an image hang on nothing but its index."""
    negative = np.zeros((len(which), channels))
    if settings.random_sign:
        for row, index in zip(negative, which, strict=True):
            row[:] = generator(settings.seed, "heatmap/sign", int(index)).integers(0, 2, channels)
    return settings.l2_norm_per_channel * (1 - 2 * negative)


def _probes(settings: _Settings, shape: tuple[int, int]) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Basis images that are added: which frequency, and at which phase. Sines come behind all cosines."""
    places = np.flatnonzero(settings.evaluated)
    degrees = np.full(len(places), 45.0 if settings.phase == "45" else 0.0)
    if settings.phase != "worst-of-two":
        return places, degrees
    twice = places[paired(places, shape)]
    return np.concatenate([places, twice]), np.concatenate([degrees, np.full(len(twice), -90.0)])


def _of_answers(
    settings: _Settings,
    shape: tuple[int, int],
    clean_wrong: "NDArray[np.bool_]",
    given: Answers,
    norms: "NDArray[np.float64] | None",
) -> FourierHeatmap:
    """Counts and means of (P, N) answers, whose losses are less those of the clean images."""
    probes, count = given.wrong.shape
    places = np.flatnonzero(settings.evaluated)
    total = len(settings.evaluated)
    twice = paired(places, shape) if probes > len(places) else np.zeros(len(places), np.bool_)
    wrong, increase = _worse(given.wrong, twice), _worse(given.losses, twice)
    errors = np.zeros(total, np.int64)
    errors[places] = wrong.sum(axis=1)
    mean, std = _spread_out(increase, places, total)
    cells = np.bincount(frequency_index(shape).ravel())[places, None]
    values: dict[str, Any] = {
        "image_error_rate": (cells * wrong).sum(axis=0) / cells.sum(),
        "image_loss_increase": (cells * increase).sum(axis=0) / cells.sum(),
    }
    by_ring = cells_by_ring(settings.evaluated[frequency_index(shape)])
    for name, numbers in (("error_rate", wrong), ("loss_increase", increase)):
        of_images = image_rings(numbers, places, shape)
        ring_std, band_std = spreads(of_images, by_ring, shape)
        values |= {
            f"image_ring_{name}": of_images,
            f"ring_{name}_std": ring_std,
            f"band_{name}_std": band_std,
        }
    if given.changes is not None and norms is not None:
        changes = _worse(given.changes, twice)
        with np.errstate(divide="ignore", invalid="ignore"):  # a tensor of zeros has no relative change
            relative = np.where(norms > 0, changes / norms, np.nan)
        for name, numbers in (("layer_change", changes), ("layer_relative_change", relative)):
            values[f"mean_{name}"], values[f"{name}_std"] = _spread_out(numbers, places, total)
    return FourierHeatmap(
        image_size=shape,
        l2_norm_per_channel=settings.l2_norm_per_channel,
        basis_phase=settings.phase,
        random_sign=settings.random_sign,
        clip=settings.clip,
        seed=settings.seed,
        target=settings.target,
        images=count,
        clean_errors=int(clean_wrong.sum()),
        model_evaluations=count * (1 + probes),
        evaluated=settings.evaluated,
        errors=errors,
        mean_loss_increase=mean,
        loss_increase_std=std,
        confidence=settings.confidence,
        layers=settings.layers,
        **values,
    )


def _worse(values: "NDArray[Any]", twice: "NDArray[np.bool_]") -> "NDArray[Any]":
    """Of cosine and sine, the larger number: from (P, N, ...) to one entry a frequency."""
    one = values[: len(twice)].copy()
    one[twice] = np.maximum(one[twice], values[len(twice) :])
    return one


def _spread_out(
    values: "NDArray[np.float64]", places: "NDArray[np.int64]", total: int
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Mean and spread over images of (P, N, ...) numbers, by frequency; NaN where not evaluated."""
    mean, std = (np.full((total, *values.shape[2:]), np.nan) for _ in range(2))
    _, mean[places], std[places] = moments(np.swapaxes(values, 0, 1))
    return mean, std
