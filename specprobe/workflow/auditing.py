"""Runs an audit: every analysis that its checks need, once, and a verdict for every check and model."""

import datetime as dt
import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.analysis.metrics import Metric
from specprobe.audit.baseline import Entry, limit_of, read_baseline, updated, write_baseline
from specprobe.audit.plan import Job, jobs
from specprobe.audit.verdicts import AuditResult, Limit, Verdict, judge, waived
from specprobe.errors import ConfigError, DeviceUnavailable, SpecprobeError
from specprobe.provenance import data_facts, model_facts
from specprobe.runtime.device import check_threads
from specprobe.workflow.audit_against import against
from specprobe.workflow.audited_models import Opened, Progress

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from specprobe.audit.config import Audit, Check
    from specprobe.graph.limits import Limits

__all__ = ["Audited", "Auditor", "Task", "audit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A finished audit.

    Attributes
    ----------
    result : AuditResult
        The verdicts.
    models : tuple of dict
        Facts of each model, in the order of the configuration.
    data : dict or None
        Facts of the images, as the first model saw them.
    changes : tuple of str
        What was done to the baseline.
    """

    result: AuditResult
    models: tuple[dict[str, Any], ...]
    data: dict[str, Any] | None
    changes: tuple[str, ...] = ()


def audit(
    config: "Audit",
    /,
    *,
    limits: "Limits | None" = None,
    update_baseline: bool = False,
    allow_worse: bool = False,
    today: dt.date | None = None,
    executor: "Executor | None" = None,
    progress: Progress | None = None,
) -> Audited:
    """Measure what the checks of a configuration ask for, and judge it.

    Parameters
    ----------
    config : Audit
        As of :func:`specprobe.audit.config.read_config`.
    limits : Limits, optional
        Caps on what model files may ask for.
    update_baseline : bool
        Whether better values go into the baseline file, with those that it lacks; what is gone leaves it.
    allow_worse : bool
        Whether worse ones do, too.
    today : datetime.date, optional
        The day that waivers are held against.
    executor : concurrent.futures.Executor, optional
        Computes shards of images.
    progress : callable, optional
        Called with what is measured, images done, and images in all.

    Returns
    -------
    Audited
        A model or a metric that cannot be measured, for whatever reason, has the status ``error``; the others are
        judged all the same.

    Raises
    ------
    ConfigError
        If a model, metric or baseline that the configuration names does not exist.
    DeviceUnavailable
        If the device does not start.
    MemoryError
        If the machine has no room.
    """
    auditor = Auditor(config, limits=limits, fresh=update_baseline, executor=executor, progress=progress)
    tasks = auditor.tasks()
    if not tasks:
        names = ", ".join(model.name for model in auditor.models)
        msg = f"{config.path.name}: no check concerns any of the models {names}"
        raise ConfigError(msg)
    measured: list[tuple[str, Check, Entry]] = []
    verdicts = []
    for task in tasks:
        verdict, entry = auditor.verdict(task)
        verdicts.append(verdict)
        if entry is not None:
            measured.append((task.model.name, task.check, entry))
    judged, notes = waived(verdicts, config.waivers, today=today or dt.datetime.now(tz=dt.UTC).date())
    changes: tuple[str, ...] = ()
    if update_baseline:
        new, changes = updated(auditor.baseline, measured, allow_worse=allow_worse)
        write_baseline(config.path.parent / config.baseline, new)
    else:
        notes += _stale(auditor.baseline, measured)
    return Audited(
        result=AuditResult(verdicts=judged, confidence=config.confidence, notes=notes),
        models=tuple(_facts(model) for model in auditor.models),
        data=_data(auditor.models),
        changes=changes,
    )


class Task(NamedTuple):
    """One check of one model, and the job that measures it."""

    model: Opened
    job: Job
    check: "Check"


class Auditor:
    """Judges checks one at a time; what they share is measured when the first of them is asked for.

    Parameters
    ----------
    config : Audit
        As of :func:`specprobe.audit.config.read_config`.
    limits : Limits, optional
        Caps on what model files may ask for.
    fresh : bool
        Whether a check without an entry in the baseline passes, since it will get one.
    executor : concurrent.futures.Executor, optional
        Computes shards of images.
    progress : callable, optional
        Called with what is measured, images done, and images in all.

    Raises
    ------
    ConfigError
        If a model or baseline that the configuration names does not exist, or the threads are out of range.
    """

    def __init__(
        self,
        config: "Audit",
        /,
        *,
        limits: "Limits | None" = None,
        fresh: bool = False,
        executor: "Executor | None" = None,
        progress: Progress | None = None,
    ) -> None:
        try:
            check_threads(config.run.get("threads"))
        except ValueError as error:
            msg = f"{config.path.name}: [run]: {error}"
            raise ConfigError(msg) from error
        self.config = config
        self.models = [Opened(path, config, limits) for path in config.model_files()]
        self.baseline = read_baseline(config.path.parent / config.baseline)
        self._others = _others(config, self.models, limits)
        self._fresh, self._executor, self._progress = fresh, executor, progress

    def tasks(self) -> list[Task]:
        """Every check of every model that it concerns.

        Returns
        -------
        list of Task
            In the order of the configuration.
        """
        found = []
        for model in self.models:
            asked = [check for check in self.config.checks if check.concerns(model.name)]
            job_of = {check.name: job for job in jobs(asked) for check in job.checks}
            found += [Task(model, job_of[check.name], check) for check in asked]
        return found

    def verdict(self, task: Task, /) -> tuple[Verdict, Entry | None]:
        """What a check says of a model, waivers aside.

        Parameters
        ----------
        task : Task
            Of :meth:`tasks`.

        Returns
        -------
        verdict : Verdict
            With the status ``error`` where it cannot be measured, be it by an exception that nobody foresaw.
        entry : Entry or None
            What was measured, for checks against the baseline.

        Raises
        ------
        DeviceUnavailable
            If the device does not start.
        MemoryError
            If the machine has no room.
        """
        check = task.check
        line = self.config.lines.get(check.name, 1)
        broken = Verdict(
            model=task.model.name, check=check.name, metric=check.metric, status="error", line=line
        )
        try:
            return self._judged(task, broken)
        except (DeviceUnavailable, MemoryError):
            raise
        except SpecprobeError as error:
            return replace(broken, message=str(error)), None
        except Exception as error:  # noqa: BLE001 - a bug in one metric leaves the others to be judged
            return replace(broken, message=_unforeseen(error)), None

    def _judged(self, task: Task, broken: Verdict) -> tuple[Verdict, Entry | None]:
        """What a check says of a model that can be measured; ``broken`` with a message where the baseline does not fit."""
        model, check, line = task.model, task.check, broken.line
        metric = self._metric(model, task)
        if check.against is not None:
            rival = self._others[check.against]
            other = self._metric(rival, task)
            return against(model, rival, check, metric, other, self.config, line), None
        limit = Limit(minimum=check.minimum, maximum=check.maximum, origin=_origin(check))
        entry = None
        if check.baseline:
            if metric.value is None:
                return replace(broken, message=f"{check.metric} is undefined for {model.name}"), None
            images = None if metric.image_values is None else len(metric.image_values)
            entry = Entry(
                metric=check.metric,
                value=metric.value,
                interval=metric.interval,
                images=images,
                data=_data_digest(metric),
            )
            old = self.baseline.get((model.name, check.name))
            if old is None and self._fresh:
                message = f"{check.metric} {metric.value:.4g} is new in the baseline"
                return replace(broken, status="pass", measured=metric.value, message=message), entry
            if old is None:
                message = f"{model.name} has no baseline for '{check.name}'; write one with --update-baseline"
                return replace(broken, measured=metric.value, message=message), entry
            if old.data and entry.data and old.data != entry.data and not self._fresh:
                message = f"the baseline of '{check.name}' was measured on other images; --update-baseline writes it anew"
                return replace(broken, measured=metric.value, message=message), entry
            limit = limit_of(check, old)
        verdict = judge(
            check,
            model.name,
            limit,
            value=metric.value,
            interval=metric.interval,
            unit=metric.unit,
            line=line,
        )
        return verdict, entry

    def _metric(self, model: Opened, task: Task) -> Metric:
        try:
            found = model.numbers(task.job, executor=self._executor, progress=self._progress)
        except SpecprobeError:
            raise
        except (TypeError, ValueError) as error:
            if not any(task.job.settings.values()):
                raise
            msg = f"check '{task.check.name}': its settings do not fit: {error}"
            raise ConfigError(msg) from error
        return _pick(found, task.check)


def _unforeseen(error: Exception) -> str:
    """Message of a verdict for an exception that specprobe does not raise on purpose."""
    text = " ".join(str(error).split())
    return f"it could not be measured, which is a bug in specprobe: {type(error).__name__}: {text}"


def _data_digest(metric: Metric) -> str:
    """Of the images that a metric was measured on, in their order."""
    if metric.image_digest is None:
        return ""
    return hashlib.sha256(np.ascontiguousarray(metric.image_digest).tobytes()).hexdigest()


def _others(config: "Audit", models: list[Opened], limits: "Limits | None") -> dict[str, Opened]:
    """Models that checks compare with."""
    found: dict[str, Opened] = {}
    for check in config.checks:
        if check.against is None:
            continue
        path = config.path.parent / check.against
        named = [
            model for model in models if check.against in {model.name, str(model.path)} or model.path == path
        ]
        if not named and not path.is_file():
            msg = f"{config.path.name}: check '{check.name}' is against '{check.against}', which is no model and no file"
            raise ConfigError(msg)
        found[check.against] = named[0] if named else Opened(path, config, limits)
    return found


def _pick(found: Mapping[str, Metric], check: "Check") -> Metric:
    if check.metric in found:
        return found[check.metric]
    close = difflib.get_close_matches(check.metric, found, 3) or sorted(found)[:8]
    msg = f"there is no metric '{check.metric}' here; close are {', '.join(close)}"
    raise ConfigError(msg)


def _origin(check: "Check") -> str:
    ends = (("min", check.minimum), ("max", check.maximum))
    return " and ".join(f"{name} {value:g}" for name, value in ends if value is not None)


def _stale(
    baseline: Mapping[tuple[str, str], Entry], measured: "list[tuple[str, Check, Entry]]"
) -> tuple[str, ...]:
    """What the baseline file holds that no check asks for, and what could be tightened."""
    seen = {(model, check.name) for model, check, _ in measured}
    notes = [
        f"the baseline holds '{check}' of {model}, which no check asks for; --update-baseline drops it"
        for model, check in sorted(set(baseline) - seen)
    ]
    for model, check, entry in measured:
        old = baseline.get((model, check.name))
        if old is None or entry.interval is None:
            continue
        better = entry.interval[0] > old.value if check.better == "higher" else entry.interval[1] < old.value
        if better:
            notes.append(
                f"{model}, {check.name}: {entry.value:.4g} is better than the baseline {old.value:.4g}; "
                "--update-baseline tightens it"
            )
    return tuple(notes)


def _facts(model: Opened) -> dict[str, Any]:
    try:
        network = model.__dict__.get("pair", (None, None))[0]
        return model_facts(model.file, network)
    except Exception as error:  # noqa: BLE001 - the verdicts on it say what is wrong
        message = str(error) if isinstance(error, SpecprobeError) else _unforeseen(error)
        return {"file": model.name, "error": message}


def _data(models: list[Opened]) -> dict[str, Any] | None:
    for model in models:
        if "pair" in model.__dict__:
            return data_facts(model.pair[1])
    return None
