"""Several model files in, a comparison out: each is inspected on the same images, one after the other."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from specprobe.analysis.accuracy import Accuracy
from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.comparison import compare_results
from specprobe.analysis.comparison_predictions import Predictions, predictions
from specprobe.analysis.sensitivity_result import FourierSensitivity
from specprobe.bootstrap import RESAMPLES
from specprobe.errors import DataError, InputMismatch, ModelError
from specprobe.findings import Finding
from specprobe.graph.load import ModelFile, open_model
from specprobe.provenance import model_facts
from specprobe.workflow.inspection import inspect_model
from specprobe.workflow.measurements import ANALYSES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from concurrent.futures import Executor

    from specprobe.analysis.comparison_result import Comparison
    from specprobe.analysis.inspection import Inspection
    from specprobe.graph.limits import Limits
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network
    from specprobe.streaming import Checkpoint

__all__ = ["MeasuredModel", "compare", "compare_models", "distinct_names"]

_PARTS = ("accuracy", "sensitivity", "bands")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """What was measured of one model, kept until the others are done.

    Attributes
    ----------
    predictions : Predictions
        Of all images.
    inspected : bool
        Whether the inspection is done, too.
    findings : tuple of (str, str, str, str or None)
        Of the inspection.
    accuracy, sensitivity, bands
        Of the inspection.
    """

    kind: ClassVar[str] = "measured_model"

    predictions: Predictions
    inspected: bool = False
    findings: tuple[tuple[Any, Any, str, str | None], ...] = ()
    accuracy: Accuracy | None = None
    sensitivity: FourierSensitivity | None = None
    bands: BandAccuracy | None = None


def compare(
    models: "Sequence[str | Path | Network]",
    images: "ImageSource | None" = None,
    /,
    *,
    names: "Sequence[str] | None" = None,
    analyses: "Collection[str]" = ANALYSES,
    batch_size: int = 32,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    limits: "Limits | None" = None,
    executor: "Executor | None" = None,
    checkpoint: "Checkpoint | None" = None,
    progress: "Callable[[int], None] | None" = None,
) -> "Comparison":
    """Every metric of every model on the same images, with paired differences to the first.

    Parameters
    ----------
    models : sequence of str, pathlib.Path or Network
        Two or more files; with images, networks, each with its own preprocessing.
    images : ImageSource, optional
        What to run them on.
    names : sequence of str, optional
        What to call them; their files' names if not given.
    analyses : collection of {"accuracy", "sensitivity", "bands"}
        What is measured on the images.
    batch_size : int
        Images classified at once.
    limit : int, optional
        Only the first so many images.
    seed, resamples : int
        Of the bootstrap and of the sign flips.
    limits : Limits, optional
        Caps on what a file may ask for; those of a network if not given.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept; each model has files of its own beside it.
    progress : callable, optional
        Called with the number of images done, those of all models together.

    Returns
    -------
    Comparison
        A model that an analysis cannot be made of has None there, and a finding says why.

    Raises
    ------
    ModelError
        If a file is not a model that may be opened.
    DataError
        If the images do not fit a model, or there are images but no way to feed them.
    InputMismatch
        If there are fewer than two models or, with images, they take images of different shapes or have different
        numbers of classes.
    """
    networks = [None if isinstance(model, str | Path) else model for model in models]
    opened = []
    for model, network in zip(models, networks, strict=True):
        path = model if isinstance(model, str | Path) else model.path
        file = open_model(path, limits=limits or (None if network is None else network.limits))
        if network is not None and file.sha256 != network.sha256:
            msg = f"{file.path.name} has changed since it was loaded; load it again"
            raise ModelError(msg)
        opened.append((file, network))
    return compare_models(
        opened,
        images,
        names=names,
        analyses=analyses,
        batch_size=batch_size,
        limit=limit,
        seed=seed,
        resamples=resamples,
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )


def compare_models(
    models: "Sequence[tuple[ModelFile, Network | None]]",
    images: "ImageSource | None" = None,
    /,
    *,
    names: "Sequence[str] | None" = None,
    analyses: "Collection[str]" = ANALYSES,
    batch_size: int = 32,
    limit: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    executor: "Executor | None" = None,
    checkpoint: "Checkpoint | None" = None,
    progress: "Callable[[int], None] | None" = None,
) -> "Comparison":
    """Do what :func:`compare` does on opened files.

    Parameters
    ----------
    models : sequence of (ModelFile, Network or None)
        Opened files and their runnable forms.
    images : ImageSource, optional
        What to run them on; needs the networks.
    names, analyses, batch_size, limit, seed, resamples, executor, checkpoint, progress
        As for :func:`compare`.

    Returns
    -------
    Comparison
        Of all models.

    Raises
    ------
    DataError
        If there are images but no way to feed them.
    InputMismatch
        If the models cannot be compared.
    """
    names = list(names) if names is not None else distinct_names([file.path.name for file, _ in models])
    _check(models, names, images, analyses)
    count = 0
    if images is not None:
        count = images.images if limit is None else min(limit, images.images)
    results, predicted = [], []
    kept = [_beside(checkpoint, f"model-{i}") for i in range(len(models))]
    for i, (file, network) in enumerate(models):
        if images is None or network is None:
            results.append(inspect_model(file, network).result)
            continue
        advance = None if progress is None else _from(progress, i * count)
        result, part = _measured(
            file,
            network,
            images,
            kept=kept[i],
            analyses=analyses,
            batch_size=batch_size,
            limit=limit,
            executor=executor,
            progress=advance,
        )
        results.append(result)
        predicted.append(part)
    made = compare_results(
        results,
        names=names,
        predictions=predicted or None,
        checksums=[_checksum(file) for file, _ in models],
        seed=seed,
        resamples=resamples,
    )
    different = _preprocessing(models, names) if images is not None else ()
    for left in kept:
        if left is not None:
            left.clear()
    return replace(made, findings=(*made.findings, *different))


def distinct_names(files: "Sequence[str]", /) -> list[str]:
    """Names of models after their files.

    Parameters
    ----------
    files : sequence of str
        Names of files, without their folders, which no result tells.

    Returns
    -------
    list of str
        A file name that has come before is numbered.

    Examples
    --------
    >>> distinct_names(["model.onnx", "other.onnx", "model.onnx"])
    ['model.onnx', 'other.onnx', 'model.onnx (2)']
    """
    found: list[str] = []
    for name in files:
        number, chosen = 1, name
        while chosen in found:
            number += 1
            chosen = f"{name} ({number})"
        found.append(chosen)
    return found


def _check(
    models: "Sequence[tuple[ModelFile, Network | None]]",
    names: "Sequence[str]",
    images: "ImageSource | None",
    analyses: "Collection[str]",
) -> None:
    """Refuse before the work what would be refused after it."""
    if len(models) < 2 or len(names) != len(models) or len(set(names)) < len(names):
        msg = (
            f"{len(models)} models under the names {', '.join(names) or 'none'}; accepted are two models or more, each "
            "with a name of its own"
        )
        raise InputMismatch(msg)
    unknown = sorted(set(analyses) - set(ANALYSES))
    if unknown:
        msg = f"analyses hold {', '.join(unknown)}; accepted are {', '.join(ANALYSES)}"
        raise ValueError(msg)
    if images is None:
        return
    networks = [network for _, network in models if network is not None]
    if len(networks) < len(models):
        msg = "to run a model on images it has to be told how: pass specprobe.load(path, ...), not the path"
        raise DataError(msg)
    for what, found in (
        ("classes", [str(network.classes) for network in networks]),
        ("image shape", ["×".join(map(str, network.image_shape)) for network in networks]),
    ):
        if len(set(found)) > 1:
            told = ", ".join(f"{value} for {name}" for name, value in zip(names, found, strict=True))
            msg = (
                f"the models differ in {what}: {told}; only models that answer the same question on the same images are "
                "compared on data. Without --data, their weights and sizes are"
            )
            raise InputMismatch(msg)


def _measured(
    file: ModelFile,
    network: "Network",
    images: "ImageSource",
    /,
    *,
    kept: "Checkpoint | None",
    analyses: "Collection[str]",
    batch_size: int,
    limit: int | None,
    executor: "Executor | None",
    progress: "Callable[[int], None] | None",
) -> "tuple[Inspection, Predictions]":
    """Inspection and predictions of one model, or what an interrupted run left of them."""
    held = kept.read() if kept is not None else None
    done: MeasuredModel | None = None if held is None else held[1]
    if done is None:
        found = predictions(
            network,
            images,
            batch_size=batch_size,
            limit=limit,
            executor=executor,
            checkpoint=_beside(kept, "predictions"),
        )
        done = MeasuredModel(predictions=found)
        if kept is not None:
            kept.write(0, done)
    if done.inspected:
        if progress is not None:
            progress(len(done.predictions.image_prediction))
        findings = tuple(
            Finding(level=level, code=code, message=message, node=node)
            for level, code, message, node in done.findings
        )
        parts: dict[str, Any] = {name: getattr(done, name) for name in _PARTS}
        return replace(inspect_model(file, network).result, findings=findings, **parts), done.predictions
    result = inspect_model(
        file,
        network,
        images,
        analyses=analyses,
        batch_size=batch_size,
        limit=limit,
        executor=executor,
        checkpoint=_beside(kept, "inspection"),
        progress=progress,
    ).result
    if kept is not None:
        told = tuple((f.level, f.code, f.message, f.node) for f in result.findings)
        parts = {name: getattr(result, name) for name in _PARTS}
        kept.write(0, replace(done, inspected=True, findings=told, **parts))
    return result, done.predictions


def _beside(checkpoint: "Checkpoint | None", name: str) -> "Checkpoint | None":
    """A checkpoint for a part of the run."""
    if checkpoint is None:
        return None
    path = checkpoint.path.with_name(f"{checkpoint.path.stem}-{name}{checkpoint.path.suffix}")
    return replace(checkpoint, path=path, fingerprint=f"{checkpoint.fingerprint}/{name}")


def _from(progress: "Callable[[int], None]", before: int) -> "Callable[[int], None]":
    return lambda done: progress(before + done)


def _checksum(file: ModelFile) -> str:
    """Of a file and of those that hold its weights."""
    facts = model_facts(file)
    return repr((facts["sha256"], sorted(facts["external_data"].items())))


def _preprocessing(
    models: "Sequence[tuple[ModelFile, Network | None]]", names: "Sequence[str]"
) -> tuple[Finding, ...]:
    recipes = [repr(network.preprocessing) for _, network in models if network is not None]
    other = [name for name, recipe in zip(names, recipes, strict=True) if recipe != recipes[0]]
    if not other:
        return ()
    message = f"{', '.join(other)}: the preprocessing is not that of {names[0]}; the images are the same"
    return (Finding(level="note", code="preprocessing-differs", message=message),)
