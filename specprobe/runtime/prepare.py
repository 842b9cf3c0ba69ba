"""From an opened file to the graph that is run: pixels in, logits out, any batch size; every edit checked by numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from specprobe.errors import ModelError, SpecprobeError
from specprobe.findings import Finding
from specprobe.graph.batching import fixed_batch, rebatch
from specprobe.graph.emit import Emitter
from specprobe.graph.integer_input import integer_findings
from specprobe.graph.limits import printable
from specprobe.graph.load import ModelFile, infer_shapes, raise_opset
from specprobe.graph.preprocess import image_input, metadata_recipe, prepend, resolve, set_inputs
from specprobe.graph.survey import trailing_activation
from specprobe.runtime.agreement import TOLERANCE, probe_images, relative_difference, require_same_outputs
from specprobe.runtime.device import Device
from specprobe.runtime.session import Session

if TYPE_CHECKING:
    from specprobe.recipe import Preprocessing

__all__ = ["Prepared", "prepare"]

_ACTIVATIONS = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})
_SCORES = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
    | {ir.DataType.INT8, ir.DataType.UINT8}
)
"""Types that logits come in; quantised models end in 8 bits."""

_PROBES = 3
_PROBE_PIXELS = 1 << 28  # a gigabyte; beyond it images are run one batch at a time
_CPU = Device()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A graph ready to run.

    Attributes
    ----------
    model : onnx_ir.Model
        Input ``pixels`` (or the model's own, where nothing had to be prepended), output logits (N, K) in float32.
    input, output : str
        Names in ``model``.
    preprocessing : Preprocessing
        Resolved.
    image_shape : (int, int, int)
        C, H, W.
    batch : int or None
        Batch size that the graph insists on; None where any will do.
    findings : tuple of Finding
        What was changed, noted or could not be had.
    """

    model: ir.Model
    input: str
    output: str
    preprocessing: "Preprocessing"
    image_shape: tuple[int, int, int]
    batch: int | None
    findings: tuple[Finding, ...]


def prepare(
    file: ModelFile,
    recipe: "Preprocessing",
    /,
    *,
    input_name: str | None = None,
    output_name: str | None = None,
    fixed_inputs: Mapping[str, float] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    verify: bool = True,
    keep_batch: bool = False,
) -> Prepared:
    """Make an opened model runnable on pixels.

    Parameters
    ----------
    file : ModelFile
        Left as it is.
    recipe : Preprocessing
        As far as known.
    input_name, output_name : str, optional
        The image input; the logits, or a probability whose logits are then taken. Any tensor of the graph may be
        the output.
    fixed_inputs : mapping of str to float, optional
        Further inputs, and the number that fills each.
    image_shape : (int, int, int), optional
        C, H, W of the data, to settle what the model leaves open.
    verify : bool
        Compare each rewritten graph with the one before on random images; a worker that opens a model which has
        been compared already need not.
    keep_batch : bool
        Leave a fixed batch size as it is.

    Returns
    -------
    Prepared
        The graph and what was done to it.

    Raises
    ------
    ModelError
        If the model takes no images or gives no logits.
    RecipeError
        If the recipe does not fit the model.
    UnsupportedOperator
        If the opset cannot be raised without changing the numbers.
    """
    model = file.model.clone()
    set_inputs(model, fixed_inputs or {})
    value = image_input(model, input_name)
    others = [str(v.name) for v in model.graph.inputs if v is not value]
    if others:
        names = ", ".join(f"'{printable(name)}'" for name in others)
        msg = f"{file.path.name} has further inputs: {names}; give each a number with --set NAME=VALUE"
        raise ModelError(msg)
    resolved, shape = resolve(value, metadata_recipe(file.metadata, recipe), image_shape)
    findings = list(file.findings)
    if resolved.guessed:
        message = f"layout {resolved.layout} is a guess from the shape of the input; state it with --layout"
        findings.append(Finding(level="warning", code="guessed-recipe", message=message))
    findings += integer_findings(value, resolved)
    raised = raise_opset(model)
    chosen = _choose_output(raised, output_name, file)
    logits = trailing_activation(chosen)
    if logits is not None:
        last = next(use.node.op_type for use in logits.uses() if use.node.op_type in _ACTIVATIONS)
        message = f"logits are taken before the {last} that ends the model"
        findings.append(Finding(level="note", code="trailing-activation", message=message))
    if raised is not model:
        message = f"opset {file.opset} raised to {raised.opset_imports['']}"
        findings.append(Finding(level="note", code="opset-raised", message=message))
        if verify:
            _verify_raise(model, raised, value, resolved, shape)
    value = next(v for v in raised.graph.inputs if v.name == value.name)
    pixels = prepend(raised, value, resolved, shape)
    output = _finish(raised, logits or chosen)
    graph = infer_shapes(raised)
    output_name = str(output.name)
    batch = fixed_batch(pixels)
    if batch is not None and not keep_batch:
        opened = _open_batch(graph, str(pixels.name), output_name, batch, shape, verify=verify)
        if opened is None:
            message = f"the batch size {batch} is built into the model: images are run {batch} at a time"
            findings.append(Finding(level="note", code="fixed-batch", message=message))
        else:
            message = (
                f"exported for batch size {batch}; opened to any, checked image by image on random pixels"
            )
            findings.append(Finding(level="note", code="rebatched", message=message))
            graph, batch = opened, None
    return Prepared(
        model=graph,
        input=str(pixels.name),
        output=output_name,
        preprocessing=resolved,
        image_shape=shape,
        batch=batch,
        findings=tuple(findings),
    )


def _choose_output(model: ir.Model, name: str | None, file: ModelFile) -> ir.Value:
    outputs = {str(v.name): v for v in model.graph.outputs}
    if name is not None:
        inner = {str(v.name): v for node in model.graph for v in node.outputs}
        if name not in inner:
            listed = ", ".join(f"'{printable(key)}'" for key in outputs)
            msg = f"{file.path.name} has no tensor '{printable(name)}'; its outputs are {listed}"
            raise ModelError(msg)
        return inner[name]
    candidates = outputs
    if len(outputs) > 1:
        candidates = {k: v for k, v in outputs.items() if v.shape is not None and len(_logit_dims(v)) == 2}
    if len(candidates) != 1:
        listed = ", ".join(f"'{printable(k)}' {_shape(v)}" for k, v in outputs.items())
        msg = f"{file.path.name} has {len(outputs)} outputs ({listed}); name the logits with --output NAME"
        raise ModelError(msg)
    (chosen,) = candidates.values()
    return chosen


def _logit_dims(value: ir.Value) -> list[Any]:
    """Shape without the 1s behind the second dimension."""
    dims = list(value.shape or [])
    while len(dims) > 2 and dims[-1] == 1:
        dims.pop()
    return dims


def _shape(value: ir.Value) -> str:
    if value.shape is None:
        return "of unknown rank"
    dims = (str(d) if isinstance(d, int) else printable(d.value or "?") for d in value.shape)
    return f"[{', '.join(dims)}]"


def _finish(model: ir.Model, logits: ir.Value) -> ir.Value:
    """Make (N, K) float32 of ``logits`` the only output."""
    dims = _logit_dims(logits)
    name = printable(str(logits.name))
    if logits.shape is not None and len(dims) != 2:
        msg = (
            f"output '{name}' has shape {_shape(logits)}: this is not a classifier; accepted are logits [N, K] "
            "or [N, K, 1, 1]; name a tensor of that shape with --output NAME"
        )
        raise ModelError(msg)
    if logits.dtype is not None and logits.dtype not in _SCORES:
        msg = (
            f"output '{name}' is {logits.dtype.name.lower()} {_shape(logits)}: indices are no logits; "
            "name the tensor that they were made from with --output NAME"
        )
        raise ModelError(msg)
    op = Emitter(model, prefix="logits")
    if logits.shape is None or len(logits.shape) != 2:
        logits = op.Flatten(logits, axis=1)
    if logits.dtype is not None and logits.dtype != ir.DataType.FLOAT:
        logits = op.Cast(logits, to=ir.DataType.FLOAT.value)
    model.graph.outputs.clear()
    model.graph.outputs.append(logits)
    if logits.type is None:
        logits.type = ir.TensorType(ir.DataType.FLOAT)
    RemoveUnusedNodesPass()(model)
    return logits


def _verify_raise(
    original: ir.Model,
    raised: ir.Model,
    value: ir.Value,
    recipe: "Preprocessing",
    shape: tuple[int, int, int],
) -> None:
    """Refuse a converted model whose numbers are others."""
    channels, height, width = shape
    sizes = [height, width, channels] if recipe.layout == "NHWC" else [channels, height, width]
    dims = [d if isinstance(d, int) else None for d in (value.shape or [])]
    if recipe.layout in {"flat", "flat-column-major"}:
        known = int(np.prod([d for d in dims[1:] if d is not None]))
        sizes = [int(np.prod(shape)) // known] * len(dims)
    inner = [d if d is not None else s for d, s in zip(dims[1:], sizes, strict=False)]
    low, high = recipe.range
    dtype = (value.dtype or ir.DataType.FLOAT).numpy()
    probe = (low + (high - low) * probe_images(dims[0] or 3, tuple(inner), key=0)).astype(dtype)
    require_same_outputs(original, raised, {str(value.name): probe})


def _open_batch(
    graph: ir.Model, name: str, output: str, batch: int, shape: tuple[int, int, int], *, verify: bool
) -> ir.Model | None:
    """``graph`` for any batch size, if it then still treats every image as before."""
    try:
        opened = rebatch(graph, name)
        if not verify:
            return opened
        if _PROBES * batch * np.prod(shape, dtype=np.float64) > _PROBE_PIXELS:
            return None
        images = probe_images(_PROBES * batch, shape, key=1)
        original, candidate = Session(graph, _CPU), Session(opened, _CPU)
        parts = [original.run({name: part}, [output])[0] for part in np.split(images, _PROBES)]
        whole = candidate.run({name: images}, [output])[0]
        single = candidate.run({name: images[:1]}, [output])[0]
    except SpecprobeError:  # whatever the edited graph trips over, the original still runs
        return None
    expected = np.concatenate(parts)
    if np.array_equal(expected, np.broadcast_to(expected[:1], expected.shape)):
        return None  # the same answer to every image: nothing could tell images that were mixed up
    alike = (
        relative_difference(expected, whole) <= TOLERANCE
        and relative_difference(expected[:1], single) <= TOLERANCE
    )
    return opened if alike else None
