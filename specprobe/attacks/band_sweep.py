"""Robustness against attacks that are confined to one band of frequencies after the other."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.attacks import run
from specprobe.attacks.band_sweep_result import AdversarialBandSweep, coefficients
from specprobe.attacks.catalogue import AttackFunction
from specprobe.errors import InputMismatch
from specprobe.intervals import CONFIDENCE
from specprobe.protocols import ImageSource
from specprobe.spectral.grid import radius

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from specprobe.analysis.input_gradients import Target
    from specprobe.arrays import Array
    from specprobe.attacks.outcome import AttackOutcome
    from specprobe.attacks.threat import Norm
    from specprobe.protocols import Classifier
    from specprobe.spectral.arguments import Shape

__all__ = ["AdversarialBandSweep", "adversarial_band_sweep", "equal_bands"]

_BANDS = 6


def equal_bands(shape: "Shape", /, *, count: int = _BANDS) -> tuple[tuple[float, float], ...]:
    """Bands that cover the spectrum and hold about the same number of coefficients.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    count : int
        How many, where there are frequencies enough.

    Returns
    -------
    tuple of (float, float)
        ``low <= rho < high`` in cycles per shorter side, from 0 to beyond the corner; limits are multiples of a half.

    Raises
    ------
    ValueError
        If ``count`` is below 1.

    Examples
    --------
    >>> equal_bands((32, 32), count=3)
    ((0.0, 10.5), (10.5, 15.0), (15.0, 23.0))
    """
    if count < 1:
        msg = f"count is {count}; accepted are whole numbers from 1"
        raise ValueError(msg)
    rho = radius(shape)
    last = math.floor(float(rho.max())) + 1.0
    limits = np.arange(0, 2 * last + 1) / 2
    below = np.array([np.sum(rho < limit) for limit in limits])
    wanted = np.arange(1, count) * rho.size / count
    inner = {float(limits[np.argmin(np.abs(below - number))]) for number in wanted}
    edges = sorted(inner | {0.0, last})
    # Two limits with nothing between them would make a band without frequencies.
    bands = tuple(pairwise(edges))
    return tuple(band for band, size in zip(bands, coefficients(shape, bands), strict=True) if size)


def adversarial_band_sweep(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: "Array | None" = None,
    /,
    *,
    epsilon: float,
    norm: "Norm" = "l2",
    bands: "Iterable[tuple[float, float]] | None" = None,
    attack: str | AttackFunction = "pgd",
    steps: int | None = None,
    restarts: int = 1,
    target: "Target | None" = None,
    seed: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    progress: "Callable[[int], None] | None" = None,
) -> AdversarialBandSweep:
    """Robust accuracy against perturbations of one band each, and against those of any frequency.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        Picklable where the executor uses processes.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    epsilon : float
        The largest norm, in pixels of [0, 1]; the same for all bands.
    norm : {"l2", "linf", "l1"}
        Of a perturbation. L2 is the one that a band can be confined in without losing the shape of its ball.
    bands : iterable of (float, float), optional
        ``low <= rho < high``, in cycles per shorter side, ``high`` finite. :func:`equal_bands` if not given.
    attack : str or callable
        As of :func:`~specprobe.attacks.run.attack`.
    steps, restarts, target, seed, batch_size, limit, confidence, executor
        As of :func:`~specprobe.attacks.run.attack`.
    progress : callable, optional
        Called with the number of images done, each counted once it has met all bands.

    Returns
    -------
    AdversarialBandSweep
        With flags and a digest per image.

    Raises
    ------
    InputMismatch
        If a band is out of range or holds no frequency, or there is none.
    DataError, InvalidNumbers, TypeError, ValueError
        As of :func:`~specprobe.attacks.run.attack`.

    Notes
    -----
    One attack a band and one more without a band, on the same images with the same random numbers.

    References
    ----------
    .. [1] Y. Sharma, G. W. Ding, M. A. Brubaker, On the effectiveness of low frequency perturbations, IJCAI 2019.
       arXiv:1903.00073
    """
    shape = images.image_shape if isinstance(images, ImageSource) else tuple(images.shape[1:])
    swept = equal_bands(shape[1:]) if bands is None else tuple((float(a), float(b)) for a, b in bands)
    _check(swept, shape[1:])
    runs: list[AttackOutcome] = []
    for name in (None, *(f"{low:.10g}:{high:.10g}" for low, high in swept)):
        done = len(runs)
        runs.append(
            run.attack(
                classifier,
                images,
                labels,
                attack=attack,
                norm=norm,
                epsilon=epsilon,
                band=name,
                steps=steps,
                restarts=restarts,
                target=target,
                seed=seed,
                batch_size=batch_size,
                limit=limit,
                confidence=confidence,
                executor=executor,
                progress=None if progress is None or done < len(swept) else progress,
            )
        )
    return _gathered(swept, runs)


def _check(bands: tuple[tuple[float, float], ...], shape: "Shape") -> None:
    if not bands:
        msg = "there is no band; accepted are pairs of radii low < high"
        raise InputMismatch(msg)
    for (low, high), size in zip(bands, coefficients(shape, bands), strict=True):
        if not (0 <= low < high < math.inf and size):
            msg = (
                f"the band {low:g}:{high:g} is empty, below 0 or open; accepted are finite radii 0 <= low < high with a "
                f"frequency between them, of images of height {shape[0]} and width {shape[1]}"
            )
            raise InputMismatch(msg)


def _gathered(bands: tuple[tuple[float, float], ...], runs: "list[AttackOutcome]") -> AdversarialBandSweep:
    """One result of many outcomes, the first of which has no band."""
    whole, *parts = runs
    settings: dict[str, Any] = {
        name: getattr(whole, name)
        for name in (
            *(
                "attack",
                "threat_norm",
                "epsilon",
                "steps",
                "restarts",
                "seed",
                "target",
                "images",
                "attacked",
            ),
            *("image_shape", "confidence", "image_digest"),
        )
    }
    norms, stood = whole.image_perturbation_norm, [part.image_robust for part in runs]
    return AdversarialBandSweep(
        bands=bands,
        standing=np.array([part.standing for part in parts], np.int64),
        unconfined_standing=whole.standing,
        moved=np.array([part.moved for part in parts], np.int64),
        mean_leakage=_known([part.mean_leakage for part in parts]),
        max_leakage=_known([part.max_leakage for part in parts]),
        image_attacked=None if norms is None else ~np.isnan(norms),
        image_standing=np.stack([flags for flags in stood[1:] if flags is not None], axis=1),
        image_unconfined_standing=stood[0],
        **settings,
    )


def _known(values: list[float | None]) -> Any:
    return np.array([math.nan if value is None else value for value in values], np.float64)
