"""Rule for resampling, which is linear in x along each axis.

The matrix of an axis is what the operator itself makes of the identity: the same attributes, the same kernel, hence the
same rounding, in every mode and on every device. It does not depend on x, so that the runtime computes it once, when
the sizes are known. The gradient is the product with its transpose, axis after axis.
"""

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__: list[str] = []

_CROP = "tf_crop_and_resize"


class _Axes:
    """Which axes a Resize changes, and how."""

    def __init__(self, op: Operators, node: ir.Node) -> None:
        x = node.inputs[0]
        assert x is not None
        if x.shape is None:
            msg = f"Resize '{node.name}' has an input of unknown rank; no gradient can be built"
            raise UnsupportedOperator(msg)
        self.op, self.node, self.x, self.rank = op, node, x, len(x.shape)
        self.axes = list(range(self.rank))
        if "axes" in node.attributes:
            self.axes = [a % self.rank for a in node.attributes["axes"].as_ints()]
        self.roi = _given(op, node, 1)
        self.scales = _given(op, node, 2)
        self.sizes = _given(op, node, 3)
        self.mode = node.attributes.get_string("mode", "nearest")
        self.crops = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == _CROP
        self.policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
        known = None if self.scales is None else op.known(self.scales)
        self.factors: NDArray[Any] | None = None if known is None else known.reshape(-1)

    def unchanged(self, axis: int) -> bool:
        """Whether the matrix of an axis is surely the identity."""
        if axis not in self.axes:
            return True
        if self.crops:
            return False
        if self.factors is not None:
            return bool(self.factors[self.axes.index(axis)] == 1)
        y = self.node.outputs[0]
        if self.scales is not None or self.keeps_aspect or self.x.shape is None or y.shape is None:
            return False
        before, after = self.x.shape[axis], y.shape[axis]
        return before == after and not (isinstance(before, ir.SymbolicDim) and before.value is None)

    @property
    def keeps_aspect(self) -> bool:
        """Whether the scale of an axis depends on the others."""
        return self.sizes is not None and self.policy != "stretch"

    def factor(self, axis: int) -> int | None:
        """Whole number of times that each element is repeated by nearest resampling, where it is that simple."""
        if self.unchanged(axis):
            return 1
        if self.mode != "nearest" or self.crops or self.keeps_aspect:
            return None
        rounding = self.node.attributes.get_string("nearest_mode", "round_prefer_floor")
        transform = self.node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
        centred = transform in {"half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"}
        # Centred, (i + 1/2) / k − 1/2 lies less than half from its pixel; asymmetric, i / k never lies below it.
        if not (
            (centred and rounding.startswith("round_prefer"))
            or (transform == "asymmetric" and rounding == "floor")
        ):
            return None
        if self.factors is not None:
            ratio = float(self.factors[self.axes.index(axis)])
        else:
            y = self.node.outputs[0]
            before = None if self.x.shape is None else self.x.shape[axis]
            after = None if y.shape is None else y.shape[axis]
            if self.scales is not None or not (isinstance(before, int) and isinstance(after, int) and before):
                return None
            ratio = after / before
        return int(ratio) if ratio >= 1 and ratio == int(ratio) else None

    def matrix(self, axis: int) -> ir.Value:
        """What the operator makes of the identity along ``axis``: shape (before, after)."""
        op, at = self.op, self.axes.index(axis)
        count = len(self.axes)
        attributes = {
            n: a for n, a in self.node.attributes.items() if n not in {"axes", "extrapolation_value"}
        }
        if self.keeps_aspect:
            return self._matrix_beside_others(axis, {"axes": self.node.attributes.get("axes"), **attributes})
        roi = None if self.roi is None else op.Gather(self.roi, op.ints([at, at + count]), axis=0)
        scales = None if self.scales is None else self._pick(self.scales, at)
        sizes = None if self.sizes is None else self._pick(self.sizes, at)
        return op.Resize(_identity(op, self.x, axis), roi, scales, sizes, axes=[1], **attributes)

    def _matrix_beside_others(self, axis: int, attributes: dict[str, Any]) -> ir.Value:
        """As ``matrix``, with the other axes in place, since they have a say in the scale."""
        op = self.op
        spare = next((a for a in range(self.rank) if a not in self.axes), None)
        if spare is None or self.crops:
            msg = (
                f"Resize '{self.node.name}' has keep_aspect_ratio_policy '{self.policy}' "
                f"{'with ' + _CROP if self.crops else 'and resizes every axis'}; no gradient can be built"
            )
            raise UnsupportedOperator(msg)
        others = [a for a in range(self.rank) if a not in {axis, spare}]
        eye = op.Unsqueeze(_identity(op, self.x, axis), op.ints(others))
        if spare > axis:
            eye = op.Transpose(eye, perm=_swap(self.rank, axis, spare))
        sides = [
            op.dim(self.x, axis if a == spare else a) if a in self.axes or a == spare else op.ints([1])
            for a in range(self.rank)
        ]
        image = op.Expand(eye, op.Concat(*sides, axis=0))
        made = op.Resize(image, None, None, self.sizes, **attributes)
        # Weights sum to one along the other axes, so that any of their positions will do.
        for a in sorted(others, reverse=True):
            made = op.Gather(made, op.constant(0, ir.DataType.INT64), axis=a)
        return op.Transpose(made, perm=[1, 0]) if spare > axis else made

    def _pick(self, values: ir.Value, at: int) -> ir.Value:
        known = self.op.known(values)
        if known is not None:
            return self.op.constant(known.reshape(-1)[at : at + 1], values.dtype)
        return self.op.Gather(values, self.op.ints([at]), axis=0)


def _given(op: Operators, node: ir.Node, position: int) -> ir.Value | None:
    """An input, or None where it is absent or, as exporters write it, empty."""
    value = node.inputs[position] if len(node.inputs) > position else None
    if value is None:
        return None
    known = op.known(value)
    empty = known.size == 0 if known is not None else value.shape is not None and list(value.shape) == [0]
    return None if empty else value


def _identity(op: Operators, x: ir.Value, axis: int) -> ir.Value:
    zero, one = op.constant(0, ir.DataType.INT64), op.constant(1, ir.DataType.INT64)
    numbers = op.Range(zero, op.Squeeze(op.dim(x, axis), op.ints([0])), one)
    same = op.Equal(op.Unsqueeze(numbers, op.ints([1])), numbers)
    assert x.dtype is not None
    return op.Cast(same, to=x.dtype.value)


def _swap(rank: int, a: int, b: int) -> list[int]:
    perm = list(range(rank))
    perm[a], perm[b] = b, a
    return perm


@vjp("Resize")
def resize(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The transposed interpolation along each axis; ties of nearest resampling fall as they do in the forward pass."""

    def refuse() -> None:
        msg = f"Resize '{node.name}' has no gradient rule for its region of interest and scales; only for x"
        raise UnsupportedOperator(msg)

    return lambda: _input(op, _Axes(op, node), dy), *(refuse for _ in node.inputs[1:])


def _input(op: Operators, axes: _Axes, dy: ir.Value) -> ir.Value:
    if axes.crops and axes.roi is None:
        msg = f"Resize '{axes.node.name}' has {_CROP} without a region of interest"
        raise UnsupportedOperator(msg)
    factors = [axes.factor(axis) for axis in range(axes.rank)]
    if any(factor is not None and factor > 1 for factor in factors):
        dy = _sum_blocks(op, axes, dy, [factor or 1 for factor in factors])
    last = axes.rank - 1
    for axis in range(last, -1, -1):
        if factors[axis] is not None:
            continue
        matrix = axes.matrix(axis)
        if axis == last - 1:
            dy = op.MatMul(matrix, dy)
        elif axis == last:
            dy = op.MatMul(dy, op.Transpose(matrix, perm=[1, 0]))
        else:
            perm = _swap(axes.rank, axis, last)
            turned = op.MatMul(op.Transpose(dy, perm=perm), op.Transpose(matrix, perm=[1, 0]))
            dy = op.Transpose(turned, perm=perm)
    return dy


def _sum_blocks(op: Operators, axes: _Axes, dy: ir.Value, factors: list[int]) -> ir.Value:
    """Sum what each element was repeated to."""
    shape: list[ir.Value] = []
    summed = []
    for axis, factor in enumerate(factors):
        if factor == 1:
            # Not yet reduced by another axis's matrix: still the output's size.
            shape.append(op.dim(axes.node.outputs[0], axis))
            continue
        shape.append(op.dim(axes.x, axis))
        summed.append(len(shape))
        shape.append(op.ints([factor]))
    split = op.Reshape(dy, op.Concat(*shape, axis=0), allowzero=1)
    return op.ReduceSum(split, op.ints(summed), keepdims=0)
