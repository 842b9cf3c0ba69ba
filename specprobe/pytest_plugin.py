"""Audits in pytest: each check of each model is a test.

Two ways, and nothing happens without one of them:

- ``pytest --specprobe specprobe.toml`` collects the checks of a configuration as tests.
- A test that takes the fixture ``specprobe_verdict`` is run once for each check and model of the configuration that its
  marker ``@pytest.mark.specprobe("specprobe.toml")`` names, or that lies beside it or above.

A check that fails fails its test; one that is inconclusive and only warns, or is waived, skips it.
"""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specprobe.audit.verdicts import Verdict
    from specprobe.workflow.auditing import Auditor, Task

__all__ = ["AuditFile", "CheckItem", "specprobe_verdict"]

_AUDITORS = pytest.StashKey[dict[Path, "Auditor"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer ``--specprobe``."""
    group = parser.getgroup("specprobe", "audits of ONNX models")
    group.addoption(
        "--specprobe",
        action="store_true",
        help="Collect the checks of specprobe.toml, where such a file is named or found, as tests.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "specprobe(config): file whose checks the fixture specprobe_verdict goes through"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "AuditFile | None":
    """Take configurations for files of tests, where that is asked for."""
    if file_path.name == "specprobe.toml" and parent.config.getoption("--specprobe"):
        return AuditFile.from_parent(parent, path=file_path)
    return None


class AuditFile(pytest.File):
    """A configuration as a file of tests."""

    def collect(self) -> "Iterator[CheckItem]":
        """One item for each check and model."""
        for task in _auditor(self.config, self.path).tasks():
            yield CheckItem.from_parent(self, name=_label(task), task=task)


class CheckItem(pytest.Item):
    """One check of one model."""

    def __init__(self, *, task: "Task", **settings: Any) -> None:
        super().__init__(**settings)
        self._task = task

    def runtest(self) -> None:
        """Measure and judge."""
        _require(_verdict(self.config, self.path, self._task))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the check stands."""
        lines = _auditor(self.config, self.path).config.lines
        # pytest takes a name that ends the test's id for one with dots between modules, and puts colons there.
        return self.path, lines.get(self._task.check.name, 1) - 1, f"check {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict's sentence; a traceback through this plugin would say nothing."""
        if isinstance(excinfo.value, pytest.fail.Exception):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that take a verdict once for each check and model."""
    if "specprobe_verdict" not in metafunc.fixturenames:
        return
    path = _config_of(metafunc.definition)
    tasks = _auditor(metafunc.config, path).tasks()
    metafunc.parametrize(
        "specprobe_verdict",
        [(path, task) for task in tasks],
        ids=[_label(task) for task in tasks],
        indirect=True,
    )


@pytest.fixture
def specprobe_verdict(request: pytest.FixtureRequest) -> "Verdict":
    """Verdict of one check on one model, waivers applied: a :class:`specprobe.audit.verdicts.Verdict`.

    The test fails and skips by itself where the check does; what it asks for comes after that.
    """
    return _verdict(request.config, *request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Let the check decide first: in the test, since what fails in a fixture counts as an error."""
    verdict: Any = pyfuncitem.funcargs.get("specprobe_verdict")
    if verdict is not None:
        _require(verdict)


def _require(verdict: "Verdict") -> None:
    message = f"{verdict.model}, {verdict.check}: {verdict.message}"
    if verdict.fails:
        pytest.fail(message, pytrace=False)
    if verdict.warns:
        pytest.skip(f"{verdict.status}: {message}")


def _verdict(config: pytest.Config, path: Path, task: "Task") -> "Verdict":
    from specprobe.audit.verdicts import waived

    auditor = _auditor(config, path)
    verdict, _ = auditor.verdict(task)
    today = dt.datetime.now(tz=dt.UTC).date()
    (judged,), _ = waived([verdict], auditor.config.waivers, today=today)
    return judged


def _auditor(config: pytest.Config, path: Path) -> "Auditor":
    """One for each configuration and session, so that checks share what was measured."""
    from specprobe.audit.config import read_config
    from specprobe.workflow.auditing import Auditor

    held = config.stash.setdefault(_AUDITORS, {})
    if path not in held:
        held[path] = Auditor(read_config(path))
    return held[path]


def _config_of(definition: pytest.Item) -> Path:
    from specprobe.audit.config import find_config

    marker = definition.get_closest_marker("specprobe")
    if marker is not None and marker.args:
        return Path(definition.path.parent, marker.args[0]).resolve()
    return find_config(definition.path.parent)


def _label(task: "Task") -> str:
    return f"{task.model.name}: {task.check.name}"
