"""Outcomes of attacks as tables, the spectrum of the perturbations drawn in characters."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import console, interval, number
from specprobe_cli.sensitivity_table import bar
from specprobe_cli.tables import findings_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

__all__ = ["attack_tables", "epsilon_text"]

SHOWN_ROWS = 12
_NUMBERS_WIDTH = 50  # all columns but the drawing


def attack_tables(content: "Mapping[str, Any]", /, *, everything: bool) -> "RenderableType":
    """What stands, what it took, the perturbations' spectrum, flags and findings.

    Parameters
    ----------
    content : mapping
        Document of kind ``attack_outcome``.
    everything : bool
        A row a ring, and all flags and findings; otherwise neighbouring rings share a row where there are many.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    parts: list[RenderableType] = [_summary(result, content)]
    if len(result["members"]) > 1:
        parts += [Text(""), _members(result)]
    spectrum = result["perturbation"]
    if spectrum is not None and spectrum["images"] > spectrum["dropped"]:
        parts += [Text(""), _profile(spectrum, every_ring=everything), _numbers(spectrum)]
    parts += [Text(_told(result), style="dim")]
    told = [*result["flags"], *result["findings"]]
    return Group(*parts, *findings_lines(told, everything=everything))


def epsilon_text(epsilon: float, /) -> str:
    """A size in pixels of [0, 1] as people write it.

    Parameters
    ----------
    epsilon : float
        Above 0.

    Returns
    -------
    str
        ``8/255`` where it is a whole number of grey levels, else a decimal number.
    """
    levels = 255 * epsilon
    whole = round(levels)
    return f"{whole}/255" if whole and abs(levels - whole) < 1e-6 and whole < 255 else f"{epsilon:g}"


def _summary(result: "Mapping[str, Any]", content: "Mapping[str, Any]") -> Table:
    table = Table(
        title=Text(content["model"]["file"]),
        title_justify="left",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    source = content["data"].get("name", "the data")
    table.add_row("attack", Text(_setting(result)))
    if result["clean_accuracy"] is not None:
        line = Text(interval(result["clean_accuracy"], result["clean_accuracy_interval"]))
        told = (
            f"  ({result['correct']} of {result['images']} images of {source}; chance {result['chance']:.3f})"
        )
        table.add_row("clean accuracy", line.append(told, style="dim"))
    line = Text(interval(result["robust_accuracy"], result["robust_accuracy_interval"]))
    what = "right and stay right" if result["target"] == "true" else "keep their prediction"
    told = f"  ({result['standing']} of {result['images']} images {what})"
    table.add_row("robust accuracy", line.append(told, style="dim"))
    if result["success_rate"] is not None:
        line = Text(interval(result["success_rate"], result["success_rate_interval"]))
        fallen = result["attacked"] - result["standing"]
        table.add_row(
            "success", line.append(f"  ({fallen} of {result['attacked']} images attacked)", style="dim")
        )
    norm = result["threat_norm"]
    if result["median_perturbation_norm"] is not None:
        line = Text(_median(result, "median_perturbation_norm"))
        table.add_row(
            f"median {norm} norm", line.append("  of the perturbations that images fell to", style="dim")
        )
    if result["minimal_norm"]:
        line = Text(_median(result, "median_distance"))
        told = "  to the nearest image of another class, of all images attacked"
        table.add_row(f"median {norm} distance", line.append(told, style="dim"))
    table.add_row("evaluations", _evaluations(result))
    return table


def _setting(result: "Mapping[str, Any]") -> str:
    parts = [f"{result['attack']}, {result['threat_norm']}, epsilon {epsilon_text(result['epsilon'])}"]
    if result["band"] is not None:
        parts.append(f"band {result['band']}")
    if result["frequency"] is not None:
        parts.append("frequency {}, {} (vertical, horizontal) cycles/image".format(*result["frequency"]))
    if result["steps"] is not None:
        parts.append(f"{result['steps']} steps")
    if result["step_size"] is not None:
        parts.append(f"step size {epsilon_text(result['step_size'])}")
    if result["queries"] is not None:
        what = "frequencies tried" if result["attack"] == "universal" else "queries"
        parts.append(f"{result['queries']} {what}")
    if result["restarts"] > 1:
        parts.append(f"{result['restarts']} restarts")
    return ", ".join(parts)


def _median(result: "Mapping[str, Any]", key: str) -> str:
    bounds = result[f"{key}_interval"]
    if result[key] is None and bounds is None:
        return "∞"
    value = "∞" if result[key] is None else f"{result[key]:.4g}"
    if bounds is None:
        return value
    low, high = ("∞" if end is None else f"{end:.4g}" for end in bounds)
    return f"{value} [{low}, {high}]"


def _evaluations(result: "Mapping[str, Any]") -> Text:
    forward, gradient = result["forward_evaluations"], result["gradient_evaluations"]
    line = Text(
        ", ".join(
            f"{count:,}".replace(",", " ") + f" {kind}"
            for count, kind in ((forward, "forward"), (gradient, "gradient"))
        )
    )
    if result["attacked"]:
        each = f"{forward / result['attacked']:.1f} and {gradient / result['attacked']:.1f}"
        line.append(f"  ({each} for an image attacked)", style="dim")
    return line


def _members(result: "Mapping[str, Any]") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("attack", no_wrap=True)
    for name in ("images", "fell to it", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in result["members"]:
        left = part["attacked"] - part["fallen"]
        table.add_row(part["attack"], str(part["attacked"]), str(part["fallen"]), str(left))
    return table


def _profile(spectrum: "Mapping[str, Any]", *, every_ring: bool) -> Table:
    """Ring sums beside those of white noise."""
    rings, share, white = (spectrum[k] for k in ("cycles_per_image", "ring_sum_share", "white_noise_share"))
    bounds = spectrum["ring_sum_share_interval"]
    size = 1 if every_ring or len(rings) <= 2 * SHOWN_ROWS else -(-len(rings) // SHOWN_ROWS)
    rows = [
        (a, b, sum(share[a:b]), sum(white[a:b]))
        for a, b in pairwise([*range(0, len(rings), size), len(rings)])
    ]
    full = max(max(value, reference) for _, _, value, reference in rows)
    width = max(12, min(48, console().width - _NUMBERS_WIDTH))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cycles/image", justify="right", no_wrap=True)
    table.add_column("share of power", no_wrap=True)
    table.add_column("white", justify="right", no_wrap=True)
    table.add_column("│ white noise", no_wrap=True)
    for a, b, value, reference in rows:
        label = str(rings[a]) if b - a == 1 else f"{rings[a]}–{rings[b - 1]}"
        told = interval(value, bounds[a]) if b - a == 1 and _known(bounds) else number(value)
        drawn = Text(bar(value, reference, full=full, width=width), style="cyan")
        table.add_row(label, told, number(reference), drawn)
    return table


def _numbers(spectrum: "Mapping[str, Any]") -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, label in (
        ("centroid_cycles_per_image", "centroid (cycles/image)"),
        ("half_power_cycles_per_image", "half of the power below (cycles/image)"),
    ):
        bounds = spectrum[f"{key}_interval"]
        known = spectrum[key] is not None and _known(bounds)
        table.add_row(label, interval(spectrum[key], bounds) if known else number(spectrum[key]))
    return table


def _known(bounds: Any) -> bool:
    """Whether there is an interval: one image has none."""
    while isinstance(bounds, list):
        bounds = bounds[0]
    return bounds is not None


def _told(result: "Mapping[str, Any]") -> str:
    spectrum = result["perturbation"]
    percent = f"{100 * result['confidence']:g} % intervals"
    stands = "What stands is an upper bound: another attack may turn it."
    if spectrum is None or spectrum["images"] == spectrum["dropped"]:
        return f"{stands} {percent}."
    averaged = spectrum["images"] - spectrum["dropped"]
    return f"{stands} Spectrum: ring sums, mean over {averaged} perturbations. {percent}."
