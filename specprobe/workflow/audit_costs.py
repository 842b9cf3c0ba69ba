"""What an audit would take: evaluations of each model, memory, and time as measured on one batch."""

import time
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.band_filters import PassFilters, default_radii
from specprobe.errors import SpecprobeError
from specprobe.images.corruptions import CORRUPTIONS, SEVERITIES
from specprobe.spectral.grid import real_frequencies
from specprobe.streaming import SHARD_IMAGES
from specprobe.workflow.auditing import Auditor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specprobe.audit.config import Audit
    from specprobe.audit.plan import Job
    from specprobe.graph.limits import Limits
    from specprobe.runtime.network import Network
    from specprobe.workflow.audited_models import Opened
    from specprobe.workflow.auditing import Task

__all__ = ["Cost", "costs"]

_MASK_EPOCHS = 30
"""A guess: how soon a mask converges is not known before."""
_QUERIES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one pass over the images of one model.

    Attributes
    ----------
    model : str
        File name.
    analyses, checks : tuple of str
        What is measured, and for which checks.
    images : int
        That it is measured on; 0 where the file alone is looked at.
    forward, gradient : int
        Images classified, and classified and differentiated, at most.
    memory_bytes : int
        Of the images and results held at once.
    seconds : float or None
        By the time that one batch took; None where the model could not be run.
    """

    model: str
    analyses: tuple[str, ...]
    checks: tuple[str, ...]
    images: int = 0
    forward: int = 0
    gradient: int = 0
    memory_bytes: int = 0
    seconds: float | None = None


def costs(config: "Audit", /, *, limits: "Limits | None" = None) -> list[Cost]:
    """What ``audit`` would do, without doing it: one batch of each model is run, to see how long it takes.

    Parameters
    ----------
    config : Audit
        As of :func:`specprobe.audit.config.read_config`.
    limits : Limits, optional
        Caps on what model files may ask for.

    Returns
    -------
    list of Cost
        By model and pass. Attacks that stop early and masks that converge take less.
    """
    found = []
    for model, held in groupby(Auditor(config, limits=limits).tasks(), lambda task: task.model):
        for job in _jobs(held):
            names: dict[str, Any] = {
                "model": model.name,
                "analyses": job.analyses,
                "checks": tuple(check.name for check in job.checks),
            }
            try:
                alone = not {"model", "filters"}.isdisjoint(job.analyses)
                found.append(Cost(**names) if alone else _cost(model, job, names))
            except SpecprobeError:
                found.append(Cost(**names))
    return found


def _jobs(tasks: "Iterable[Task]") -> "list[Job]":
    """Jobs of the tasks, each once."""
    found: list[Job] = []
    for task in tasks:
        if not any(task.job is job for job in found):
            found.append(task.job)
    return found


def _cost(model: "Opened", job: "Job", names: dict[str, Any]) -> Cost:
    network, images = model.pair
    count = images.images if job.limit is None else min(job.limit, images.images)
    shape = images.image_shape
    forward, gradient = (
        count * sum(runs) for runs in zip(*(_runs(name, job, shape) for name in job.analyses), strict=True)
    )
    batch = int(model.config.run.get("batch_size", 32))
    once, both = _seconds(network, batch, gradient > 0)
    return Cost(
        **names,
        images=count,
        forward=forward,
        gradient=gradient,
        memory_bytes=3 * SHARD_IMAGES * int(np.prod(shape)) * 4 + 120 * count,
        seconds=forward * once + gradient * both,
    )


def _runs(analysis: str, job: "Job", shape: tuple[int, int, int]) -> tuple[int, int]:
    """How often each image is classified, and differentiated, at most."""
    given = job.settings.get(analysis, {})
    plane = shape[1:]
    if analysis == "bands":
        radii = {*(default_radii(plane) if given.get("sweep", True) else ()), *given.get("radii", ())}
        filters = PassFilters.of(
            plane,
            radii=radii,
            bands=given.get("bands", ()),
            wedges=given.get("wedges", ()),
            clip=False,
            mean_restored=False,
        )
        return 1 + len(filters.masks(plane)[0]), 0
    if analysis == "heatmap":
        side = given.get("frequencies")
        cells = len(real_frequencies(plane)) if side is None else (side * side + 1) // 2
        return 1 + cells * (2 if given.get("phase") == "worst-of-two" else 1), 0
    if analysis == "corruptions":
        return 1 + len(given.get("corruptions", CORRUPTIONS)) * len(given.get("severities", SEVERITIES)), 0
    if analysis == "attack":
        return _attack_runs(given)
    return {"sensitivity": (0, 1), "mask": (2, _MASK_EPOCHS)}.get(analysis, (1, 0))


def _attack_runs(given: dict[str, Any]) -> tuple[int, int]:
    name = given.get("attack", "standard")
    restarts, queries = given.get("restarts", 1), given.get("queries") or _QUERIES
    steps = given.get("steps") or (100 if name != "pgd" else 40)
    single = {"fgsm": (2, 1), "square": (2 + queries * restarts, 0), "universal": (3, 0)}
    if name in single:
        return single[name]
    if name == "standard":
        return 6 + queries, steps * (1 + 9 + 9)
    return 2, steps * restarts * (9 if name.endswith("-t") else 1)


def _seconds(network: "Network", batch: int, differentiate: bool) -> tuple[float, float]:
    """For one image: classified; classified and differentiated."""
    images = np.random.default_rng(0).random((batch, *network.image_shape), np.float32)
    labels = np.zeros(batch, np.int64)
    runs: list[Any] = [lambda: network.logits(images)]
    if differentiate:
        runs.append(lambda: network.gradient(images, labels))
    times = []
    for run in runs:
        run()
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) / batch)
    return times[0], times[-1] if differentiate else 0.0
