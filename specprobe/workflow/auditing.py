"""Runs an audit: every analysis that its checks need, once, and a verdict for every check and model."""

import datetime as dt
import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.analysis.band_filters import default_radii
from specprobe.analysis.metrics import Metric, metrics
from specprobe.analysis.paired import paired_means, paired_proportions
from specprobe.analysis.per_image import same
from specprobe.audit.baseline import Entry, limit_of, read_baseline, updated, write_baseline
from specprobe.audit.plan import Job, jobs
from specprobe.audit.verdicts import AuditResult, Limit, Verdict, judge, waived
from specprobe.errors import ConfigError, DeviceUnavailable, SpecprobeError
from specprobe.graph.load import open_model
from specprobe.provenance import data_facts, model_facts
from specprobe.recipe import Preprocessing, with_options
from specprobe.recipe_files import read_recipe
from specprobe.workflow.inspection import inspect_model
from specprobe.workflow.measurements import measure
from specprobe.workflow.opening import open_pair

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.audit.config import Audit, Check
    from specprobe.graph.limits import Limits
    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

__all__ = ["Audited", "Auditor", "Opened", "Task", "audit"]

Progress = Callable[[str, int, int], None]
"""Called with what is measured, images done, and images in all."""


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


@dataclass(frozen=True)
class Opened:
    """One model of an audit, opened when it is first needed."""

    path: Path
    config: "Audit"
    limits: "Limits | None" = None
    _measured: dict[Any, dict[str, Metric]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @cached_property
    def file(self) -> "ModelFile":
        """The opened file."""
        return open_model(self.path, limits=self.limits)

    @cached_property
    def pair(self) -> "tuple[Network, ImageSource]":
        """The runnable model, and the images."""
        folder, given = self.config.path.parent, self.config.data
        paths = {name: folder / given[name] for name in ("labels", "class_map") if name in given}
        recipe = dict(self.config.recipe)
        names = {f"{name}_name": recipe.pop(name) for name in ("input", "output") if name in recipe}
        run = self.config.run
        return open_pair(
            self.file,
            folder / given["source"],
            recipe=_recipe(folder, recipe),
            **paths,
            **names,
            limit=given.get("limit"),
            device=run.get("device", "cpu"),
            threads=run.get("threads"),
        )

    def numbers(
        self, job: Job, /, *, executor: "Executor | None" = None, progress: Progress | None = None
    ) -> dict[str, Metric]:
        """Metrics that a job measures, by name; measured once."""
        key = repr((job.analyses, job.settings, job.limit))
        if key not in self._measured:
            self._measured[key] = _run(self, job, executor, progress)
        return self._measured[key]


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
        A model or a metric that cannot be measured has the status ``error``; the others are judged all the same.

    Raises
    ------
    ConfigError
        If a model, metric or baseline that the configuration names does not exist.
    DeviceUnavailable
        If the device does not start.
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
        If a model or baseline that the configuration names does not exist.
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
            With the status ``error`` where it cannot be measured.
        entry : Entry or None
            What was measured, for checks against the baseline.

        Raises
        ------
        DeviceUnavailable
            If the device does not start.
        """
        model, check = task.model, task.check
        line = self.config.lines.get(check.name, 1)
        broken = Verdict(model=model.name, check=check.name, metric=check.metric, status="error", line=line)
        try:
            metric = self._metric(model, task)
            if check.against is not None:
                rival = self._others[check.against]
                other = self._metric(rival, task)
                return _against(model, rival, check, metric, other, self.config, line), None
        except DeviceUnavailable:
            raise
        except SpecprobeError as error:
            return replace(broken, message=str(error)), None
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


def _against(
    model: Opened,
    rival: Opened,
    check: "Check",
    metric: Metric,
    other: Metric,
    config: "Audit",
    line: int,
) -> Verdict:
    """The difference to another model, image by image where that is possible."""
    interval = None
    value = (
        None if None in {metric.value, other.value} else float(metric.value or 0) - float(other.value or 0)
    )
    mine, theirs = metric.image_values, other.image_values
    if mine is not None and theirs is not None and value is not None:
        if not same(metric.image_digest, other.image_digest):
            message = f"{model.name} and {rival.name} did not see the same images, so they cannot be compared"
            return Verdict(
                model=model.name,
                check=check.name,
                metric=check.metric,
                status="error",
                line=line,
                message=message,
            )
        interval = _paired_interval(theirs, mine, config.confidence)
    origin = f"{check.tolerance:g} at most worse than {rival.name}"
    if check.better == "higher":
        limit = Limit(minimum=-check.tolerance, origin=origin)
    else:
        limit = Limit(maximum=check.tolerance, origin=origin)
    what = f"difference in {check.metric}"
    return judge(
        check, model.name, limit, value=value, interval=interval, unit=metric.unit, line=line, what=what
    )


def _paired_interval(
    first: "NDArray[np.float64]", second: "NDArray[np.float64]", confidence: float
) -> tuple[float, float]:
    """Of the mean of second minus first, over the same images."""
    if set(np.unique(np.concatenate([first, second]))) <= {0.0, 1.0}:
        return paired_proportions(first, second, confidence=confidence).interval
    low, high = paired_means((second - first)[:, None], confidence=confidence).interval[0]
    return float(low), float(high)


def _pick(found: Mapping[str, Metric], check: "Check") -> Metric:
    if check.metric in found:
        return found[check.metric]
    close = difflib.get_close_matches(check.metric, found, 3) or sorted(found)[:8]
    msg = f"there is no metric '{check.metric}' here; close are {', '.join(close)}"
    raise ConfigError(msg)


def _origin(check: "Check") -> str:
    ends = (("min", check.minimum), ("max", check.maximum))
    return " and ".join(f"{name} {value:g}" for name, value in ends if value is not None)


def _run(
    model: Opened, job: Job, executor: "Executor | None", progress: Progress | None
) -> dict[str, Metric]:
    """All metrics of a job."""
    config = model.config
    if not {"model", "filters"}.isdisjoint(job.analyses):
        inspected = inspect_model(model.file)
        return {metric.name: metric for metric in metrics(inspected.result)}
    network, images = model.pair
    count = images.images if job.limit is None else min(job.limit, images.images)

    def told(done: int) -> None:
        if progress is not None:
            progress(f"{model.name}: {', '.join(job.analyses)}", done, count)

    run: dict[str, Any] = {
        "limit": job.limit,
        "confidence": config.confidence,
        "batch_size": config.run.get("batch_size", 32),
        "progress": told,
    }
    (first, *_), settings = job.analyses, dict(job.settings)
    if first in {"accuracy", "sensitivity", "bands"}:
        settings = _with_radii(settings, images)
        together = measure(
            network, images, analyses=job.analyses, settings=settings, executor=executor, **run
        )
        parts = [together.accuracy, together.sensitivity, together.bands]
    else:
        parts = [
            _ALONE[first](
                network, images, settings[first] | run | {"seed": config.run.get("seed", 0)}, executor
            )
        ]
    return {metric.name: metric for part in parts if part is not None for metric in metrics(part)}


def _with_radii(settings: dict[str, dict[str, Any]], images: "ImageSource") -> dict[str, dict[str, Any]]:
    """Settings of bands with the radii spelled out."""
    if "bands" not in settings:
        return settings
    bands = dict(settings["bands"])
    if bands.pop("sweep", False):
        shape = (images.image_shape[1], images.image_shape[2])
        bands["radii"] = tuple(sorted({*default_radii(shape), *bands["radii"]}))
    return settings | {"bands": bands}


def _heatmap(network: Any, images: Any, given: dict[str, Any], executor: Any) -> Any:
    from specprobe.analysis.heatmap import fourier_heatmap

    return fourier_heatmap(network, images, executor=executor, **given)


def _attack(network: Any, images: Any, given: dict[str, Any], executor: Any) -> Any:
    import specprobe

    return specprobe.attack(network, images, executor=executor, **given)


def _mask(network: Any, images: Any, given: dict[str, Any], _: Any) -> Any:
    import specprobe

    # Its progress is in epochs, not in images.
    return specprobe.fourier_mask(network, images, **{**given, "progress": None})


def _corruptions(network: Any, images: Any, given: dict[str, Any], executor: Any) -> Any:
    from specprobe.analysis.corruption import corruption_accuracy

    return corruption_accuracy(network, images, executor=executor, **given)


_ALONE: dict[str, Callable[..., Any]] = {
    "attack": _attack,
    "corruptions": _corruptions,
    "heatmap": _heatmap,
    "mask": _mask,
}


def _recipe(folder: Path, given: Mapping[str, Any]) -> Preprocessing:
    options = dict(given)
    recipe = read_recipe(folder / options.pop("file")) if "file" in options else Preprocessing()
    for name in ("mean", "std"):
        if name in options:
            values = options[name]
            options[name] = tuple(map(float, values)) if isinstance(values, list) else (float(values),)
    if "size" in options:
        size = options["size"]
        options["size"] = tuple(size) if isinstance(size, list) else (size, size)
    return with_options(recipe, **options)


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
    except SpecprobeError as error:
        return {"file": model.name, "error": str(error)}


def _data(models: list[Opened]) -> dict[str, Any] | None:
    for model in models:
        if "pair" in model.__dict__:
            return data_facts(model.pair[1])
    return None
