"""Whether a metric keeps its limit, told by its interval and not by luck."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from specprobe.results import finite

if TYPE_CHECKING:
    from specprobe.audit.config import Check, Severity, Waiver

__all__ = ["AuditResult", "Limit", "Status", "Verdict", "judge", "waived"]

Status: TypeAlias = Literal["pass", "fail", "inconclusive", "waived", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a metric is held against.

    Attributes
    ----------
    minimum, maximum : float or None
        Either may be missing, not both.
    origin : str
        Where they come from, for people: ``min 0.9``, ``baseline 0.912``.
    whole : bool
        Whether the whole interval has to keep it for a pass. What was measured itself, such as a baseline, the value
        need only not fall behind: the same model on the same images must pass.
    """

    minimum: float | None = None
    maximum: float | None = None
    origin: str = ""
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check says of one model.

    Attributes
    ----------
    model, check, metric : str
        File name of the model; names of check and metric.
    status : {"pass", "fail", "inconclusive", "waived", "error"}
        ``error``: it could not be measured.
    measured : float or None
        Value of the metric, or the difference to another model.
    measured_interval : (float, float) or None
        Of it.
    limit : float or None
        The one it is nearest to.
    origin : str
        Where the limit comes from.
    unit : str
        Of all of these.
    message : str
        One sentence.
    inconclusive : {"fail", "warn", "pass"}
        What an inconclusive verdict counts as.
    line : int
        Of the check in the configuration.
    """

    model: str
    check: str
    metric: str
    status: Status
    measured: float | None = None
    measured_interval: tuple[float, float] | None = None
    limit: float | None = None
    origin: str = ""
    unit: str = ""
    message: str = ""
    inconclusive: "Severity" = "warn"
    line: int = 1

    @property
    def fails(self) -> bool:
        """Whether it makes the audit fail."""
        return self.status in {"fail", "error"} or (
            self.status == "inconclusive" and self.inconclusive == "fail"
        )

    @property
    def warns(self) -> bool:
        """Whether people should look at it all the same."""
        return not self.fails and (
            self.status == "waived" or (self.status == "inconclusive" and self.inconclusive == "warn")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """All verdicts of an audit.

    Attributes
    ----------
    verdicts : tuple of Verdict
        By model and check, in the order of the configuration.
    confidence : float
        Of the intervals.
    notes : tuple of str
        On baselines and waivers that are out of date.
    """

    kind: ClassVar[str] = "audit"

    verdicts: tuple[Verdict, ...]
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["pass", "fail"]:
        """Whether anything failed."""
        return "fail" if any(verdict.fails for verdict in self.verdicts) else "pass"

    def counts(self) -> dict[str, int]:
        """Verdicts by status.

        Returns
        -------
        dict of str to int
            Every status, those without verdicts too.
        """
        statuses = ("pass", "fail", "inconclusive", "waived", "error")
        return {status: sum(v.status == status for v in self.verdicts) for status in statuses}

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values.

        Returns
        -------
        dict
            With ``status`` and ``counts``.
        """
        content: dict[str, Any] = finite(
            {
                "status": self.status,
                "counts": self.counts(),
                "confidence": self.confidence,
                "verdicts": [asdict(verdict) for verdict in self.verdicts],
                "notes": list(self.notes),
            }
        )
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], /) -> "AuditResult":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : mapping
            JSON values.

        Returns
        -------
        AuditResult
            Equal to the one that was written, but for infinite ends of intervals, which JSON has no word for.
        """
        names = {field.name for field in fields(Verdict)}
        entries: list[dict[str, Any]] = content["verdicts"]
        return cls(
            verdicts=tuple(_verdict({k: v for k, v in entry.items() if k in names}) for entry in entries),
            confidence=content["confidence"],
            notes=tuple(content["notes"]),
        )


def judge(
    check: "Check",
    model: str,
    limit: Limit,
    /,
    *,
    value: float | None,
    interval: tuple[float, float] | None,
    unit: str = "",
    line: int = 1,
    what: str = "",
) -> Verdict:
    """Verdict of one check on one model.

    A check fails only where the whole interval lies beyond the limit, and passes only where none of it does (or, for a
    limit that was measured itself, where the value does not); in between it is inconclusive: more images would tell.
    A metric without an interval is its own interval.

    Parameters
    ----------
    check : Check
        Names, and what an inconclusive verdict counts as.
    model : str
        File name.
    limit : Limit
        What the value is held against.
    value : float or None
        None where the metric is undefined.
    interval : (float, float) or None
        Of the value.
    unit : str
        Of both.
    line : int
        Of the check in the configuration.
    what : str
        How the value is called; the metric if not given.

    Returns
    -------
    Verdict
        Never ``waived``; see :func:`waived`.
    """
    made = Verdict(
        model=model,
        check=check.name,
        metric=check.metric,
        status="error",
        origin=limit.origin,
        unit=unit,
        inconclusive=check.inconclusive,
        line=line,
    )
    if value is None:
        return replace(made, message=f"{check.metric} is undefined for {model}")
    low, high = interval or (value, value)
    least, most = (low, high) if limit.whole else (value, value)
    sides: list[tuple[Status, float]] = []
    if limit.minimum is not None:
        sides.append((_side(least >= limit.minimum, high < limit.minimum), limit.minimum))
    if limit.maximum is not None:
        sides.append((_side(most <= limit.maximum, low > limit.maximum), limit.maximum))
    order: dict[Status, int] = {"fail": 0, "inconclusive": 1, "pass": 2}
    status, nearest = min(sides, key=lambda side: (order[side[0]], abs(value - side[1])))
    bounds = "" if interval is None else f" [{low:.4g}, {high:.4g}]"
    told = {
        "pass": "keeps",
        "fail": "does not keep",
        "inconclusive": "does not decide, on these images,",
    }[status]
    message = f"{what or check.metric} {value:.4g}{bounds}{f' {unit}' if unit else ''} {told} {limit.origin}"
    return replace(
        made, status=status, measured=value, measured_interval=interval, limit=nearest, message=message
    )


def _side(kept: bool, broken: bool) -> Status:
    return "pass" if kept else "fail" if broken else "inconclusive"


def waived(
    verdicts: "Iterable[Verdict]", waivers: "Iterable[Waiver]", /, *, today: dt.date
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Verdicts with waivers applied, and what is to be said of the waivers.

    Parameters
    ----------
    verdicts : iterable of Verdict
        Of the whole audit.
    waivers : iterable of Waiver
        Of its configuration.
    today : datetime.date
        The day that counts.

    Returns
    -------
    verdicts : tuple of Verdict
        Those that failed, were inconclusive or could not be measured, and are waived, have that status.
    notes : tuple of str
        On waivers that have expired or are needed no more.
    """
    made = list(verdicts)
    notes = []
    for waiver in waivers:
        places = [
            place
            for place, verdict in enumerate(made)
            if fnmatchcase(verdict.check, waiver.check) and fnmatchcase(verdict.model, waiver.model)
        ]
        bad = [place for place in places if made[place].fails or made[place].status == "inconclusive"]
        name = f"the waiver of '{waiver.check}' for '{waiver.model}'"
        if waiver.expires < today:
            notes.append(f"{name} expired on {waiver.expires}")
            continue
        if not bad:
            notes.append(f"{name} is needed no more: " + ("all pass" if places else "nothing is called so"))
        for place in bad:
            message = f"{made[place].message}; waived until {waiver.expires}: {waiver.reason}"
            made[place] = replace(made[place], status="waived", message=message)
    return tuple(made), tuple(notes)


def _verdict(entry: dict[str, Any]) -> Verdict:
    return Verdict(**entry | {"measured_interval": _pair(entry["measured_interval"])})


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = value
    return float("-inf") if low is None else low, float("inf") if high is None else high
