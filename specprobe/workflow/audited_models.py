"""The models of an audit: opened when first needed, each job on them run once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specprobe.analysis.band_filters import default_radii
from specprobe.analysis.metrics import Metric, metrics
from specprobe.graph.load import open_model
from specprobe.recipe import Preprocessing, with_options
from specprobe.recipe_files import read_recipe
from specprobe.workflow.inspection import inspect_model
from specprobe.workflow.measurements import measure
from specprobe.workflow.opening import open_pair

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from specprobe.audit.config import Audit
    from specprobe.audit.plan import Job
    from specprobe.graph.limits import Limits
    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

__all__ = ["Opened", "Progress"]

Progress = Callable[[str, int, int], None]
"""Called with what is measured, images done, and images in all."""


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
        self, job: "Job", /, *, executor: "Executor | None" = None, progress: Progress | None = None
    ) -> dict[str, Metric]:
        """Metrics that a job measures, by name; measured once."""
        key = repr((job.analyses, job.settings, job.limit))
        if key not in self._measured:
            self._measured[key] = _run(self, job, executor, progress)
        return self._measured[key]


def _run(
    model: Opened, job: "Job", executor: "Executor | None", progress: Progress | None
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
