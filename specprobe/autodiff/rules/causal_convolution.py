"""Rule for causal convolution along a sequence, with the state that it carries on."""

from functools import cache

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.convolution import conv_adjoint
from specprobe.autodiff.rules.convolution_weights import kernel_gradient
from specprobe.autodiff.rules.window import Window, refuse

__all__: list[str] = []


@vjp("CausalConvWithState")
def causal_conv(
    op: Operators, node: ir.Node, dy: ir.Value | None, d_state: ir.Value | None = None
) -> tuple[Cotangent, ...]:
    """A depthwise convolution over the past state and the input in one."""
    x, w, bias, past = [*node.inputs, None, None][:4]
    y = node.outputs[0]
    assert x is not None
    assert w is not None
    if w.shape is None or not w.shape.is_static():
        raise refuse(node, f"its kernel '{w.name}' has an open shape; a static one is accepted")
    channels, _, taps = (int(d) for d in w.shape)  # type: ignore[arg-type]
    window = Window(kernel=[taps], strides=[1], dilations=[1], begin=[0], end=[0], group=channels)
    activation = node.attributes.get_string("activation", "none")
    first = op.ints([taps - 1])

    @cache
    def before() -> ir.Value:
        if past is not None:
            return past
        return op.Expand(op.scalar(0, x), op.Concat(op.dim(x, 0), op.ints([channels, taps - 1]), axis=0))

    @cache
    def sequence() -> ir.Value:
        return x if taps == 1 else op.Concat(before(), x, axis=2)

    @cache
    def linear() -> ir.Value | None:
        """Cotangent of the convolution, in front of the activation."""
        if dy is None or activation == "none":
            return dy
        z = op.Conv(sequence(), w, bias, group=channels, kernel_shape=[taps])
        gate = op.Sigmoid(z)
        one = op.scalar(1, z)
        return op.Mul(dy, op.Mul(gate, op.Add(one, op.Mul(z, op.Sub(one, gate)))))

    @cache
    def whole() -> ir.Value | None:
        """Cotangent of the past state and the input in one."""
        parts = []
        given = linear()
        if given is not None:
            parts.append(conv_adjoint(op, given, w, window, image=x, windows=y))
        if d_state is not None and taps > 1:
            parts.append(op.Concat(op.zeros_like(x), d_state, axis=2))
        return op.Add(*parts) if len(parts) == 2 else parts[0] if parts else None

    def of_x() -> ir.Value | None:
        total = whole()
        if total is None or taps == 1:
            return total
        return op.Slice(total, first, op.ints([(1 << 63) - 1]), op.ints([2]))

    def of_past() -> ir.Value | None:
        total = whole()
        return None if total is None else op.Slice(total, op.ints([0]), first, op.ints([2]))

    def of_w() -> ir.Value | None:
        given = linear()
        if given is None:
            return None
        return kernel_gradient(op, sequence(), given, window, image_like=x, dy_like=y, w=w)

    def of_bias() -> ir.Value | None:
        given = linear()
        return None if given is None else op.ReduceSum(given, op.ints([0, 2]), keepdims=0)

    every: list[Cotangent] = [
        of_x,
        of_w,
        None if bias is None else of_bias,
        None if past is None else of_past,
    ]
    return tuple(every[: len(node.inputs)])
