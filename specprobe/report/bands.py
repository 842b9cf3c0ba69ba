"""Figure of a band accuracy: curves over the cut-off, and bands and wedges where there are any."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.spectral.grid import radius

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specprobe.analysis.band_result import BandAccuracy

__all__ = ["draw_bands", "draw_curves"]

# Okabe and Ito's palette: told apart by readers of any colour vision.
_KEPT, _REMOVED, _MARK = "#0072B2", "#D55E00", "#009E73"
_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2, "frameon": False}
_GROUPS = (
    ("band_pass", "band_stop", "band (cycles per image)", ("band alone", "without the band")),
    ("wedge_pass", "wedge_stop", "direction (degrees)", ("wedge alone", "without the wedge")),
)


def draw_bands(result: "BandAccuracy", /, *, title: str = "") -> "Figure":
    """Accuracy and agreement over the cut-off; accuracy with and without each band and wedge.

    Parameters
    ----------
    result : BandAccuracy
        With or without per-image arrays.
    title : str
        Above the figure, without mathematical markup.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window.
    """
    from matplotlib.figure import Figure

    content = result.to_dict()
    labelled = content["clean_accuracy"] is not None
    panels: list[tuple[str, ...]] = []
    if result.radii:
        panels += [("curve", "accuracy")] if labelled else []
        panels += [("curve", "agreement")]
    panels += [("group", *group[:3]) for group in _GROUPS if content[group[0]]]
    rows = 1 if len(panels) <= 3 else 2
    columns = -(-len(panels) // rows)
    figure = Figure(figsize=(5.2 * columns, 4.6 * rows), layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns))
    for axis, panel in zip(axes, panels, strict=True):
        if panel[0] == "curve":
            draw_curves(axis, result, panel[1])
        else:
            group = next(group for group in _GROUPS if group[0] == panel[1])
            _groups(axis, content, group, "accuracy" if labelled else "agreement")
    settings = ("clipped, " if result.clip else "") + ("mean restored, " if result.mean_restored else "")
    name = f"{title}: " if title else ""
    figure.suptitle(
        f"{name}filtered images, {settings}{result.images} images, {100 * result.confidence:g} % intervals",
        parse_math=False,
        fontsize="medium",
    )
    return figure


def draw_curves(axis: "Axes", result: "BandAccuracy", key: str, /) -> None:
    """Low-pass and high-pass sweeps over the cut-off, with their intervals.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Drawn into.
    result : BandAccuracy
        With radii.
    key : {"accuracy", "agreement"}
        What is drawn.
    """
    content = result.to_dict()
    for name, label, colour, marker in (
        ("low_pass", "low-pass: below the cut-off", _KEPT, "o"),
        ("high_pass", "high-pass: from the cut-off on", _REMOVED, "s"),
    ):
        entries = content[name]
        low, high = np.array([entry[f"{key}_interval"] for entry in entries]).T
        axis.fill_between(result.radii, low, high, color=colour, alpha=0.25, linewidth=0)
        axis.plot(
            result.radii,
            [entry[key] for entry in entries],
            color=colour,
            marker=marker,
            markersize=3.5,
            linewidth=1.4,
            label=label,
        )
    if key == "accuracy":
        _references(axis, content)
        _mark_saturation(axis, content)
    last = max(float(radius(result.image_size).max()), *result.radii)
    axis.set_xlim(0, 1.04 * last)
    axis.set_ylim(0, 1.03)
    axis.set_xlabel("cut-off (cycles per image)")
    axis.set_ylabel(key if key == "accuracy" else "agreement with the clean prediction")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", **_BELOW)


def _references(axis: "Axes", content: dict[str, Any]) -> None:
    axis.axhline(
        content["clean_accuracy"], color="black", linestyle="--", linewidth=1, label="clean accuracy"
    )
    axis.axhline(content["chance"], color="grey", linestyle=":", linewidth=1.2, label="chance")


def _mark_saturation(axis: "Axes", content: dict[str, Any]) -> None:
    """Where the low-pass keeps 95 % of the clean accuracy, and the interval of that radius, at the foot."""
    found = content["radius_95"]
    if found is None:
        return
    low, high = content["radius_95_interval"]
    end = axis.get_xlim()[1] if high is None else high
    axis.plot([low, end], [0.03, 0.03], color=_MARK, linewidth=3, alpha=0.5, solid_capstyle="butt")
    axis.plot(
        [found],
        [0.03],
        color=_MARK,
        marker="^",
        markersize=7,
        linestyle="none",
        label=f"radius_95: {found:g}",
    )


def _groups(
    axis: "Axes", content: dict[str, Any], group: tuple[str, str, str, tuple[str, str]], key: str
) -> None:
    kept, removed, label, names = group
    for name, words, colour, marker, shift in (
        (kept, names[0], _KEPT, "o", -0.1),
        (removed, names[1], _REMOVED, "s", 0.1),
    ):
        entries = content[name]
        value = np.array([entry[key] for entry in entries])
        low, high = np.array([entry[f"{key}_interval"] for entry in entries]).T
        axis.errorbar(
            np.arange(len(entries)) + shift,
            value,
            yerr=[value - low, high - value],
            color=colour,
            marker=marker,
            markersize=5,
            linestyle="none",
            capsize=3,
            label=words,
        )
    if key == "accuracy":
        _references(axis, content)
    places = [_range(entry) for entry in content[kept]]
    turned = sum(map(len, places)) > 45
    axis.set_xticks(
        range(len(places)), places, rotation=60 if turned else 0, ha="right" if turned else "center"
    )
    axis.set_xlim(-0.5, len(places) - 0.5)
    axis.set_ylim(0, 1.03)
    axis.set_xlabel(label)
    axis.set_ylabel(key if key == "accuracy" else "agreement with the clean prediction")
    axis.grid(alpha=0.3, axis="y")
    axis.legend(fontsize="small", **_BELOW)


def _range(entry: dict[str, Any]) -> str:
    if "low_degrees" in entry:
        return f"{entry['low_degrees']:g}:{entry['high_degrees']:g}"
    return f"{entry['low']:g}:" + ("" if entry["high"] is None else f"{entry['high']:g}")
