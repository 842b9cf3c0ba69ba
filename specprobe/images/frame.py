"""The one size and colour that all pictures of a source share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specprobe.errors import DataError
from specprobe.images.decode import decode, stored_channels
from specprobe.recipe import Geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Frame", "frame_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every picture of a source becomes.

    Attributes
    ----------
    shape : (int, int, int)
        C, H, W.
    geometry : Geometry or None
        Resize and crop.
    first : str
        Name of the picture that set the shape.
    grey_only : bool
        Whether colour is refused, because the first picture is grey and nobody asked for a number of channels.
    """

    shape: tuple[int, int, int]
    geometry: Geometry | None
    first: str
    grey_only: bool

    def decode(self, source: Path | bytes, name: str) -> "NDArray[np.uint8]":
        """Pixels of one picture.

        Parameters
        ----------
        source : pathlib.Path or bytes
            The encoded picture.
        name : str
            What messages call it.

        Returns
        -------
        numpy.ndarray of uint8, shape (C, H, W)
            Of this frame's shape.
        """
        pixels = decode(
            source, name, channels=self.shape[0], geometry=self.geometry, grey_only=self.grey_only
        )
        if pixels.shape != self.shape:
            (_, height, width), (_, first_height, first_width) = pixels.shape, self.shape
            msg = (
                f"pictures differ in size (width x height): {name} has {width}x{height}, {self.first} has "
                f"{first_width}x{first_height}. Resize and crop them, by "
                "--resize 256 --crop 224, say, or by the geometry of a recipe"
            )
            raise DataError(msg)
        return pixels


def frame_of(source: Path | bytes, name: str, *, channels: int | None, geometry: Geometry | None) -> Frame:
    """Frame that the first picture of a source sets.

    Parameters
    ----------
    source : pathlib.Path or bytes
        The first picture.
    name : str
        What messages call it.
    channels : int or None
        1 or 3; None for those of the first picture.
    geometry : Geometry or None
        Resize and crop.

    Returns
    -------
    Frame
        The picture itself has been decoded, so that a damaged or unsuitable one is met early.
    """
    if channels not in {None, 1, 3}:
        msg = f"channels={channels} asked of the picture {name}; pictures are decoded to 1 (grey) or 3 (RGB)"
        raise DataError(msg)
    wanted = channels or stored_channels(source, name)
    _, height, width = decode(source, name, channels=wanted, geometry=geometry).shape
    return Frame(
        shape=(wanted, height, width),
        geometry=geometry,
        first=name,
        grey_only=channels is None and wanted == 1,
    )
