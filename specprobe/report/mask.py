"""Figure of a Fourier mask: the mask, what it leaves of an image, and where it lies."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.mask_energy import radial_centres
from specprobe.report.sensitivity import draw_rings
from specprobe.spectral.grid import frequencies
from specprobe.spectral.masks import apply_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from specprobe.analysis.mask_result import FourierMask

__all__ = ["draw_mask"]

_BLUE, _GREY = "#0072B2", "#666666"


def draw_mask(result: "FourierMask", /, *, title: str = "") -> "Figure":
    """Mask, energy by radius, and the first image without a mask, under it, and under its complement.

    Parameters
    ----------
    result : FourierMask
        Of results read from JSON, which hold no mask, the energies are drawn alone. Masks of images and of channels are
        shown as their mean; the image is under its own.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    masks, image = result.masks, result.example_image
    if masks is None or image is None:
        figure = Figure(figsize=(6.5, 4.2), layout="constrained")
        _energy(figure.subplots(), result)
    else:
        figure = Figure(figsize=(10.5, 8.4), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(1.2, 1))
        upper, lower = parts
        left, right = upper.subplots(1, 2)
        _map(left, result, masks.mean(axis=(0, 1)))
        _energy(right, result)
        own = masks[0]
        shown = (
            (image, "first image"),
            (apply_mask(image[None], own)[0], "under the mask"),
            (apply_mask(image[None], (own == 0).astype(np.float32))[0], "under its complement"),
        )
        for axis, (pixels, label) in zip(lower.subplots(1, 3), shown, strict=True):
            _picture(axis, pixels, label, own_scale=label == "under its complement")
    name = f"{title}: " if title else ""
    many = f"masks of {result.images} images" if result.per_image else f"one mask for {result.images} images"
    accuracy = (
        ""
        if result.accuracy is None
        else f"accuracy {result.accuracy:.3f}, {result.masked_accuracy:.3f} under it, "
    )
    figure.suptitle(
        f"{name}{many}, density {result.density:.3f}, {accuracy}agreement {result.agreement:.3f}",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def _map(axis: "Axes", result: "FourierMask", values: "NDArray[np.floating]") -> None:
    shape = (result.image_shape[1], result.image_shape[2])
    f_y, f_x = frequencies(shape)
    drawn = axis.imshow(
        values,
        extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
        interpolation="nearest",
        aspect="equal" if shape[0] == shape[1] else "auto",
        cmap="viridis",
        vmin=0,
        vmax=1 if result.density > 0.05 else max(float(values.max()), 1e-6),
    )
    axis.set_xlabel("horizontal frequency (cycles per image)")
    axis.set_ylabel("vertical frequency (cycles per image)")
    of = [word for word, many in (("images", result.per_image), ("channels", result.per_channel)) if many]
    label = "mask" + (f", mean over {' and '.join(of)}" if of else "")
    figure = axis.get_figure()
    if figure is not None:
        figure.colorbar(drawn, ax=axis, shrink=0.95).set_label(label)
    draw_rings(axis, shape)


def _energy(axis: "Axes", result: "FourierMask") -> None:
    """Energy by radius; white: of a mask of ones."""
    from specprobe.analysis.mask_energy import radial_energy

    shape = (result.image_shape[1], result.image_shape[2])
    bands = len(result.radial_energy)
    white = radial_energy(np.ones(shape), bands=bands)
    held = white > 0  # on small images, some bands hold no frequency
    centres = radial_centres(shape, bands=bands)[held]
    bounds = result.radial_energy_interval
    if bounds is not None and np.isfinite(bounds).all():
        axis.fill_between(centres, *bounds[held].T, color=_BLUE, alpha=0.25, linewidth=0)
    axis.plot(
        centres,
        result.radial_energy[held],
        color=_BLUE,
        marker="o",
        markersize=3,
        linewidth=1.4,
        label="mask",
    )
    axis.plot(centres, white[held], color=_GREY, linestyle=":", linewidth=1.2, label="mask of ones")
    axis.set_xlabel("radius (cycles per image)")
    axis.set_ylabel("energy: L2 norm of the band's part, the mask's being 1")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", frameon=False)


def _picture(axis: "Axes", pixels: "NDArray[np.floating]", label: str, *, own_scale: bool) -> None:
    """An image, on the scale of its own values where they leave [0, 1] or lie close together without the mean."""
    low, high = float(pixels.min()), float(pixels.max())
    if not own_scale or low == high:
        low, high = min(low, 0.0), max(high, 1.0)
    scaled = (pixels - low) / (high - low)
    if len(pixels) == 3:
        axis.imshow(np.moveaxis(scaled, 0, -1), interpolation="nearest")
    else:
        axis.imshow(scaled.mean(axis=0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    scale = "" if (low, high) == (0, 1) else f"\n(shown from {low:.2f} to {high:.2f})"
    axis.set_title(f"{label}{scale}", fontsize="medium")
    axis.set_axis_off()
