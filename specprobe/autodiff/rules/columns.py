"""Rule for putting columns of blocks back into an image."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.pixels import tap_slices
from specprobe.autodiff.rules.window import Window, refuse

__all__: list[str] = []


@vjp("Col2Im")
def columns_to_image(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Every block is cut out of the cotangent again."""
    x, image_shape, block_shape = node.inputs
    assert x is not None
    block, image = op.known(block_shape), op.known(image_shape)
    if block is None:
        raise refuse(node, "its block_shape is computed; a constant is accepted")
    kernel = [int(b) for b in block.reshape(-1)]
    rank = len(kernel)
    attributes = node.attributes
    pads = list(attributes.get_ints("pads") or [0] * (2 * rank))
    window = Window(
        kernel=kernel,
        strides=list(attributes.get_ints("strides") or [1] * rank),
        dilations=list(attributes.get_ints("dilations") or [1] * rank),
        begin=pads[:rank],
        end=pads[rank:],
        group=1,
    )
    rims = zip(window.begin, window.end, window.extents, strict=True)
    spare = [begin + end - extent for begin, end, extent in rims]
    counts: list[int] | ir.Value
    if image is not None:
        sizes = zip(image.reshape(-1), spare, window.strides, strict=True)
        counts = [(int(size) + more) // stride + 1 for size, more, stride in sizes]
    else:
        assert image_shape is not None
        steps = op.Div(op.Add(image_shape, op.ints(spare)), op.ints(window.strides))
        counts = op.Add(steps, op.ints([1]))
    padded = dy
    if any(pads):
        padded = op.Pad(dy, op.ints([0, 0, *window.begin, 0, 0, *window.end]), op.scalar(0, dy))
    column = op.ints([0, 0, 1, -1])
    taps = [op.Reshape(tap, column) for tap in tap_slices(op, padded, counts, window)]
    return op.reshape_like(op.Concat(*taps, axis=2), x), None, None
