"""A comparison as a table: a row a metric, a column a model. Names of models are put in as text, never as markup."""

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import console, number, size
from specprobe_cli.tables import findings_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

__all__ = ["comparison_tables"]

_GROUPS = {
    "accuracy": "Accuracy",
    "agreement_with_first": "Accuracy",
    "sensitivity": "Sensitivity",
    "bands": "Bands",
    "heatmap": "Heat map",
    "filters": "Filters",
    "model": "Model",
}
SHOWN_OF_A_SERIES = 4
_DOUBLED = frozenset(str(2**i) for i in range(16))
_LABEL, _LEAST_LABEL, _LEAST_NAME = 32, 14, 12
_TESTS = {"mcnemar": "McNemar's exact test", "sign-flip": "sign flips"}


def comparison_tables(content: "Mapping[str, Any]", /, *, everything: bool) -> "RenderableType":
    """Values of all models, and differences to the first, as many models beside each other as the console has room for.

    Parameters
    ----------
    content : mapping
        Document of kind ``comparison``.
    everything : bool
        All metrics of each series.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result = content["result"]
    models = result["models"]
    metrics = list(result["metrics"] if everything else _shown(result["metrics"]))
    hidden = len(result["metrics"]) - len(metrics)
    parts: list[RenderableType] = []
    others = list(range(1, len(models)))
    room = console().width
    # From all there is to say down to what fits: values' intervals, then differences' intervals are left out.
    for first_bounds, bounds in ((True, True), (False, True), (False, False)):
        rows = [_cells(metric, result, first_bounds=first_bounds, bounds=bounds) for metric in metrics]
        widths = [
            max(min(_LEAST_NAME, len(name)), *(len(row[i]) for row in rows)) for i, name in enumerate(models)
        ]
        column = 2 + max(widths[1:])
        fitting = (room - _LABEL - 2 - widths[0]) // column
        if fitting >= (len(others) if first_bounds else 1):
            break
    fitting = max(1, min(fitting, len(others)))
    longest = max(1 + len(_label(metric)) for metric in metrics)
    label = max(_LEAST_LABEL, min(longest, room - 2 - widths[0] - fitting * column))
    for start in range(0, len(others), fitting):
        block = others[start : start + fitting]
        if parts:
            parts.append(Text(""))
        parts.append(_table(metrics, rows, models, block, widths, label))
    parts += [Text(""), *_told(result, content.get("data"), hidden)]
    return Group(*parts, *findings_lines(result["findings"], everything=True))


def _table(
    metrics: "Sequence[Mapping[str, Any]]",
    rows: "Sequence[Sequence[str]]",
    models: "Sequence[str]",
    block: "Sequence[int]",
    widths: "Sequence[int]",
    label: int,
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True, overflow="ellipsis", width=label)
    for i in (0, *block):
        table.add_column(
            Text(_short(models[i], widths[i])), no_wrap=True, overflow="ellipsis", width=widths[i]
        )
    group = None
    for metric, cells in zip(metrics, rows, strict=True):
        if _group(metric) != group:
            group = _group(metric)
            table.add_row(Text(group, style="bold cyan"))
        chosen = [Text(cells[i], style="bold" if cells[i].endswith("*") else "") for i in (0, *block)]
        table.add_row(Text(f" {_label(metric)}"), *chosen)
    return table


def _short(name: str, width: int) -> str:
    """The end of a name, which tells models apart."""
    return name if len(name) <= width else f"…{name[1 - width :]}"


def _shown(metrics: "Sequence[Mapping[str, Any]]") -> "Iterator[Mapping[str, Any]]":
    """All but the series, of which there are a few: accuracies, or agreements where there are none.

    Radii are doubled from row to row; of other series there are four.
    """
    series: dict[str, list[Mapping[str, Any]]] = {}
    for metric in metrics:
        if metric["detail"]:
            series.setdefault(_series(metric), []).append(metric)
    kept = set()
    for name, members in series.items():
        if name.endswith(".agreement") and name.replace(".agreement", ".accuracy") in series:
            continue
        doubled = [member for member in members if _setting(member) in _DOUBLED]
        last = len(members) - 1
        places = {round(i * last / (SHOWN_OF_A_SERIES - 1)) for i in range(SHOWN_OF_A_SERIES)}
        kept |= {member["name"] for member in doubled or [members[i] for i in sorted(places)]}
    for metric in metrics:
        if not metric["detail"] or metric["name"] in kept:
            yield metric


def _setting(metric: "Mapping[str, Any]") -> str:
    """What sets it apart in its series."""
    return ".".join(metric["name"].split(".")[2:-1])


def _series(metric: "Mapping[str, Any]") -> str:
    """Name without the setting in its middle."""
    words = metric["name"].split(".")
    return ".".join([*words[:2], words[-1]])


def _group(metric: "Mapping[str, Any]") -> str:
    return _GROUPS.get(metric["name"].split(".")[0], "Further")


def _label(metric: "Mapping[str, Any]") -> str:
    name = metric["label"].partition(": ")[2] or metric["label"]
    return f"{name} ({metric['unit']})" if metric["unit"] not in {"", "B"} else name


def _cells(
    metric: "Mapping[str, Any]", result: "Mapping[str, Any]", *, first_bounds: bool, bounds: bool
) -> list[str]:
    """What stands in the columns of the models: the value, then the difference to the first."""
    cells = []
    for i, value in enumerate(metric["values"]):
        text = _value(metric, value)
        around = metric["values_interval"][i]
        if first_bounds and around is not None and value is not None:
            text += f" {_bounds(around, '')}"
        difference = metric["differences"][i]
        if difference is not None:
            text += f"  {_value(metric, difference, sign=True)}"
            around = metric["differences_interval"][i]
            if bounds and around is not None:
                text += f" {_bounds(around, '+')}"
            adjusted = metric["p_values_adjusted"][i]
            text += " *" if adjusted is not None and adjusted < 1 - result["confidence"] else ""
        cells.append(text)
    return cells


def _value(metric: "Mapping[str, Any]", value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    if metric["name"] == "model.gradient_supported" and not sign:
        return "yes" if value else "no"
    if not metric["whole"]:
        return f"{value:+.3f}" if sign else number(value)
    text = size(abs(value) if sign else value, metric["unit"], base=1024 if metric["unit"] == "B" else 1000)
    return f"{'-' if value < 0 else '+'}{text}" if sign else text


def _bounds(around: "Sequence[float | None]", sign: str) -> str:
    low, high = ("–" if end is None else f"{end:{sign}.3f}" for end in around)
    return f"[{low}, {high}]"


def _told(result: "Mapping[str, Any]", data: "Mapping[str, Any] | None", hidden: int) -> "Iterator[Text]":
    """How to read the table."""
    percent = f"{100 * result['confidence']:g} %"
    used = [test for test in _TESTS if any(metric["test"] == test for metric in result["metrics"])]
    tests = max(
        (
            sum(metric["p_values"][i] is not None for metric in result["metrics"])
            for i in range(1, len(result["models"]))
        ),
        default=0,
    )
    line = Text("Signed numbers are differences to the first model", style="dim")
    if result["images"] is not None:
        source = (data or {}).get("name", "the data")
        line.append(f", paired over {result['images']} images of {source}, with {percent} intervals")
    line.append(".")
    if tests:
        line.append(
            f" * adjusted p < {1 - result['confidence']:.3g}: {' and '.join(_TESTS[test] for test in used)}, "
            f"Benjamini–Hochberg over {tests} tests a model."
        )
    if hidden:
        line.append(f" {hidden} more metrics with -v.")
    yield line
