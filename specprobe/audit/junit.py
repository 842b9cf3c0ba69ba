"""Verdicts as JUnit XML: one suite a model, one test case a check.

There is no specification; this is what Jenkins (xunit2), GitLab and GitHub's actions have in common. Some readers show
neither the attributes of a failure nor properties, so the text of each says everything again.
"""

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specprobe.audit.verdicts import AuditResult, Verdict

__all__ = ["junit"]

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: "AuditResult", /, *, properties: "Mapping[str, str] | None" = None) -> str:
    """JUnit XML of an audit.

    Parameters
    ----------
    result : AuditResult
        The verdicts.
    properties : mapping of str to str, optional
        Of every suite.

    Returns
    -------
    str
        A document. ``fail`` becomes a failure, ``error`` an error, ``waived`` and inconclusive ones that only warn
        are skipped; inconclusive ones that count as failures are failures.
    """
    root = ET.Element("testsuites", {"name": "specprobe audit", **_counts(result.verdicts)})
    for model in dict.fromkeys(verdict.model for verdict in result.verdicts):
        verdicts = [verdict for verdict in result.verdicts if verdict.model == model]
        suite = ET.SubElement(root, "testsuite", {"name": _legal(model), **_counts(verdicts)})
        if properties:
            _properties(suite, properties)
        for verdict in verdicts:
            _case(suite, verdict)
    ET.indent(root)
    return f"{ET.tostring(root, encoding='unicode', xml_declaration=False)}\n"


def _case(suite: ET.Element, verdict: "Verdict") -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        name=_legal(verdict.check),
        classname=_legal(f"specprobe.{verdict.model}"),
        time="0",
    )
    numbers: dict[str, Any] = {
        "metric": verdict.metric,
        "measured": verdict.measured,
        "measured_interval": verdict.measured_interval,
        "limit": verdict.limit,
        "unit": verdict.unit or None,
    }
    _properties(case, {name: str(value) for name, value in numbers.items() if value is not None})
    kind = _kind(verdict)
    if kind is not None:
        node = ET.SubElement(case, kind, message=_legal(verdict.message))
        if kind != "skipped":
            node.set("type", verdict.status)
        node.text = _legal(f"{verdict.status}: {verdict.check} of {verdict.model}: {verdict.message}")


def _kind(verdict: "Verdict") -> str | None:
    if verdict.status == "error":
        return "error"
    if verdict.fails:
        return "failure"
    return "skipped" if verdict.warns else None


def _counts(verdicts: "Any") -> dict[str, str]:
    kinds = [_kind(verdict) for verdict in verdicts]
    return {
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": "0",
    }


def _properties(parent: ET.Element, held: "Mapping[str, str]") -> None:
    node = ET.SubElement(parent, "properties")
    for name, value in held.items():
        ET.SubElement(node, "property", name=name, value=_legal(value))


def _legal(text: str) -> str:
    """Text without what XML has no way to write."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
