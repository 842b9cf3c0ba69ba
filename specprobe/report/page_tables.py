"""Tables of a page: the numbers of any result, records, and models side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specprobe.analysis.metrics import Metric, metrics

__all__ = ["Cell", "Table", "estimate", "numbers", "tables"]

_SHOWN = 14
"""Rows of records that stand in the open; longer tables are folded."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell, and the number that it is sorted by."""

    text: str
    key: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows below a caption; folded away where they are for reference."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


def tables(body: Mapping[str, Any], result: Any, /) -> Iterator[Table]:
    """Tables of a result.

    Parameters
    ----------
    body : mapping
        The result in its document.
    result : Result
        Itself.

    Yields
    ------
    Table
        Its metrics; of a comparison, those of each further model beside the first's; records that it holds.
    """
    if body.get("models") and body.get("metrics"):
        yield from _side_by_side(body)
        return
    held_metrics = numbers(result)
    for caption, folded in (("Numbers", False), ("Further numbers", True)):
        held = [metric for metric in held_metrics if metric.detail == folded]
        if held:
            yield Table(
                caption=caption,
                columns=("metric", "value", "interval", "unit"),
                rows=tuple(_row(metric) for metric in held),
                folded=folded,
            )
    for name, caption in (
        ("convolutions", "Convolutions"),
        ("layers", "Convolutions"),
        ("members", "Attacks in turn"),
        ("verdicts", "Verdicts"),
    ):
        rows = body.get(name)
        if rows and isinstance(rows, list) and isinstance(rows[0], Mapping):
            yield _records(rows, caption)


def _side_by_side(body: Mapping[str, Any]) -> Iterator[Table]:
    """Every metric of each further model beside that of the first: values, paired difference, tests."""
    first, *others = (str(name) for name in body["models"])
    level = 1 - body["confidence"]
    for folded in (False, True):
        held = [metric for metric in body["metrics"] if metric["detail"] == folded]
        for place, other in enumerate(others, start=1):
            if held:
                yield Table(
                    caption=f"{other} and {first}" + (", further metrics" if folded else ""),
                    columns=(
                        *("metric", first, other, "difference", "its interval"),
                        *("p", "adjusted p", f"adjusted p < {level:.3g}"),
                    ),
                    rows=tuple(_compared(metric, place, level) for metric in held),
                    folded=folded,
                )


def _compared(metric: Mapping[str, Any], place: int, level: float) -> tuple[Cell, ...]:
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    values = [metric["values"][i] for i in (0, place)]
    difference, around = metric["differences"][place], metric["differences_interval"][place]
    if metric["whole"]:
        *values, difference = (None if number is None else round(number) for number in (*values, difference))
    p_value, adjusted = (metric[name][place] for name in ("p_values", "p_values_adjusted"))
    told = "" if adjusted is None else "yes" if adjusted < level else "no"
    return (
        Cell(f"{metric['label']}{unit}"),
        *(_cell(value) for value in values),
        Cell("") if difference is None else Cell(_signed(difference), float(difference)),
        Cell(
            "" if around is None else f"[{', '.join('–' if end is None else _signed(end) for end in around)}]"
        ),
        *(Cell("") if p is None else _cell(p) for p in (p_value, adjusted)),
        Cell(told),
    )


def _signed(value: float) -> str:
    return f"+{_digits(value)}" if value > 0 else _digits(value)


def _row(metric: Metric) -> tuple[Cell, ...]:
    return (
        Cell(metric.label),
        Cell(_value(metric), metric.value),
        Cell(_bounds(metric), None if metric.interval is None else metric.interval[0]),
        Cell(metric.unit),
    )


def _records(rows: Sequence[Mapping[str, Any]], caption: str) -> Table:
    """Every field that is a number, a text or a short list, a row a record."""
    columns = tuple(name for name, value in rows[0].items() if not isinstance(value, Mapping))
    return Table(
        caption=caption,
        columns=tuple(name.replace("_", " ") for name in columns),
        rows=tuple(tuple(_cell(row.get(name)) for name in columns) for row in rows),
        folded=len(rows) > _SHOWN,
    )


def _cell(value: Any) -> Cell:
    if isinstance(value, bool) or value is None:
        return Cell({True: "yes", False: "no", None: "–"}[value])
    if isinstance(value, int | float):
        return Cell(_digits(value), float(value))
    if isinstance(value, list):
        return Cell(", ".join(_cell(item).text for item in value))
    return Cell(str(value))


def numbers(result: Any, /) -> tuple[Metric, ...]:
    """Metrics of a result, of which some kinds have none."""
    try:
        return metrics(result)
    except TypeError:
        return ()


def estimate(metric: Metric, /) -> str:
    """Value, interval and unit."""
    return " ".join(part for part in (_value(metric), _bounds(metric), metric.unit) if part)


def _value(metric: Metric) -> str:
    if metric.value is None:
        return "–"
    return f"{metric.value:.0f}" if metric.whole else _digits(metric.value)


def _bounds(metric: Metric) -> str:
    if metric.interval is None:
        return ""
    return f"[{', '.join('–' if end == float('inf') else _digits(end) for end in metric.interval)}]"


def _digits(value: float) -> str:
    """Whole numbers as they are, others with three decimals, or three digits where that says nothing."""
    if isinstance(value, int) or (abs(value) >= 1000 and value == round(value)):
        return f"{value:.0f}"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"
