"""Prints, after the run, how many cases there are, are differentiable, and pass."""

from collections import Counter
from typing import Any

import pytest

collect_ignore = ["judge.py", "report.py"]  # they hold no tests


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line."""
    told = [
        dict(report.user_properties)
        for key in ("passed", "failed")
        for report in terminalreporter.stats.get(key, [])
        if report.when == "call" and "conformance" in report.nodeid
    ]
    kinds = Counter(told_of["kind"] for told_of in told if "kind" in told_of)
    if kinds:
        differentiable = sum(1 for told_of in told if told_of.get("differentiable"))
        terminalreporter.write_line(
            f"gradients of ONNX's node cases: {kinds['passed']} pass, {differentiable} are differentiable, "
            f"{kinds.total()} in total; {', '.join(f'{n} {kind}' for kind, n in kinds.most_common() if kind != 'passed')}"
        )
