"""What a configuration says: models, checks with their limits, waivers."""

import datetime as dt
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias

from specprobe.errors import ConfigError
from specprobe.intervals import CONFIDENCE

__all__ = ["Audit", "Check", "Severity", "Waiver"]

Severity: TypeAlias = Literal["fail", "warn", "pass"]
"""What an inconclusive check counts as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One metric and its limit.

    Attributes
    ----------
    name : str
        Of the check; unique.
    metric : str
        As of :class:`specprobe.analysis.metrics.Metric`.
    minimum, maximum : float or None
        Limits, in the metric's unit.
    better : {"higher", "lower"} or None
        For baselines and comparisons: which way is good.
    baseline : bool
        Whether the limit is what the baseline file holds.
    against : str or None
        Model that it is compared with: a file, or a name among the audited ones.
    tolerance : float
        By how much it may be worse than the baseline or that model.
    models : tuple of str
        Globs on file names that the check is of; empty for all.
    inconclusive : {"fail", "warn", "pass"}
        What it counts as where the interval holds the limit.
    limit : int or None
        Only the first so many images.
    settings : dict
        Of the analysis.
    """

    name: str
    metric: str
    minimum: float | None = None
    maximum: float | None = None
    better: Literal["higher", "lower"] | None = None
    baseline: bool = False
    against: str | None = None
    tolerance: float = 0.0
    models: tuple[str, ...] = ()
    inconclusive: Severity = "warn"
    limit: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def analysis(self) -> str:
        """Key of :data:`ANALYSES`."""
        return self.metric.partition(".")[0]

    def concerns(self, model: str, /) -> bool:
        """Whether a model is checked.

        Parameters
        ----------
        model : str
            File name.

        Returns
        -------
        bool
            True for all models where no glob is given.
        """
        return not self.models or any(fnmatchcase(model, glob) for glob in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A check that may fail for a while.

    Attributes
    ----------
    check, model : str
        Globs on the names of checks and of model files.
    reason : str
        Never empty.
    expires : datetime.date
        The last day on which it counts.
    """

    check: str
    model: str
    reason: str
    expires: dt.date


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """A whole configuration.

    Attributes
    ----------
    path : pathlib.Path
        Where it was read; relative names in it start from its folder.
    models : tuple of str
        Files and globs.
    checks : tuple of Check
        One or more.
    data : dict
        ``source``, ``labels``, ``class_map``, ``limit``.
    recipe : dict
        Preprocessing: options, or ``file``.
    run : dict
        ``device``, ``threads``, ``batch_size``, ``seed``.
    baseline : str
        File of the baseline.
    confidence : float
        Of the intervals.
    waivers : tuple of Waiver
        Those of expired ones included.
    lines : dict of str to int
        Line of the file in which each check begins.
    """

    path: Path
    models: tuple[str, ...]
    checks: tuple[Check, ...]
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    baseline: str = "specprobe-baseline.json"
    confidence: float = CONFIDENCE
    waivers: tuple[Waiver, ...] = ()
    lines: dict[str, int] = field(default_factory=dict)

    def model_files(self) -> list[Path]:
        """Model files, in the order of the configuration, none twice.

        Returns
        -------
        list of pathlib.Path
            Each exists.

        Raises
        ------
        ConfigError
            If a name or glob finds none.
        """
        found: dict[Path, None] = {}
        for text in self.models:
            files = sorted(self.path.parent.glob(text)) if _is_glob(text) else [self.path.parent / text]
            files = [file for file in files if file.is_file()]
            if not files:
                msg = f"{self.path.name}: models: there is no file '{text}' beside it"
                raise ConfigError(msg)
            found |= dict.fromkeys(files)
        return list(found)


def _is_glob(text: str) -> bool:
    return any(mark in text for mark in "*?[")
