"""Figure of a band replacement: what the low and the high part of a perturbation do alone."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.spectral.grid import radius

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.band_replacement_result import BandReplacement

__all__ = ["draw_band_replacement", "draw_damage", "draw_mixed_accuracy"]

# Okabe and Ito's palette: told apart by readers of any colour vision.
_DIRECTIONS = (
    ("low_pass", "perturbation below the radius", "#0072B2", "o"),
    ("high_pass", "perturbation from the radius on", "#D55E00", "s"),
)


def draw_band_replacement(result: "BandReplacement", /, *, title: str = "") -> "Figure":
    """Accuracy and damage over the radius, for both parts of the perturbation.

    Parameters
    ----------
    result : BandReplacement
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    both = result.broken > 0
    figure = Figure(figsize=(11 if both else 6, 4.6), layout="constrained")
    axes = np.ravel(figure.subplots(1, 1 + both, squeeze=False))
    draw_mixed_accuracy(axes[0], result)
    if both:
        draw_damage(axes[1], result)
    name = f"{title}: " if title else ""
    clipped = ", clipped" if result.clip else ""
    figure.suptitle(
        f"{name}clean images with a part of their perturbation{clipped}, {result.images} images, "
        f"{100 * result.confidence:g} % intervals",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def draw_mixed_accuracy(axis: "Axes", result: "BandReplacement", /) -> None:
    """Accuracy over the radius, between those on clean and on adversarial images.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : BandReplacement
        With or without per-image arrays.
    """
    _curves(axis, result, "accuracy")
    axis.axhline(result.clean_accuracy, color="black", linestyle="--", linewidth=1, label="clean")
    axis.axhline(result.adversarial_accuracy, color="grey", linestyle=":", linewidth=1.4, label="adversarial")
    axis.set_ylabel("accuracy")
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)


def draw_damage(axis: "Axes", result: "BandReplacement", /) -> None:
    """Share of the broken images that each part breaks alone, and the energy that it has.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : BandReplacement
        In which at least one image is broken.
    """
    _curves(axis, result, "broken_share")
    axis.plot(
        result.radii,
        result.energy_share,
        color="black",
        linestyle="-.",
        linewidth=1,
        label="energy below the radius",
    )
    axis.axhline(0.5, color="grey", linestyle=":", linewidth=1)
    for name, _, colour, marker in _DIRECTIONS:
        half = getattr(result, f"{name}_half")
        if half.radius is None:
            continue
        low, high = half.interval
        ends = [axis.get_xlim()[0] if low is None else low, axis.get_xlim()[1] if high is None else high]
        axis.plot(ends, [0.5, 0.5], color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt")
        axis.plot([half.radius], [0.5], color=colour, marker=marker, markersize=8, markeredgecolor="black")
    axis.set_ylabel(f"broken, of the {result.broken} images that\nthe whole perturbation breaks")
    axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)


def _curves(axis: "Axes", result: "BandReplacement", key: str) -> None:
    content = result.to_dict()
    for name, label, colour, marker in _DIRECTIONS:
        low, high = np.array([entry[f"{key}_interval"] for entry in content[name]]).T
        values = [entry[key] for entry in content[name]]
        axis.fill_between(result.radii, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(
            result.radii, values, color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label
        )
    last = max(float(radius(result.image_size).max()), *result.radii)
    axis.set_xlim(0, 1.04 * last)
    axis.set_ylim(0, 1.03)
    axis.set_xlabel("radius (cycles per image)")
    axis.grid(alpha=0.3)
