"""What a perturbation may be: of which norm, how large, and of which frequencies."""

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from specprobe.arrays import Array
    from specprobe.attacks.streams import Streams

__all__ = ["Norm", "Threat"]

Norm: TypeAlias = Literal["linf", "l2", "l1"]
"""Over all pixels and channels of an image."""


class Threat(Protocol):
    """A set of perturbations around each image.

    Attributes
    ----------
    norm : {"linf", "l2", "l1"}
        Of the ball.
    epsilon : float
        Its radius, in pixels of [0, 1].
    band : str or None
        Frequencies that a perturbation is confined to, as the command line writes them; None for all.
    """

    @property
    def norm(self) -> Norm:
        """Norm of the ball."""
        ...

    @property
    def epsilon(self) -> float:
        """Radius of the ball, in pixels of [0, 1]."""
        ...

    @property
    def band(self) -> str | None:
        """Frequencies that a perturbation is confined to, or None."""
        ...

    def size(self, perturbations: "Array", /) -> "Array":
        """Norm of each perturbation.

        Parameters
        ----------
        perturbations : array, shape (N, C, H, W)
            Candidates less clean images.

        Returns
        -------
        array, shape (N,), float64
            In pixels of [0, 1].
        """
        ...

    def steepest(self, gradients: "Array", /) -> "Array":
        """Direction in which a linear function with this gradient grows fastest.

        Parameters
        ----------
        gradients : array, shape (N, C, H, W)
            Of the losses.

        Returns
        -------
        array, shape (N, C, H, W)
            Of norm 1 (of this threat's norm), confined to the band; zero where the gradient is.
        """
        ...

    def project(self, images: "Array", candidates: "Array", /) -> "Array":
        """Candidates brought back into ball, band and box.

        Parameters
        ----------
        images : array, shape (N, C, H, W)
            Clean.
        candidates : array, shape (N, C, H, W)
            Anywhere.

        Returns
        -------
        array, shape (N, C, H, W)
            Within [0, 1] exactly, and in the ball to float32 rounding.
        """
        ...

    def random_start(
        self,
        images: "Array",
        streams: "Streams",
        rows: "NDArray[np.integer[Any]]",
        /,
        *,
        on_sphere: bool = False,
    ) -> "Array":
        """Random candidates.

        Parameters
        ----------
        images : array, shape (n, C, H, W)
            Clean images of ``rows``.
        streams : Streams
            Drawn from.
        rows : numpy.ndarray of int, shape (n,)
            Which images of the oracle.
        on_sphere : bool
            Whether the perturbation is scaled to norm epsilon before the box cuts it, as APGD does.

        Returns
        -------
        array, shape (n, C, H, W)
            In ball, band and box.
        """
        ...
