"""Perturbations of some frequencies only."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from specprobe.arrays import Array, namespace, to_host
from specprobe.attacks.rows import column, put, take
from specprobe.errors import InputMismatch
from specprobe.spectral.masks import apply_mask, band_pass
from specprobe.spectral.transforms import DCT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Norm, Threat

__all__ = ["LEAKAGE", "BandLimited", "DctBlock", "FourierBand", "Subspace", "subspace_of"]

_AXES = (1, 2, 3)
LEAKAGE = 0.01
"""Share of a perturbation's energy that may lie outside its band."""
_RELAXATION = 1.5
"""How far beyond the subspace the later projections go; from 1 to 2 they still converge, and in a third fewer rounds."""


class Subspace(Protocol):
    """A linear space of perturbations.

    Attributes
    ----------
    name : str
        As the command line writes it.
    """

    @property
    def name(self) -> str:
        """As the command line writes it."""
        ...

    def project(self, perturbations: Array, /) -> Array:
        """Orthogonal projection.

        Parameters
        ----------
        perturbations : array, shape (N, C, H, W)
            Any.

        Returns
        -------
        array, shape (N, C, H, W)
            The nearest in the space.
        """
        ...


@dataclass(frozen=True, slots=True)
class FourierBand:
    """Frequencies in a ring.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the images.
    low, high : float
        ``low <= rho < high`` in cycles per shorter side; the mean is in it where ``low`` is 0.
    """

    shape: tuple[int, int]
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse bands without frequencies."""
        if not band_pass(self.shape, low=self.low, high=self.high).any():
            msg = f"band {self.name} holds no frequency of images of {self.shape[0]} by {self.shape[1]}"
            raise InputMismatch(msg)

    @property
    def name(self) -> str:
        """``low:high``."""
        return f"{self.low:g}:" + ("" if math.isinf(self.high) else f"{self.high:g}")

    def project(self, perturbations: Array, /) -> Array:
        """Keeps the ring; see :meth:`Subspace.project`."""
        return apply_mask(perturbations, band_pass(self.shape, low=self.low, high=self.high))


@dataclass(frozen=True, slots=True)
class DctBlock:
    """The lower corner of the cosine transform [1]_.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the images.
    ratio : float
        ``floor(ratio · H)`` by ``floor(ratio · W)`` coefficients are kept.

    References
    ----------
    .. [1] C. Guo, J. S. Frank, K. Q. Weinberger, Low frequency adversarial perturbation, UAI 2019. arXiv:1809.08758
    """

    shape: tuple[int, int]
    ratio: float

    def __post_init__(self) -> None:
        """Refuse blocks without coefficients."""
        if not 0 < self.ratio <= 1 or min(self._block) < 1:
            msg = f"band {self.name} keeps no coefficient of images of {self.shape[0]} by {self.shape[1]}; accepted are ratios up to 1"
            raise InputMismatch(msg)

    @property
    def name(self) -> str:
        """``dct:ratio``."""
        return f"dct:{self.ratio:g}"

    @property
    def _block(self) -> tuple[int, int]:
        return math.floor(self.ratio * self.shape[0]), math.floor(self.ratio * self.shape[1])

    def project(self, perturbations: Array, /) -> Array:
        """Keeps the block; see :meth:`Subspace.project`."""
        xp = namespace(perturbations)
        coefficients = DCT.forward(perturbations)
        height, width = self._block
        rows = xp.reshape(xp.arange(self.shape[0], device=coefficients.device) < height, (-1, 1))
        columns = xp.arange(self.shape[1], device=coefficients.device) < width
        return DCT.inverse(xp.where(rows & columns, coefficients, xp.zeros_like(coefficients)))


@dataclass(frozen=True, slots=True)
class BandLimited:
    """A ball whose perturbations are confined to a subspace, nearly.

    Attributes
    ----------
    threat : LInf, L2 or L1
        The ball.
    subspace : Subspace
        Of the perturbations.
    rounds : int
        Projections onto subspace and ball in turn, at most.

    Notes
    -----
    Subspace, ball and box are convex and share the clean image, so projections onto each in turn come ever closer to
    all of them. They end in ball and box, for each image by itself, when less than a hundredth of its energy lies
    outside the subspace, or after ``rounds``: ``leakage`` tells how much does then.

    Pixels at 0 or 1 cannot move one way. Where most are, as in drawings on a black ground, hardly any perturbation
    without a mean keeps to them all: what the projections then leave is small, and leaks.
    """

    threat: "Threat"
    subspace: Subspace
    rounds: int = 20

    @property
    def norm(self) -> "Norm":
        """Norm of the ball."""
        return self.threat.norm

    @property
    def epsilon(self) -> float:
        """Radius of the ball, in pixels of [0, 1]."""
        return self.threat.epsilon

    @property
    def band(self) -> str:
        """Frequencies that perturbations are confined to."""
        return self.subspace.name

    def size(self, perturbations: Array, /) -> Array:
        """Norm of each; see :meth:`~specprobe.attacks.threat.Threat.size`."""
        return self.threat.size(perturbations)

    def steepest(self, gradients: Array, /) -> Array:
        """Steepest direction of the gradient's part in the subspace; only in L2 does it lie there itself."""
        return self.threat.steepest(self.subspace.project(gradients))

    def project(self, images: Array, candidates: Array, /) -> Array:
        """Candidates in ball and box, nearly in the subspace; see the notes."""
        xp = namespace(images, candidates)
        made, rows = candidates, np.arange(images.shape[0])
        clean, current = images, candidates
        for turn in range(self.rounds):
            moved = current - clean
            inside = self.subspace.project(moved)
            leaks = to_host(_leakage(moved, inside)) >= LEAKAGE
            if turn > 0:  # before that, what does not leak may still be outside ball and box
                inside = moved + _RELAXATION * (inside - moved)
                rest = np.flatnonzero(leaks)
                if not len(rest):
                    break
                rows, leaks = rows[rest], leaks[rest]
                clean, moved, inside = (take(x, rest) for x in (clean, moved, inside))
            current = self.threat.project(clean, clean + xp.where(column(leaks, moved), inside, moved))
            made = put(made, rows, current)
        return made

    def random_start(
        self,
        images: Array,
        streams: "Streams",
        rows: "NDArray[np.integer[Any]]",
        /,
        *,
        on_sphere: bool = False,
    ) -> Array:
        """The ball's random start, projected, and scaled up to the size that it had."""
        xp = namespace(images)
        moved = self.threat.random_start(images, streams, rows, on_sphere=on_sphere) - images
        inside = self.subspace.project(moved)
        size, wanted = self.threat.size(inside), self.threat.size(moved)
        factor = xp.astype(wanted / xp.where(size > 0, size, xp.ones_like(size)), moved.dtype)
        return self.project(images, images + inside * xp.reshape(factor, (-1, 1, 1, 1)))

    def leakage(self, perturbations: Array, /) -> Array:
        """Share of each perturbation's energy outside the subspace.

        Parameters
        ----------
        perturbations : array, shape (N, C, H, W)
            Candidates less clean images.

        Returns
        -------
        array, shape (N,), float64
            From 0 to 1; 0 where there is no perturbation.
        """
        return _leakage(perturbations, self.subspace.project(perturbations))


def _leakage(perturbations: Array, inside: Array) -> Array:
    """Share of the energy that is not in the part inside."""
    xp = namespace(perturbations)
    lost, total = (
        xp.sum(x * x, axis=_AXES, dtype=xp.float64) for x in (perturbations - inside, perturbations)
    )
    return lost / xp.where(total > 0, total, xp.ones_like(total))


def subspace_of(text: str, shape: tuple[int, int], /) -> Subspace:
    """Subspace as the command line names it.

    Parameters
    ----------
    text : str
        ``low:high`` in cycles per shorter side, or ``dct:ratio``.
    shape : (int, int)
        Height and width of the images.

    Returns
    -------
    Subspace
        Picklable.

    Raises
    ------
    InputMismatch
        If the text is neither, or holds no frequency of such images.
    """
    first, colon, second = text.partition(":")
    try:
        if not colon:
            raise ValueError(text)  # noqa: TRY301 - told below, with those that are no numbers
        if first == "dct":
            return DctBlock(shape, float(second))
        return FourierBand(shape, float(first), float(second or math.inf))
    except ValueError as error:
        if isinstance(error, InputMismatch):
            raise
        msg = f"band is '{text}'; accepted are 'low:high' in cycles per image, such as 0:8, and 'dct:ratio', such as dct:0.25"
        raise InputMismatch(msg) from error
