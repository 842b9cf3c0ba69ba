"""The main job: a model file in, an inspection out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.accuracy import chance_findings
from specprobe.analysis.filters import filter_statistics
from specprobe.analysis.inspection import GradientSupport, Inspection
from specprobe.autodiff.support import unsupported_nodes
from specprobe.errors import DataError, ModelError, UnsupportedOperator
from specprobe.findings import Finding
from specprobe.graph.convolutions import node_label
from specprobe.graph.limits import printable
from specprobe.graph.load import ModelFile, open_model, raise_opset
from specprobe.graph.survey import survey
from specprobe.results import finite
from specprobe.workflow.measurements import ANALYSES, Measurements, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from concurrent.futures import Executor

    from specprobe.graph.limits import Limits
    from specprobe.graph.survey import Survey
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network
    from specprobe.streaming import Checkpoint

__all__ = ["Inspected", "inspect", "inspect_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """An inspection together with what it was made from.

    Attributes
    ----------
    file : ModelFile
        The opened file.
    survey : Survey
        With the kernels.
    result : Inspection
        What was found.
    """

    file: ModelFile
    survey: "Survey"
    result: Inspection


def inspect(
    model: "str | Path | Network",
    images: "ImageSource | None" = None,
    /,
    *,
    limits: "Limits | None" = None,
    analyses: "Collection[str]" = ANALYSES,
    batch_size: int = 32,
    limit: int | None = None,
    executor: "Executor | None" = None,
    checkpoint: "Checkpoint | None" = None,
    progress: "Callable[[int], None] | None" = None,
) -> Inspection:
    """Survey of a model file, statistics of its filters, and, with images, accuracy, sensitivity and bands.

    Parameters
    ----------
    model : str, pathlib.Path or Network
        The file; with images, a :class:`Network`, which knows how to feed it.
    images : ImageSource, optional
        What to run it on.
    limits : Limits, optional
        Caps on what the file may ask for.
    analyses : collection of {"accuracy", "sensitivity", "bands"}
        What is measured on the images.
    batch_size : int
        Images classified at once.
    limit : int, optional
        Only the first so many images.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    Inspection
        Never fails on a model that opens: what cannot be told is a finding.

    Raises
    ------
    ModelError
        If the file is not a model that may be opened.
    DataError
        If the images do not fit the model.
    """
    network = None if isinstance(model, str | Path) else model
    if network is not None:
        limits = limits or network.limits
    file = open_model(model if isinstance(model, str | Path) else model.path, limits=limits)
    if network is not None and file.sha256 != network.sha256:
        msg = f"{file.path.name} has changed since it was loaded; load it again"
        raise ModelError(msg)
    return inspect_model(
        file,
        network,
        images,
        analyses=analyses,
        batch_size=batch_size,
        limit=limit,
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    ).result


def inspect_model(
    file: ModelFile,
    network: "Network | None" = None,
    images: "ImageSource | None" = None,
    /,
    *,
    analyses: "Collection[str]" = ANALYSES,
    batch_size: int = 32,
    limit: int | None = None,
    executor: "Executor | None" = None,
    checkpoint: "Checkpoint | None" = None,
    progress: "Callable[[int], None] | None" = None,
) -> Inspected:
    """Do what :func:`inspect` does on an opened file, and keep the kernels.

    Parameters
    ----------
    file : ModelFile
        The opened file.
    network : Network, optional
        Its runnable form.
    images : ImageSource, optional
        What to run it on; needs ``network``.
    analyses, batch_size, limit, executor, checkpoint, progress
        As for :func:`inspect`.

    Returns
    -------
    Inspected
        File, survey and result.

    Raises
    ------
    DataError
        If there are images but no way to feed them.
    """
    if images is not None and network is None:
        msg = "to run a model on images it has to be told how: pass specprobe.load(path, ...), not the path"
        raise DataError(msg)
    surveyed = survey(file)
    flows = "no-gradient-path" not in {finding.code for finding in surveyed.findings}
    gradient, gradient_findings = _gradient(file, surveyed.masking, flows=flows)
    findings = [*surveyed.findings, *gradient_findings]
    measured = Measurements()
    if network is not None:
        known = {(finding.code, finding.node) for finding in findings}
        findings += [finding for finding in network.findings if (finding.code, finding.node) not in known]
    if network is not None and images is not None:
        wanted, left_out = _possible(network, images, analyses, gradient)
        findings += left_out
        if images.labels is None:
            message = "the images have no labels, so there is no accuracy; give them with --labels FILE"
            findings.append(Finding(level="warning", code="no-labels", message=message))
        if wanted:
            measured = measure(
                network,
                images,
                analyses=wanted,
                batch_size=batch_size,
                limit=limit,
                executor=executor,
                checkpoint=checkpoint,
                progress=progress,
            )
        measured, told = _told(measured)
        findings += told
    result = Inspection(
        inputs=tuple(finite(port) for port in surveyed.inputs),
        outputs=tuple(finite(port) for port in surveyed.outputs),
        opset=file.opset,
        ir_version=file.ir_version,
        producer=file.producer,
        bytes=file.bytes,
        parameters=surveyed.parameters,
        multiply_adds=surveyed.multiply_adds,
        operators=surveyed.operators,
        functions=file.functions,
        quantisation=surveyed.quantisation,
        trailing_activation=surveyed.trailing_activation,
        filters=filter_statistics(surveyed.convolutions),
        gradient=gradient,
        findings=tuple(findings),
        accuracy=measured.accuracy,
        sensitivity=measured.sensitivity,
        bands=measured.bands,
    )
    return Inspected(file=file, survey=surveyed, result=result)


def _possible(
    network: "Network", images: "ImageSource", analyses: "Collection[str]", gradient: GradientSupport
) -> tuple[list[str], list[Finding]]:
    """Those of the analyses that this model and these images allow, and what is said of the others."""
    wanted = [name for name in analyses if name != "accuracy" or images.labels is not None]
    if "sensitivity" not in wanted:
        return wanted, []
    reason = "an operator has no gradient rule" if gradient.missing else "no gradient reaches the input"
    if gradient.supported:
        try:
            network.gradient(np.zeros((1, *network.image_shape), np.float32), np.zeros(1, np.int64))
        except (ModelError, UnsupportedOperator) as error:
            reason = str(error)
        else:
            return wanted, []
    message = (
        f"sensitivity is left out: {reason}; 'specprobe sensitivity --method finite-difference' needs none"
    )
    wanted.remove("sensitivity")
    return wanted, [Finding(level="warning", code="no-sensitivity", message=message)]


def _told(measured: Measurements) -> tuple[Measurements, list[Finding]]:
    """What is worth keeping of the measurements, and what each of them says, once."""
    findings = list(chance_findings(measured.accuracy)) if measured.accuracy is not None else []
    if measured.sensitivity is not None and not measured.sensitivity.averaged:
        message = (
            "sensitivity is left out: no image has a gradient (zero or not finite); "
            "'specprobe sensitivity --loss margin' has one where the loss is saturated"
        )
        findings.append(Finding(level="warning", code="no-sensitivity", message=message))
        measured = replace(measured, sensitivity=None)
    for part in (measured.sensitivity, measured.bands):
        said = {finding.code for finding in findings}
        findings += [
            finding for finding in (part.findings if part is not None else ()) if finding.code not in said
        ]
    return measured, findings


def _gradient(
    file: ModelFile, masking: tuple[str, ...], *, flows: bool
) -> tuple[GradientSupport, list[Finding]]:
    """Whether every operator on the way has a gradient rule."""
    try:
        nodes = unsupported_nodes(raise_opset(file.model))
    except (UnsupportedOperator, ModelError) as error:
        finding = Finding(level="warning", code="opset-too-old", message=str(error))
        return GradientSupport(masking=masking), [finding]
    if nodes is None or not flows:
        return GradientSupport(supported=False, masking=masking), []
    findings = [
        Finding(
            level="warning",
            code="no-gradient-rule",
            message=f"{printable(node.op_type)} has no gradient rule",
            node=node_label(node),
        )
        for node in nodes
    ]
    missing = tuple((printable(node.op_type), node_label(node)) for node in nodes)
    return GradientSupport(supported=not nodes, missing=missing, masking=masking), findings
