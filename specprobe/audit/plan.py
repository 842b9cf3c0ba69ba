"""Which analyses an audit needs: what several checks ask for is measured once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from specprobe.audit.config import Check
from specprobe.errors import ConfigError

__all__ = ["Job", "jobs"]

_TOGETHER = ("accuracy", "sensitivity", "bands")
"""Analyses that share one pass over the images."""
_FILTERS = ("radii", "bands", "wedges")
_FREE = ("model", "filters")
"""Those that need no images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One pass over the images of one model.

    Attributes
    ----------
    analyses : tuple of str
        One, or several of those that share a pass.
    settings : dict of str to dict
        By analysis.
    limit : int or None
        Only the first so many images.
    checks : tuple of Check
        Whose metrics it measures.
    """

    analyses: tuple[str, ...]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    limit: int | None = None
    checks: tuple[Check, ...] = ()


def jobs(checks: Iterable[Check], /) -> list[Job]:
    """Jobs for one model, each analysis with the same settings once.

    Parameters
    ----------
    checks : iterable of Check
        That concern the model.

    Returns
    -------
    list of Job
        First the one without images, if there is one; then in the order of the checks. Filters that checks of band
        accuracy name join one pass; its setting ``sweep`` says whether the default radii do, too.

    Raises
    ------
    ConfigError
        If a metric of bands names no filter.
    """
    free: list[Check] = []
    shared: dict[int | None, list[Check]] = {}
    alone: dict[tuple[str, Any, int | None], list[Check]] = {}
    for check in checks:
        if check.analysis in _FREE:
            free.append(check)
        elif check.analysis in _TOGETHER:
            shared.setdefault(check.limit, []).append(check)
        else:
            alone.setdefault((check.analysis, _frozen(check.settings), check.limit), []).append(check)
    found = [Job(analyses=_FREE, checks=tuple(free))] if free else []
    for limit, asked in shared.items():
        found += _passes(asked, limit)
    for (analysis, _, limit), asked in alone.items():
        settings = {analysis: dict(asked[0].settings)}
        found.append(Job(analyses=(analysis,), settings=settings, limit=limit, checks=tuple(asked)))
    return found


def _passes(checks: list[Check], limit: int | None) -> Iterator[Job]:
    """As few passes as the settings allow: each may hold one setting of each analysis."""
    variants: dict[str, dict[Any, list[Check]]] = {}
    for check in checks:
        settings = {name: value for name, value in check.settings.items() if name not in _FILTERS}
        variants.setdefault(check.analysis, {}).setdefault(_frozen(settings), []).append(check)
    for place in range(max(len(held) for held in variants.values())):
        asked = {name: list(held.values())[place] for name, held in variants.items() if place < len(held)}
        settings = {name: _joined(name, group) for name, group in asked.items()}
        yield Job(
            analyses=tuple(name for name in _TOGETHER if name in asked),
            settings={name: given for name, given in settings.items() if given},
            limit=limit,
            checks=tuple(check for group in asked.values() for check in group),
        )


def _joined(analysis: str, checks: list[Check]) -> dict[str, Any]:
    """Settings of one analysis; for bands, with every filter that a check names, and whether the sweep is asked for."""
    settings = {name: value for name, value in checks[0].settings.items() if name not in _FILTERS}
    if analysis != "bands":
        return settings
    filters: dict[str, set[Any]] = {name: set() for name in _FILTERS}
    for check in checks:
        for name, held in filters.items():
            try:
                held |= {
                    tuple(map(float, x)) if isinstance(x, list) else float(x)
                    for x in check.settings.get(name, ())
                }
            except (TypeError, ValueError) as error:
                msg = f"check '{check.name}': {name} {check.settings[name]} are no numbers: {error}"
                raise ConfigError(msg) from error
        kind, value = _filter(check)
        if kind is not None:
            filters[kind].add(value)
    sweep = any(check.metric == "bands.radius_95" and "radii" not in check.settings for check in checks)
    named = {name: tuple(sorted(values)) for name, values in filters.items()}
    return {**settings, **named, "sweep": sweep or not any(named.values())}


def _filter(check: Check) -> tuple[str | None, Any]:
    """Kind and setting of the filter that a metric names."""
    parts = check.metric.split(".", 2)
    if len(parts) < 3 or parts[0] != "bands":
        return None, None
    section, rest = parts[1], parts[2].rpartition(".")[0]
    kinds = {"low_pass": "radii", "high_pass": "radii", "band_pass": "bands", "band_stop": "bands"}
    kind = kinds.get(section, "wedges" if section.startswith("wedge") else None)
    try:
        if kind == "radii":
            return kind, float(rest)
        if kind is not None:
            low, _, high = rest.partition(":")
            return kind, (float(low), float(high or "inf"))
    except ValueError as error:
        msg = (
            f"check '{check.name}': metric '{check.metric}' names no filter; accepted are such as "
            "bands.low_pass.8.accuracy and bands.band_pass.4:8.accuracy"
        )
        raise ConfigError(msg) from error
    return None, None


def _frozen(value: Any) -> Any:
    """The same settings, fit for a key."""
    if isinstance(value, dict):
        return tuple(sorted((name, _frozen(inner)) for name, inner in value.items()))
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
