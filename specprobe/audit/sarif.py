"""Verdicts as SARIF 2.1.0, in the form that GitHub's code scanning takes.

GitHub refuses a whole file for one result without a physical location. A model is binary, so a result points at the
line of the configuration that sets the limit, which is where people would change it; the model is named beside it.
"""

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specprobe.audit.verdicts import AuditResult, Verdict

__all__ = ["sarif"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_MOST_RESULTS = 25_000
"""GitHub takes no more in one run."""


def sarif(result: "AuditResult", /, *, config: str, version: str, information: str = "") -> dict[str, Any]:
    """SARIF log of an audit.

    Parameters
    ----------
    result : AuditResult
        The verdicts.
    config : str
        Path of the configuration from the root of the repository, with slashes.
    version : str
        Of specprobe.
    information : str
        Address of the tool's documentation.

    Returns
    -------
    dict
        JSON values, valid by the schema. Results are what fails, what warns, and what is waived (suppressed).
    """
    told = [verdict for verdict in result.verdicts if verdict.status != "pass"][:_MOST_RESULTS]
    rules = list(dict.fromkeys(verdict.check for verdict in result.verdicts))
    driver: dict[str, Any] = {
        "name": "specprobe",
        "semanticVersion": version,
        "rules": [_rule(check, next(v for v in result.verdicts if v.check == check)) for check in rules],
    }
    if information:
        driver["informationUri"] = information
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": f"specprobe/{config}/"},
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "Root of the repository."}}},
                "invocations": [
                    {"executionSuccessful": not any(v.status == "error" for v in result.verdicts)}
                ],
                "results": [_result(verdict, rules.index(verdict.check), config) for verdict in told],
            }
        ],
    }


def _rule(check: str, verdict: "Verdict") -> dict[str, Any]:
    text = f"{verdict.metric} keeps its limit ({verdict.origin or 'none'})."
    return {
        "id": check,
        "shortDescription": {"text": f"{check}: {verdict.metric}"},
        "fullDescription": {"text": text},
        "help": {
            "text": f"{text} The check is inconclusive where the interval holds the limit: more images would tell."
        },
        "defaultConfiguration": {"level": "error"},
    }


def _result(verdict: "Verdict", rule: int, config: str) -> dict[str, Any]:
    key = hashlib.sha256(f"{verdict.check}\x00{verdict.model}\x00{verdict.metric}".encode()).hexdigest()
    made: dict[str, Any] = {
        "ruleId": verdict.check,
        "ruleIndex": rule,
        "level": "error" if verdict.fails else "warning" if verdict.warns else "note",
        "message": {"text": f"{verdict.model}: {verdict.message}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": config, "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": verdict.line},
                },
                "logicalLocations": [{"name": verdict.model, "kind": "module"}],
            }
        ],
        "partialFingerprints": {"specprobe/v1": key},
        "properties": {
            "status": verdict.status,
            "metric": verdict.metric,
            "measured": verdict.measured,
            "limit": verdict.limit,
        },
    }
    if verdict.status == "waived":
        made["suppressions"] = [{"kind": "external", "justification": verdict.message}]
    return made
