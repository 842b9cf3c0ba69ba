"""Figures of the page that compares networks with twins of another training or architecture."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twins import Measured, Spectra

AUGMENTED = ("noise", "low-pass", "scale", "rotation")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")


def centroid_figure(
    families: "dict[str, Measured]", others: "dict[str, list[Spectra]]", measures: "Sequence[str]"
) -> Figure:
    """Shifts of the centroid: a panel a family, a row a twin, a marker a measure; other seeds hollow."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    axes = figure.subplots(1, len(families), squeeze=False)[0]
    for axis, (family, found) in zip(axes, families.items(), strict=True):
        twins = found.names[1:]
        for step, (measure, colour, marker) in enumerate(zip(measures, COLOURS, MARKERS, strict=False)):
            rows = np.arange(len(twins)) + 0.24 * (step - 1)
            shifts = [found.shift(measure, i + 1) for i in range(len(twins))]
            values = np.array([shift.value for shift in shifts])
            bounds = np.array([shift.interval for shift in shifts], np.float64)
            axis.errorbar(
                values,
                rows,
                xerr=np.abs(bounds.T - values),
                color=colour,
                marker=marker,
                markersize=5,
                linestyle="none",
                label=measure,
            )
            for other in others[family]:
                held = [i for i, name in enumerate(twins) if name in other.names]
                again = [other.shift(measure, other.names.index(twins[i])).value for i in held]
                axis.plot(
                    again,
                    rows[held],
                    color=colour,
                    marker=marker,
                    markersize=5,
                    fillstyle="none",
                    linestyle="none",
                )
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(twins)), twins)
        axis.invert_yaxis()
        axis.set_title(f"{family}, difference to {found.names[0]}", fontsize="medium")
        axis.set_xlabel("shift of the centroid (cycles per image)")
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def mask_figure(families: "dict[str, Measured]") -> Figure:
    """Energy of the masks by radius, of each augmented twin less that of the first network."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots(1, len(families), squeeze=False)[0]
    for axis, (family, found) in zip(axes, families.items(), strict=True):
        for name, colour, marker in zip(AUGMENTED, COLOURS, MARKERS, strict=True):
            difference = found.masks[found.names.index(name) - 1]
            inside = difference.radial_centres < min(difference.image_shape[1:]) / 2
            held = inside & ~np.isnan(difference.radial_difference)
            centres = difference.radial_centres[held]
            low, high = np.asarray(difference.radial_difference_interval)[held].T
            axis.fill_between(centres, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.plot(
                centres,
                difference.radial_difference[held],
                color=colour,
                marker=marker,
                markersize=4,
                label=name,
            )
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_title(
            f"{family}: energy of the masks of images, less that of {found.names[0]}",
            fontsize="medium",
        )
        axis.set_xlabel("radius (cycles per image)")
        axis.set_ylabel("difference of energy")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    return figure
