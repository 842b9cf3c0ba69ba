"""Figure of an attack: images before and after, what was added, and where that lies in the spectrum."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.attacks.outcome import EXAMPLES
from specprobe.report.perturbation import draw_cumulative, draw_ring_sums
from specprobe.spectral.grid import frequencies
from specprobe.spectral.power import full_plane, image_power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from specprobe.attacks.outcome import AttackOutcome

__all__ = ["amplification", "draw_attack"]

_FLOOR = 1e-4
"""Of the largest cell of a spectrum; what is darker is drawn as dark."""
_WIDTH, _TITLE, _IMAGES, _PROFILE = 12.0, 0.4, 6.2, 3.9
"""Width, and heights of the parts from top to bottom, in inches."""


def draw_attack(result: "AttackOutcome", /, *, title: str = "") -> "Figure":
    """Images that fell, clean and as attacked, their perturbations and spectra; below, the spectrum of all.

    Parameters
    ----------
    result : AttackOutcome
        Read from JSON, it has no images.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    shown = 0 if result.example_clean is None else len(result.example_clean)
    profile = result.perturbation is not None and result.perturbation.averaged > 0
    height = _TITLE + _IMAGES * bool(shown) + _PROFILE
    # Placed by hand: the layout engine rounds differently from run to run, and with it the names in an SVG.
    figure = Figure(figsize=(_WIDTH, height))
    if shown:
        _examples(figure, result, shown)
    if profile and result.perturbation is not None:
        left, right = figure.subplots(
            1,
            2,
            width_ratios=[1, 1],
            gridspec_kw=_margins(height, 0.55, _PROFILE - 0.45, right=0.4) | {"wspace": 0.22},
        )
        draw_ring_sums(left, result.perturbation)
        draw_cumulative(right, result.perturbation)
    else:
        axis = figure.subplots(gridspec_kw=_margins(height, 0.1, _PROFILE - 0.1, right=0.4))
        axis.set_axis_off()
        axis.text(0.5, 0.5, "no image was moved", ha="center", va="center")
    name = f"{title}: " if title else ""
    low, high = result.robust_accuracy_interval
    band = "" if result.band is None else f", band {result.band}"
    figure.suptitle(
        f"{name}{result.attack}, {result.threat_norm} norm up to {result.epsilon:.4g}{band}: robust accuracy "
        f"{result.robust_accuracy:.3f} [{low:.3f}, {high:.3f}], {result.images} images",
        parse_math=False,
        fontsize="medium",
        y=1 - 0.1 / height,
        va="top",
    )
    return figure


def amplification(perturbations: "NDArray[np.float32]", /) -> int:
    """Factor by which perturbations are shown.

    Parameters
    ----------
    perturbations : numpy.ndarray, shape (n, C, H, W)
        In pixels of [0, 1].

    Returns
    -------
    int
        The largest of 1, 2, 5, 10, 20, … that keeps them within half of the range.
    """
    largest = float(np.max(np.abs(perturbations), initial=0.0))
    factors = [step * 10**power for power in range(5) for step in (1, 2, 5)]
    return max((factor for factor in factors if factor * largest <= 0.5), default=1)


def _margins(height: float, low: float, high: float, *, right: float) -> dict[str, float]:
    """Edges of a grid of axes, of those in inches above the lower edge of the figure."""
    return {"bottom": low / height, "top": high / height, "left": 0.8 / _WIDTH, "right": 1 - right / _WIDTH}


def _examples(figure: "Figure", result: "AttackOutcome", shown: int) -> None:
    clean, made = (np.asarray(x) for x in (result.example_clean, result.example_adversarial))
    index, classes = (np.asarray(x) for x in (result.example_index, result.example_classes))
    added = made - clean
    factor = amplification(added)
    height = _TITLE + _IMAGES + _PROFILE
    margins = _margins(height, _PROFILE + 0.45, _PROFILE + _IMAGES - 0.4, right=0.85)
    axes = figure.subplots(4, EXAMPLES, squeeze=False, gridspec_kw=margins)  # few images are not blown up
    spectra = full_plane(image_power(added.astype(np.float64)), shape=(added.shape[-2], added.shape[-1]))
    spectra = np.asarray(spectra) / np.maximum(np.sum(spectra, axis=(1, 2), keepdims=True), 1e-300)
    for axis in axes[:, shown:].ravel():
        axis.set_axis_off()
    for place in range(shown):
        _image(axes[0, place], clean[place])
        axes[0, place].set_title(
            f"image {index[place]}\nclass {classes[place, 0]} → {classes[place, 1]}", fontsize="small"
        )
        _image(axes[1, place], made[place])
        _image(axes[2, place], 0.5 + factor * added[place])
    drawn = _spectra(list(axes[3]), spectra)
    box = axes[3, -1].get_position()
    cell = figure.add_axes((box.x1 + 0.1 / _WIDTH, box.y0, 0.1 / _WIDTH, box.height))
    bar = figure.colorbar(drawn, cax=cell)
    bar.set_label("share of power", fontsize="small")
    bar.ax.tick_params(labelsize="x-small")
    labels = (
        "clean",
        "adversarial",
        f"perturbation × {factor}\n(grey: none)",
        "spectrum\nvertical (cycles/image)",
    )
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize="small")


def _image(axis: "Axes", pixels: "NDArray[Any]") -> None:
    values = np.clip(np.moveaxis(pixels, 0, -1), 0, 1)
    if values.shape[-1] != 3:
        values = values.mean(axis=-1)
    axis.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def _spectra(axes: "list[Axes]", spectra: "NDArray[np.float64]") -> Any:
    """Power by frequency, on one scale."""
    from matplotlib.colors import LogNorm

    f_y, f_x = frequencies((spectra.shape[-2], spectra.shape[-1]))
    largest = max(float(spectra.max()), 1e-300)
    for place, (axis, values) in enumerate(zip(axes, spectra, strict=False)):
        drawn = axis.imshow(
            np.clip(values, _FLOOR * largest, None),
            cmap="magma",
            norm=LogNorm(_FLOOR * largest, largest),
            extent=(f_x[0] - 0.5, f_x[-1] + 0.5, f_y[-1] + 0.5, f_y[0] - 0.5),
            interpolation="nearest",
            aspect="auto" if spectra.shape[-2] != spectra.shape[-1] else "equal",
        )
        axis.tick_params(labelsize="x-small")
        axis.locator_params(integer=True, nbins=4)
        if place:
            axis.set_yticklabels([])
    axes[len(spectra) // 2].set_xlabel("horizontal (cycles/image)", fontsize="small")
    return drawn
