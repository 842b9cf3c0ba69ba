"""Rules for convolution, which is linear in the image, the kernel and the bias."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.registry import ByChannels, Cotangent, vjp
from specprobe.autodiff.rules.convolution_weights import kernel_gradient
from specprobe.autodiff.rules.phases import blocked, with_channels
from specprobe.autodiff.rules.pixels import crop, fit, spread
from specprobe.autodiff.rules.strided_convolution import by_phases, strided_adjoint, turned
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

    def whole() -> ir.Value:
        return conv_adjoint(op, dy, w, window, image=x, windows=y)

    def part(start: int, stop: int) -> ir.Value:
        some = op.Slice(w, op.ints([start]), op.ints([stop]), op.ints([1]))
        some.shape = ir.Shape([w.shape[0], stop - start, *w.shape[2:]]) if w.shape is not None else None
        return conv_adjoint(op, dy, some, window, image=with_channels(x, stop - start), windows=y)

    divisible = window.group == 1 and blocked(op, x) and static_shape(w) is not None
    return (
        ByChannels(whole, part) if divisible else whole,
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
    if (
        shape is not None
        and settled
        and (window.dense or (single and not by_phases(op, window, image, windows)))
    ):
        return _as_convolution(op, dy, w, shape, window, windows, known)
    if settled and shape is not None and by_phases(op, window, image, windows):
        return strided_adjoint(op, dy, w, window, image=image, windows=windows)
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
        turned(op, w, shape, window.group),
        pads=[*(max(0, p) for p in begin), *(max(0, p) for p in end)],
        dilations=window.dilations,
        group=window.group,
        kernel_shape=window.kernel,
    )


def _need_static(node: ir.Node, w: ir.Value) -> None:
    if static_shape(w) is None:
        raise refuse(node, f"its kernel '{w.name}' has an open shape; a gradient for it needs a static one")


def _bias(op: Operators, dy: ir.Value, rank: int) -> ir.Value:
    return op.ReduceSum(dy, op.ints([0, *range(2, rank + 2)]), keepdims=0)
