"""What a max pool's image gets back, without the indices of its largest pixels."""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.rules.phases import channels_of, constant_image, interleave, of_shape, pick, step
from specprobe.autodiff.rules.window import Window, spatial_sizes

__all__ = ["max_pool_adjoint"]

_FAR = 1e30
"""Added to a window's largest pixel where a tap lies in the padding, so that the two are never equal."""


def max_pool_adjoint(
    op: Operators, dy: ir.Value, window: Window, /, *, image: ir.Value, largest: ir.Value
) -> ir.Value:
    """``dy`` for the first of each window's largest pixels, row by row.

    The pool is taken apart: the largest pixel of each row of a window, then the largest of those. Going back, the rows
    come first: of a window's largest pixels that gives the first in the first row that has one. Each tap is compared
    with the largest pixel by itself; what of ``dy`` is left when it comes to the last tap belongs to that one.
    Several times as fast as the runtime's own indices, which it finds and follows one by one.

    Parameters
    ----------
    op : Operators
        Emits.
    dy : onnx_ir.Value
        (N, C, h, w), one pixel a window.
    window : Window
        Without dilation.
    image, largest : onnx_ir.Value
        Input (N, C, H, W) and output of the pool, of known sizes; finite numbers.

    Returns
    -------
    onnx_ir.Value
        (N, C, H, W).
    """
    return _Pool(op, window, image, largest).adjoint(dy)


class _Pool:
    """A pool of known sizes; axes are numbered 0 (rows) and 1 (columns)."""

    def __init__(self, op: Operators, window: Window, image: ir.Value, largest: ir.Value) -> None:
        channels = channels_of(image)
        assert channels is not None
        self._op, self._window, self._image, self._largest = op, window, image, largest
        self._channels = channels
        self._size = [n for n in spatial_sizes(image) if n is not None]
        windows = [n for n in spatial_sizes(largest) if n is not None]
        self._phase = [math.ceil(n / s) for n, s in zip(self._size, window.strides, strict=True)]
        # As many windows as a phase has pixels, so that few images need to be cut: further ones get nothing.
        self._count = [max(pair) for pair in zip(windows, self._phase, strict=True)]
        self._windows = windows

    def adjoint(self, dy: ir.Value) -> ir.Value:
        rows = self._largest_of_rows()
        dy = self._widened(dy)
        phases = [
            d_pixels
            for row, d_rows in enumerate(self._rows(dy, rows))
            for d_pixels in self._columns(d_rows, rows, row)
        ]
        return interleave(self._op, phases, self._channels, strides=self._window.strides, sizes=self._size)

    def _widened(self, value: ir.Value) -> ir.Value:
        """One pixel a window, with zeros for further windows."""
        if self._windows == self._count:
            return value
        return pick(self._op, value, self._channels, sizes=self._windows, offsets=[0, 0], counts=self._count)

    def _largest_of_rows(self) -> ir.Value:
        """(N, C, H, w)."""
        window = self._window
        if window.kernel[0] == window.strides[0] == 1:
            return self._widened(self._largest)
        if window.kernel[1] == window.strides[1] == 1:
            return self._image
        begin, length = window.begin[1], (self._count[1] - 1) * window.strides[1] + window.kernel[1]
        rows = self._op.MaxPool(
            self._image,
            kernel_shape=[1, window.kernel[1]],
            strides=[1, window.strides[1]],
            pads=[0, begin, 0, max(0, length - begin - self._size[1])],
        )
        return self._shaped(rows, [self._size[0], self._count[1]])

    def _rows(self, dy: ir.Value, rows: ir.Value) -> list[ir.Value]:
        """What the rows of each phase get, (N, C, ⌈H / stride⌉, w)."""
        window, sizes = self._window, [self._size[0], self._count[1]]
        largest = self._widened(self._largest)

        def hit(tap: int) -> ir.Value:
            return self._equals(
                rows,
                largest,
                axis=0,
                tap=tap,
                sizes=sizes,
                offsets=[tap - window.begin[0], 0],
                counts=self._count,
                strides=[window.strides[0], 1],
            )

        return self._phases(self._shares(dy, hit, axis=0, sizes=self._count), axis=0, sizes=self._count)

    def _columns(self, d_rows: ir.Value, rows: ir.Value, row: int) -> list[ir.Value]:
        """What the pixels of each phase of one phase of rows get, (N, C, ⌈H / stride⌉, ⌈W / stride⌉)."""
        window, counts = self._window, [self._phase[0], self._count[1]]
        largest = rows
        if window.strides[0] > 1:
            largest = pick(
                self._op,
                rows,
                self._channels,
                sizes=[self._size[0], self._count[1]],
                offsets=[row, 0],
                counts=counts,
                strides=[window.strides[0], 1],
            )

        def hit(tap: int) -> ir.Value:
            return self._equals(
                self._image,
                largest,
                axis=1,
                tap=tap,
                sizes=self._size,
                offsets=[row, tap - window.begin[1]],
                counts=counts,
                strides=window.strides,
            )

        return self._phases(self._shares(d_rows, hit, axis=1, sizes=counts), axis=1, sizes=counts)

    def _shares(
        self, dy: ir.Value, hit: Callable[[int], ir.Value], *, axis: int, sizes: list[int]
    ) -> list[ir.Value]:
        """``dy`` for each tap: to the first that is hit, and to the last if no other is."""
        op, shares = self._op, []
        for tap in range(self._window.kernel[axis] - 1):
            share = self._shaped(op.Mul(dy, hit(tap)), sizes)
            taken = pick(op, share, self._channels, sizes=sizes, offsets=[0, 0], counts=sizes, factor=-1)
            dy = self._shaped(op.Add(taken, dy), sizes)
            shares.append(share)
        return [*shares, dy]

    def _shaped(self, value: ir.Value, sizes: list[int]) -> ir.Value:
        return of_shape(value, self._image, self._channels, sizes)

    def _equals(
        self,
        image: ir.Value,
        largest: ir.Value,
        *,
        axis: int,
        tap: int,
        sizes: list[int],
        offsets: list[int],
        counts: list[int],
        strides: list[int],
    ) -> ir.Value:
        """1 where a tap of the image holds the largest pixel, else 0."""
        first = np.arange(counts[axis]) * self._window.strides[axis] + tap - self._window.begin[axis]
        outside = (first < 0) | (first >= self._size[axis])
        if outside.any():
            far = np.zeros([1, 1, *counts])
            far[:, :, *([outside] if axis == 0 else [slice(None), outside])] = _FAR
            there = constant_image(self._op, far, self._channels, like=self._image)
            largest = self._shaped(self._op.Add(there, largest), counts)
        negative = pick(
            self._op,
            image,
            self._channels,
            sizes=sizes,
            offsets=offsets,
            counts=counts,
            strides=strides,
            factor=-1,
        )
        below = self._shaped(self._op.Add(negative, largest), counts)
        return self._shaped(step(self._op, below, at_zero=True), counts)

    def _phases(self, shares: list[ir.Value], *, axis: int, sizes: list[int]) -> list[ir.Value]:
        """Shares of the taps, each moved to its pixel, added up for each phase of the axis."""
        op = self._op
        stride, counts = self._window.strides[axis], list(sizes)
        counts[axis] = self._phase[axis]
        phases: list[ir.Value | None] = [None] * stride
        for tap, share in enumerate(shares):
            shift, phase = divmod(tap - self._window.begin[axis], stride)
            offsets = [-shift if i == axis else 0 for i in range(2)]
            moved = share
            if shift or counts != sizes:
                moved = pick(op, share, self._channels, sizes=sizes, offsets=offsets, counts=counts)
            before = phases[phase]
            phases[phase] = moved if before is None else self._shaped(op.Add(moved, before), counts)
        return [
            pick(op, shares[-1], self._channels, sizes=sizes, offsets=[0, 0], counts=counts, factor=0)
            if value is None
            else value
            for value in phases
        ]
