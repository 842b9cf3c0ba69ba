"""Verdicts for people in CI: GitHub's annotations and step summary, GitLab's code quality, Markdown."""

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specprobe.audit.verdicts import AuditResult, Verdict

__all__ = ["code_quality", "github_annotations", "markdown"]

_MOST_ANNOTATIONS = 10
"""GitHub shows no more of one level in one step."""
_MOST_BYTES = 1 << 20
"""GitHub takes no longer summary of one step."""
_MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "waived": "💤", "error": "💥"}


def github_annotations(result: "AuditResult", /, *, config: str) -> list[str]:
    """Workflow commands, a line each.

    Parameters
    ----------
    result : AuditResult
        The verdicts.
    config : str
        Path of the configuration from the root of the repository.

    Returns
    -------
    list of str
        The first ten of each level, with a last one that says how many are left; the summary has all.
    """
    lines = []
    for level, chosen in (
        ("error", [v for v in result.verdicts if v.fails]),
        ("warning", [v for v in result.verdicts if v.warns]),
    ):
        shown = chosen if len(chosen) <= _MOST_ANNOTATIONS else chosen[: _MOST_ANNOTATIONS - 1]
        for verdict in shown:
            place = f"file={_property(config)},line={verdict.line},title={_property(f'{verdict.check}: {verdict.model}')}"
            lines.append(f"::{level} {place}::{_data(verdict.message)}")
        if len(shown) < len(chosen):
            left = len(chosen) - len(shown)
            lines.append(f"::{level} title=specprobe::{left} more; the summary of this step has them all")
    return lines


def markdown(result: "AuditResult", /, *, title: str = "specprobe audit") -> str:
    """A table of all verdicts, what is bad first.

    Parameters
    ----------
    result : AuditResult
        The verdicts.
    title : str
        Above it.

    Returns
    -------
    str
        At most a mebibyte, cut with a note that says so.
    """
    counts = ", ".join(f"{count} {status}" for status, count in result.counts().items() if count)
    head = [f"## {_text(title)}: {result.status}", "", counts, ""]
    head += ["| | model | check | measured | limit | |", "|---|---|---|---|---|---|"]
    order = {"fail": 0, "error": 1, "inconclusive": 2, "waived": 3, "pass": 4}
    rows = [_markdown_row(verdict) for verdict in sorted(result.verdicts, key=lambda v: order[v.status])]
    tail = ["", *(f"- {_text(note)}" for note in result.notes)] if result.notes else []
    room = _MOST_BYTES - 256 - len("\n".join([*head, *tail]).encode())
    kept: list[str] = []
    for row in rows:
        room -= len(row.encode()) + 1
        if room < 0:
            kept.append(f"| | {len(rows) - len(kept)} more | | | | |")
            break
        kept.append(row)
    return "\n".join([*head, *kept, *tail, ""])


def _markdown_row(verdict: "Verdict") -> str:
    measured = "–" if verdict.measured is None else f"{verdict.measured:.4g}"
    if verdict.measured_interval is not None:
        measured += f" [{verdict.measured_interval[0]:.4g}, {verdict.measured_interval[1]:.4g}]"
    limit = verdict.origin or "–"
    cells = (
        verdict.model,
        verdict.check,
        measured,
        limit,
        verdict.message if verdict.status != "pass" else "",
    )
    return f"| {_MARKS[verdict.status]} {verdict.status} | {' | '.join(map(_text, cells))} |"


def code_quality(result: "AuditResult", /, *, config: str) -> list[dict[str, Any]]:
    """GitLab's code quality report.

    Parameters
    ----------
    result : AuditResult
        The verdicts.
    config : str
        Path of the configuration from the root of the repository.

    Returns
    -------
    list of dict
        One entry for each verdict that fails or warns.
    """
    return [
        {
            "description": f"{verdict.model}, {verdict.check}: {verdict.message}",
            "check_name": verdict.check,
            "fingerprint": hashlib.sha256(f"{verdict.model}\0{verdict.check}".encode()).hexdigest(),
            "severity": "major" if verdict.fails else "minor",
            "location": {"path": config, "lines": {"begin": verdict.line}},
        }
        for verdict in result.verdicts
        if verdict.fails or verdict.warns
    ]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _text(text: str) -> str:
    """Text in a cell of a table: no markup, no end of the cell."""
    for mark in "\\`*_[]<>|#~":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
