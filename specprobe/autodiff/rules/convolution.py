"""Rules for convolution, which is linear in the image, the kernel and the bias."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.convolution_weights import kernel_gradient
from specprobe.autodiff.rules.pixels import crop, fit, spread
from specprobe.autodiff.rules.window import Window, refuse

__all__ = ["conv_adjoint"]


@vjp("Conv")
def conv(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Transposed convolution for x; rows past the last stride were never read and get 0."""
    x, w, *bias = node.inputs
    assert x is not None
    assert w is not None
    (y,) = node.outputs
    window = Window.of(node, w)

    def kernel() -> ir.Value:
        _need_static(node, w)
        return kernel_gradient(op, x, dy, window, image_like=x, dy_like=y, w=w)

    return (
        lambda: conv_adjoint(op, dy, w, window, image=x, windows=y),
        kernel,
        *((lambda: _bias(op, dy, window.rank)) for _ in bias),
    )


@vjp("ConvTranspose")
def conv_transpose(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Convolution for x; for the kernel, image and cotangent change places."""
    x, w, *bias = node.inputs
    assert x is not None
    assert w is not None
    (y,) = node.outputs
    window = Window.of(node, w)
    extra = node.attributes.get_ints("output_padding") or []
    if any(e >= s for e, s in zip(extra, window.strides, strict=False)):
        raise refuse(node, f"output_padding {list(extra)} is not below strides {window.strides}")

    def kernel() -> ir.Value:
        _need_static(node, w)
        return kernel_gradient(op, dy, x, window, image_like=y, dy_like=x, w=w)

    return (
        lambda: op.Conv(
            dy,
            w,
            strides=window.strides,
            pads=[*window.begin, *window.end],
            dilations=window.dilations,
            group=window.group,
            kernel_shape=window.kernel,
        ),
        kernel,
        *((lambda: _bias(op, dy, window.rank)) for _ in bias),
    )


def conv_adjoint(
    op: Operators, dy: ir.Value, w: ir.Value, window: Window, /, *, image: ir.Value, windows: ir.Value
) -> ir.Value:
    """What a convolution's image gets back from ``dy``.

    Parameters
    ----------
    op : Operators
        Emits.
    dy : onnx_ir.Value
        (N, F, …), one pixel a window.
    w : onnx_ir.Value
        (F, C / groups, …), the kernel.
    window : Window
        How it slides.
    image, windows : onnx_ir.Value
        Of the shapes of the result and of ``dy``, and known.

    Returns
    -------
    onnx_ir.Value
        Of the shape of ``image``.
    """
    missing = window.missing(image, windows)
    known = [m for m in missing if m is not None]
    shape = static_shape(w)
    settled = len(known) == window.rank
    single = shape is not None and shape[1] == 1 and window.group > 1 and _channels(windows) is not None
    if shape is not None and settled and (window.dense or single):
        return _as_convolution(op, dy, w, shape, window, windows, known)
    if settled:
        return op.ConvTranspose(
            dy,
            w,
            strides=window.strides,
            pads=[*window.begin, *(max(0, -m) for m in known)],
            output_padding=[max(0, m) for m in known],
            dilations=window.dilations,
            group=window.group,
            kernel_shape=window.kernel,
        )
    uncropped = op.ConvTranspose(
        dy,
        w,
        strides=window.strides,
        pads=[*window.begin, *(0 for _ in window.end)],
        dilations=window.dilations,
        group=window.group,
        kernel_shape=window.kernel,
    )
    return fit(op, uncropped, image, missing)


def _channels(value: ir.Value) -> int | None:
    size = value.shape[1] if value.shape is not None else None
    return size if isinstance(size, int) else None


def _as_convolution(
    op: Operators,
    dy: ir.Value,
    w: ir.Value,
    shape: list[int],
    window: Window,
    windows: ir.Value,
    missing: list[int],
) -> ir.Value:
    """At stride 1 the adjoint is a convolution with the kernel turned, and faster as such.

    With a stride, zeros go between the pixels first. That pays only where each channel has a kernel of its own.
    """
    dy = spread(op, dy, windows, window.strides)
    begin = [e - 1 - p for e, p in zip(window.extents, window.begin, strict=True)]
    # Behind the last pixel `spread` has put stride − 1 zeros.
    end = [e - s + m for e, s, m in zip(window.extents, window.strides, missing, strict=True)]
    dy = crop(op, dy, [max(0, -p) for p in begin], [max(0, -p) for p in end])
    return op.Conv(
        dy,
        _turned(op, w, shape, window.group),
        pads=[*(max(0, p) for p in begin), *(max(0, p) for p in end)],
        dilations=window.dilations,
        group=window.group,
        kernel_shape=window.kernel,
    )


def _turned(op: Operators, w: ir.Value, shape: list[int], group: int) -> ir.Value:
    """The kernel with its ends and its channels swapped.

    Nodes rather than a new constant: the runtime folds them, and the result stays a function of the kernel, which a
    second gradient may ask for.
    """
    out, into, *kernel = shape
    rank = len(kernel)
    if group == 1:
        w = op.Transpose(w, perm=[1, 0, *range(2, 2 + rank)])
    elif into > 1 or out > group:
        split = op.Reshape(w, op.ints([group, out // group, into, *kernel]))
        swapped = op.Transpose(split, perm=[0, 2, 1, *range(3, 3 + rank)])
        w = op.Reshape(swapped, op.ints([group * into, out // group, *kernel]))
    axes = [2 + i for i, size in enumerate(kernel) if size > 1]
    if not axes:
        return w
    last, before_first = [-1] * len(axes), [-(1 << 62)] * len(axes)
    return op.Slice(w, op.ints(last), op.ints(before_first), op.ints(axes), op.ints(last))


def _need_static(node: ir.Node, w: ir.Value) -> None:
    if static_shape(w) is None:
        raise refuse(node, f"its kernel '{w.name}' has an open shape; a gradient for it needs a static one")


def _bias(op: Operators, dy: ir.Value, rank: int) -> ir.Value:
    return op.ReduceSum(dy, op.ints([0, *range(2, rank + 2)]), keepdims=0)
