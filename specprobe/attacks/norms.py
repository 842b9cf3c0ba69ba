"""Norm balls, cut by the box of pixels."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from specprobe.arrays import Array, namespace
from specprobe.attacks.subspaces import BandLimited, subspace_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Norm, Threat

__all__ = ["L1", "L2", "NORMS", "LInf", "movable", "threat_of"]

_AXES = (1, 2, 3)
_SPARSE = 0.05
"""Share of coordinates that a step in the L1 norm moves."""
_BISECTIONS = 40
_SPACING = 2.0**-24
"""Largest distance of neighbouring float32 numbers up to 1."""


@dataclass(frozen=True, slots=True)
class _Ball:
    """What the three balls have in common.

    Attributes
    ----------
    epsilon : float
        Radius, in pixels of [0, 1].
    """

    epsilon: float

    norm: "ClassVar[Norm]"
    band: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Refuse radii that hold nothing or everything."""
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            msg = f"epsilon is {self.epsilon}; accepted are finite numbers above 0, in pixels of [0, 1]"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class LInf(_Ball):
    """No pixel of any channel moves by more than ``epsilon``.

    Attributes
    ----------
    epsilon : float
        In pixels of [0, 1]: 8/255, for instance.
    """

    norm: "ClassVar[Norm]" = "linf"

    def size(self, perturbations: Array, /) -> Array:
        """Largest entry of each; see :meth:`~specprobe.attacks.threat.Threat.size`."""
        xp = namespace(perturbations)
        return xp.astype(xp.max(xp.abs(perturbations), axis=_AXES), xp.float64)

    def steepest(self, gradients: Array, /) -> Array:
        """Signs; see :meth:`~specprobe.attacks.threat.Threat.steepest`."""
        return namespace(gradients).sign(gradients)

    def project(self, images: Array, candidates: Array, /) -> Array:
        """Nearest candidates in ball and box, in every norm."""
        xp = namespace(images, candidates)
        low = xp.clip(images - self.epsilon, 0.0, None)
        high = xp.clip(images + self.epsilon, None, 1.0)
        return xp.minimum(xp.maximum(candidates, low), high)

    def random_start(
        self,
        images: Array,
        streams: "Streams",
        rows: "NDArray[np.integer[Any]]",
        /,
        *,
        on_sphere: bool = False,
    ) -> Array:
        """Uniform in the ball, or scaled until the largest entry is ``epsilon``."""
        drawn = streams.uniform(rows, tuple(images.shape[1:]), low=-1, high=1)
        if on_sphere:
            xp = namespace(drawn)
            drawn = drawn / xp.max(xp.abs(drawn), axis=_AXES, keepdims=True)
        return self.project(images, images + self.epsilon * drawn)


@dataclass(frozen=True, slots=True)
class L2(_Ball):
    """Euclidean length over all pixels and channels.

    Attributes
    ----------
    epsilon : float
        In pixels of [0, 1].
    """

    norm: "ClassVar[Norm]" = "l2"

    def size(self, perturbations: Array, /) -> Array:
        """Length of each; see :meth:`~specprobe.attacks.threat.Threat.size`."""
        return _lengths(perturbations)[:, 0, 0, 0]

    def steepest(self, gradients: Array, /) -> Array:
        """Gradients of length 1; see :meth:`~specprobe.attacks.threat.Threat.steepest`."""
        return _unit(gradients)

    def project(self, images: Array, candidates: Array, /) -> Array:
        """Candidates in ball and box: clipped, then scaled into the ball, which keeps them in the box.

        That is in both, but not the nearest such point where the box cuts the ball.
        """
        xp = namespace(images, candidates)
        moved = xp.clip(candidates, 0.0, 1.0) - images
        size = _lengths(moved)
        factor = xp.where(size > self.epsilon, self.epsilon / xp.where(size > 0, size, 1), xp.ones_like(size))
        return _added(images, moved * xp.astype(factor, moved.dtype))

    def random_start(
        self,
        images: Array,
        streams: "Streams",
        rows: "NDArray[np.integer[Any]]",
        /,
        *,
        on_sphere: bool = False,
    ) -> Array:
        """Uniform in the ball, or on its surface."""
        shape = tuple(images.shape[1:])
        directions = _unit(streams.normal(rows, shape))
        if not on_sphere:
            directions = directions * streams.uniform(rows, (1, 1, 1)) ** (1 / math.prod(shape))
        return self.project(images, images + self.epsilon * directions)


@dataclass(frozen=True, slots=True)
class L1(_Ball):
    """Sum of absolute changes over all pixels and channels.

    Attributes
    ----------
    epsilon : float
        In pixels of [0, 1].

    Notes
    -----
    The steepest step moves one coordinate, which takes too many steps. As in [1]_ it moves the twentieth of all
    coordinates with the largest gradients, all by the same amount.

    References
    ----------
    .. [1] F. Tramèr, D. Boneh, Adversarial training and robustness for multiple perturbations, NeurIPS 2019.
       arXiv:1904.13000
    """

    norm: "ClassVar[Norm]" = "l1"

    def size(self, perturbations: Array, /) -> Array:
        """Sum of each; see :meth:`~specprobe.attacks.threat.Threat.size`."""
        return _sums(perturbations)[:, 0, 0, 0]

    def steepest(self, gradients: Array, /) -> Array:
        """Signs of the largest gradients, of sum 1; see the notes."""
        xp = namespace(gradients)
        magnitudes = xp.abs(gradients)
        count = math.prod(gradients.shape[1:])
        kept = max(1, round(_SPARSE * count))
        ordered = xp.sort(xp.reshape(magnitudes, (-1, count)), axis=1)
        least = xp.reshape(ordered[:, count - kept], (-1, 1, 1, 1))
        chosen = (magnitudes >= least) & (magnitudes > 0)
        signs = xp.where(chosen, xp.sign(gradients), xp.zeros_like(gradients))
        total = xp.sum(xp.abs(signs), axis=_AXES, keepdims=True)
        return signs / xp.where(total > 0, total, xp.ones_like(total))

    def project(self, images: Array, candidates: Array, /) -> Array:
        """Nearest candidates in ball and box, in the Euclidean norm [2]_.

        Each change is cut by the box, then shrunk by one amount, found by bisection.

        .. [2] F. Croce, M. Hein, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers, ICML 2021.
           arXiv:2103.01208
        """
        xp = namespace(images, candidates)
        moved = candidates - images
        magnitudes = xp.abs(moved)
        room = xp.where(moved < 0, images, 1.0 - images)

        def shrunk(amount: Array) -> Array:
            return xp.minimum(xp.clip(magnitudes - amount, 0.0, None), room)

        low = xp.zeros_like(magnitudes[:, :1, :1, :1])
        high = xp.max(magnitudes, axis=_AXES, keepdims=True)
        inside = _sums(shrunk(low)) <= self.epsilon
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            fits = _sums(shrunk(middle)) <= self.epsilon
            low, high = xp.where(fits, low, middle), xp.where(fits, middle, high)
        amount = xp.where(inside, xp.zeros_like(high), high)
        return _added(images, xp.sign(moved) * shrunk(amount))

    def random_start(
        self,
        images: Array,
        streams: "Streams",
        rows: "NDArray[np.integer[Any]]",
        /,
        *,
        on_sphere: bool = False,
    ) -> Array:
        """Uniform in the ball, or on its surface."""
        xp = namespace(images)
        shape = tuple(images.shape[1:])
        signed = streams.uniform(rows, shape, low=-1, high=1)
        # Exponential magnitudes, divided by their sum, are uniform on the simplex.
        magnitudes = -xp.log(xp.clip(xp.abs(signed), 1e-30, None))
        directions = xp.sign(signed) * magnitudes / xp.sum(magnitudes, axis=_AXES, keepdims=True)
        if not on_sphere:
            directions = directions * streams.uniform(rows, (1, 1, 1)) ** (1 / math.prod(shape))
        return self.project(images, images + self.epsilon * directions)


NORMS: "dict[Norm, type[LInf | L2 | L1]]" = {"linf": LInf, "l2": L2, "l1": L1}
"""Balls by norm."""


def threat_of(
    norm: "Norm", epsilon: float, /, *, band: str | None = None, shape: tuple[int, int, int] | None = None
) -> "Threat":
    """Threat as the command line names it.

    Parameters
    ----------
    norm : {"linf", "l2", "l1"}
        Of the ball.
    epsilon : float
        Its radius, in pixels of [0, 1].
    band : str, optional
        ``low:high`` in cycles per shorter side, ``low <= rho < high``, ``high`` may be left out; or ``dct:ratio``, the
        lower part of the cosine transform in both directions.
    shape : (int, int, int), optional
        C, H, W of the images, which a band needs.

    Returns
    -------
    Threat
        Picklable.

    Raises
    ------
    ValueError
        If the norm is not known, or epsilon is no radius.
    InputMismatch
        If the band cannot be read or holds no frequency of such images.
    """
    if norm not in NORMS:
        msg = f"norm is {norm!r}; accepted are {', '.join(NORMS)}"
        raise ValueError(msg)
    ball = NORMS[norm](epsilon)
    if band is None:
        return ball
    if shape is None:
        msg = f"band {band} needs the shape of the images"
        raise ValueError(msg)
    return BandLimited(ball, subspace_of(band, (shape[1], shape[2])))


def movable(threat: "Threat", candidates: Array, gradients: Array, /) -> Array:
    """Gradients without those that lead out of the box, where a step moves few coordinates.

    Parameters
    ----------
    threat : Threat
        In L1 a step would else spend itself on pixels that cannot move; in other norms, or in a band, gradients stay.
    candidates : array, shape (N, C, H, W)
        Where the step begins.
    gradients : array, shape (N, C, H, W)
        Of the losses.

    Returns
    -------
    array, shape (N, C, H, W)
        0 at pixels of 0 that are to fall and at pixels of 1 that are to rise.
    """
    if threat.norm != "l1" or threat.band is not None:
        return gradients
    xp = namespace(candidates, gradients)
    stuck = ((candidates <= 0) & (gradients < 0)) | ((candidates >= 1) & (gradients > 0))
    return xp.where(stuck, xp.zeros_like(gradients), gradients)


def _added(images: Array, moved: Array) -> Array:
    """Sums, rounded towards the images: away from them, the roundings of many equal pixels add up beyond the ball."""
    xp = namespace(images, moved)
    made = images + moved
    less = images + xp.sign(moved) * xp.clip(xp.abs(moved) - _SPACING, 0.0, None)
    return xp.clip(xp.where(xp.abs(made - images) > xp.abs(moved), less, made), 0.0, 1.0)


def _sums(values: Array) -> Array:
    xp = namespace(values)
    return xp.sum(xp.abs(values), axis=_AXES, keepdims=True, dtype=xp.float64)


def _lengths(values: Array) -> Array:
    xp = namespace(values)
    return xp.sqrt(xp.sum(values * values, axis=_AXES, keepdims=True, dtype=xp.float64))


def _unit(values: Array) -> Array:
    """Of length 1, whatever their size: a saturated loss leaves gradients whose squares underflow."""
    xp = namespace(values)
    largest = xp.max(xp.abs(values), axis=_AXES, keepdims=True)
    scaled = values / xp.where(largest > 0, largest, xp.ones_like(largest))
    length = xp.astype(_lengths(scaled), scaled.dtype)
    return scaled / xp.where(length > 0, length, xp.ones_like(length))
