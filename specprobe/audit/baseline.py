"""What was measured when it was last good: a file that tightens, and loosens only when told to."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specprobe.audit.verdicts import Limit
from specprobe.errors import ConfigError
from specprobe.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from specprobe.audit.config import Check

__all__ = ["Baseline", "Entry", "limit_of", "read_baseline", "updated", "write_baseline"]

SCHEMA = "specprobe-baseline/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One metric of one model when the baseline was written.

    Attributes
    ----------
    metric : str
        Name.
    value : float
        Then.
    interval : (float, float) or None
        Of it.
    images : int or None
        That it was measured on.
    data : str
        Digest of these images, in their order; empty without data.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    images: int | None = None
    data: str = ""


Baseline = dict[tuple[str, str], Entry]
"""Entries by file name of the model and name of the check."""


def read_baseline(path: Path, /) -> Baseline:
    """Baseline in a file.

    Parameters
    ----------
    path : pathlib.Path
        JSON; need not exist.

    Returns
    -------
    dict
        Empty where there is no file.

    Raises
    ------
    ConfigError
        If the file is no baseline.
    """
    if not path.exists():
        return {}
    try:
        found = _entries(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path.name} is no baseline: {error}; write one with --update-baseline"
        raise ConfigError(msg) from error
    return found


def _entries(content: dict[str, Any]) -> Baseline:
    if content["schema"] != SCHEMA:
        msg = f"its schema is {content['schema']!r}, not '{SCHEMA}'"
        raise ValueError(msg)
    found: Baseline = {}
    for model, checks in content["models"].items():
        for check, entry in checks.items():
            bounds = entry.pop("interval")
            found[model, check] = Entry(**entry, interval=None if bounds is None else tuple(bounds))
    return found


def write_baseline(path: Path, baseline: "Mapping[tuple[str, str], Entry]", /) -> None:
    """Write a baseline, sorted, so that its history reads well.

    Parameters
    ----------
    path : pathlib.Path
        Replaced in one step.
    baseline : mapping
        By model and check.
    """
    models: dict[str, dict[str, Any]] = {}
    for (model, check), entry in sorted(baseline.items()):
        models.setdefault(model, {})[check] = asdict(entry)
    text = json.dumps({"schema": SCHEMA, "models": models}, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def limit_of(check: "Check", entry: Entry, /) -> Limit:
    """Limit that a baseline sets.

    Parameters
    ----------
    check : Check
        Says which way is good, and how much worse it may be.
    entry : Entry
        Of the model.

    Returns
    -------
    Limit
        One-sided.
    """
    tolerance = f" ± {check.tolerance:g}" if check.tolerance else ""
    origin = f"the baseline {entry.value:.4g}{tolerance}"
    if check.better == "higher":
        return Limit(minimum=entry.value - check.tolerance, origin=origin, whole=False)
    return Limit(maximum=entry.value + check.tolerance, origin=origin, whole=False)


def updated(
    baseline: "Mapping[tuple[str, str], Entry]",
    measured: "Iterable[tuple[str, Check, Entry]]",
    /,
    *,
    allow_worse: bool = False,
) -> tuple[Baseline, tuple[str, ...]]:
    """Baseline after a run: better values come in, worse ones only when allowed, what is gone goes.

    Parameters
    ----------
    baseline : mapping
        As it was.
    measured : iterable of (str, Check, Entry)
        Model, check and what was measured now: all of this run's.
    allow_worse : bool
        Whether worse values come in, too.

    Returns
    -------
    baseline : dict
        Of the models and checks that were measured.
    notes : tuple of str
        What changed, and what was kept back.
    """
    made: Baseline = {}
    notes = []
    for model, check, entry in measured:
        key = model, check.name
        old = baseline.get(key)
        if old is None or old.metric != entry.metric or (old.data and old.data != entry.data):
            notes.append(f"{model}, {check.name}: {entry.value:.4g}, new")
            made[key] = entry
            continue
        gain = (entry.value - old.value) * (1 if check.better == "higher" else -1)
        if gain > 0 or (allow_worse and gain < 0):
            notes.append(f"{model}, {check.name}: {old.value:.4g} to {entry.value:.4g}")
            made[key] = entry
        else:
            made[key] = old
            if gain < 0:
                notes.append(
                    f"{model}, {check.name}: {entry.value:.4g} is worse than {old.value:.4g}, which stays; "
                    "--allow-worse takes it"
                )
    gone = sorted(set(baseline) - set(made))
    notes += [f"{model}, {check}: gone" for model, check in gone]
    return made, tuple(notes)
