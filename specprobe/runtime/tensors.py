"""A prepared graph that gives tensors from inside beside its logits."""

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from specprobe.errors import ModelError
from specprobe.graph.emit import Emitter
from specprobe.graph.limits import printable
from specprobe.runtime.agreement import TOLERANCE, probe_images, relative_difference
from specprobe.runtime.session import Session

if TYPE_CHECKING:
    from specprobe.arrays import Array
    from specprobe.runtime.device import Device
    from specprobe.runtime.prepare import Prepared

__all__ = ["TensorSession", "with_tensors"]

_LISTED = 5


def with_tensors(prepared: "Prepared", names: Sequence[str], /) -> tuple[ir.Model, list[str]]:
    """Copy of a prepared graph with some of its tensors as further outputs, in float32.

    Parameters
    ----------
    prepared : Prepared
        Left as it is.
    names : sequence of str
        Of tensors in the file that the logits are computed from, or beside.

    Returns
    -------
    onnx_ir.Model
        Shares its weights with ``prepared``.
    list of str
        Names of the new outputs, in the order of ``names``.

    Raises
    ------
    ModelError
        If there is no tensor of a name, it does not hang on the image, or its first axis is not that of the images.
    """
    model = prepared.model.clone()
    pixels = next(value for value in model.graph.inputs if value.name == prepared.input)
    moving = _following(model, pixels)
    values = {str(v.name): v for node in model.graph for v in node.outputs if v.name}
    op = Emitter(model, prefix="tensors")
    outputs: list[str] = []
    for name in names:
        if name not in values:
            raise ModelError(_unknown(name, [key for key in values if key in moving], prepared.output))
        value = values[name]
        if name not in moving:
            msg = f"tensor '{printable(name)}' is the same for every image; accepted are tensors computed from the image"
            raise ModelError(msg)
        if value.shape is not None and not _per_image(value.shape, prepared.batch):
            raise ModelError(_no_batch(name, value.shape))
        # A copy, also of the logits: a graph may give no value twice.
        same = value.dtype in {None, ir.DataType.FLOAT}
        given = op.Identity(value) if same else op.Cast(value, to=ir.DataType.FLOAT.value)
        given.type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(given)
        outputs.append(str(given.name))
    return model, outputs


class TensorSession:
    """A session that gives logits and named tensors in one run.

    Parameters
    ----------
    prepared : Prepared
        The graph.
    names : sequence of str
        As of :func:`with_tensors`.
    device : Device
        Where it runs.
    threads : int or None
        For one operator.
    logits : callable
        From images to the logits that the tensors belong to.

    Raises
    ------
    ModelError
        As of :func:`with_tensors`; or if a tensor has another number of rows than there are images, or the logits are
        not those of ``logits``.
    """

    def __init__(
        self,
        prepared: "Prepared",
        names: Sequence[str],
        device: "Device",
        threads: int | None,
        /,
        *,
        logits: Any,
    ) -> None:
        model, outputs = with_tensors(prepared, names)
        self._input, self._outputs = prepared.input, [prepared.output, *outputs]
        self._session = Session(model, device, threads=threads)
        for count in (3, 2) if prepared.batch is None else (prepared.batch,):
            images = probe_images(count, prepared.image_shape, key=3)
            found = self.run(images)
            for name, tensor in zip(names, found[1:], strict=True):
                if tuple(tensor.shape[:1]) != (count,):
                    raise ModelError(_no_batch(name, tuple(tensor.shape)))
        if relative_difference(logits(images), found[0]) > TOLERANCE:
            msg = "the graph gives other logits where its tensors are outputs, too; tensors inside cannot be had here"
            raise ModelError(msg)

    def run(self, images: "Array", /) -> "tuple[Array, ...]":
        """Logits and tensors of one batch.

        Parameters
        ----------
        images : array, shape (N, C, H, W)
            Contiguous, as the graph takes them.

        Returns
        -------
        tuple of array
            Logits (N, K), then each tensor (N, ...) in float32. May be read-only.
        """
        return self._session.run({self._input: images}, self._outputs)


def _following(model: ir.Model, start: ir.Value) -> set[str]:
    """Names of all values that hang on ``start``; the graph is in topological order."""
    moving = {str(start.name)}
    for node in model.graph:
        inner = (value for graph in _subgraphs(node) for n in graph.all_nodes() for value in n.inputs)
        if any(value is not None and value.name in moving for value in (*node.inputs, *inner)):
            moving.update(str(value.name) for value in node.outputs if value.name)
    return moving


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def _per_image(shape: "ir.Shape", batch: int | None) -> bool:
    """Whether the first axis may be that of the images; symbols are settled by a run."""
    dims = list(shape)
    return bool(dims) and (not isinstance(dims[0], int) or dims[0] == batch)


def _no_batch(name: str, shape: Any) -> str:
    dims = ", ".join(str(d) if isinstance(d, int) else printable(str(d)) for d in shape)
    return (
        f"tensor '{printable(name)}' has shape [{dims}]: its first axis is not that of the images; accepted are "
        "tensors [N, ...]"
    )


def _unknown(name: str, known: list[str], output: str) -> str:
    close = difflib.get_close_matches(name, known, n=_LISTED, cutoff=0.5)
    listed = ", ".join(f"'{printable(key)}'" for key in close or known[:_LISTED])
    if not close:
        listed += f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return (
        f"there is no tensor '{printable(name)}' on the way to the logits '{printable(output)}'; "
        f"{'close to it are' if close else 'there are'} {listed}"
    )
