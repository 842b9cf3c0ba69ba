"""Nearest point of a hyperplane inside the box of pixels, in three norms."""

from typing import TYPE_CHECKING, Any

from specprobe.arrays import Array, namespace

if TYPE_CHECKING:
    from specprobe.attacks.threat import Norm

__all__ = ["dual_norm", "hyperplane_steps"]

_ROUNDS = 100
"""Of Newton's method: far more than any row was seen to take, and one that is not done then is still in the box."""


def hyperplane_steps(points: Array, normals: Array, values: Array, /, *, norm: "Norm") -> Array:
    """Shortest steps from points to the zeros of linear functions, without leaving the box [0, 1].

    Parameters
    ----------
    points : array, shape (N, ...), float32 or float64
        Within [0, 1].
    normals : array, shape (N, ...)
        Gradients w of the functions.
    values : array, shape (N,)
        Values v of the functions at the points: their zeros are where ``v + <w, step> = 0``.
    norm : {"linf", "l2", "l1"}
        That the length of a step is measured in.

    Returns
    -------
    array, shape (N, ...)
        Of the dtype of ``points``. Where the hyperplane does not meet the box, the step to the point of the box that
        comes nearest to it. Pixels of weight 0 stay.

    Raises
    ------
    ValueError
        If ``norm`` is none of the three.

    Notes
    -----
    Only the moves ``-sign(v w_i) t_i`` help, of lengths t_i between 0 and the room r_i that the box leaves. So Σ t_i in
    the norm is to be least while ``Σ |w_i| t_i = |v|`` [1]_. For linf that is ``t_i = min(τ, r_i)``, for l2
    ``t_i = min(τ |w_i|, r_i)``; both sums are concave and piecewise linear in τ, so Newton's method from 0 grows to the
    root in finitely many steps, without sorting. For l1 the pixels of largest weight go first, as far as they can.

    References
    ----------
    .. [1] F. Croce, M. Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack, ICML 2020,
       section 2.2. arXiv:1907.02044
    """
    _check(norm)
    xp = namespace(points, normals, values)
    dtype, shape = points.dtype, points.shape
    flat, weights = (xp.reshape(x, (shape[0], -1)) for x in (points, xp.astype(normals, dtype, copy=False)))
    downhill = xp.where(values > 0, -xp.ones_like(values), xp.ones_like(values))
    directions = xp.sign(weights) * xp.astype(downhill, dtype)[:, None]
    room = xp.where(directions > 0, 1 - flat, flat)
    sizes = xp.abs(weights)
    largest = xp.max(sizes, axis=1, keepdims=True)
    largest = xp.where(largest > 0, largest, xp.ones_like(largest))
    sizes = sizes / largest  # of largest weight 1, so that squares neither vanish nor overflow
    gains = sizes * room
    most = xp.sum(gains, axis=1, keepdims=True)
    needed = xp.astype(xp.abs(values), xp.float64)[:, None] / xp.astype(largest, xp.float64)
    within = needed < xp.astype(most, xp.float64)
    needed = xp.astype(xp.where(within, needed, xp.zeros_like(needed)), dtype)
    lengths = xp.where(within, _LENGTHS[norm](xp, sizes, room, gains, needed), room)
    return xp.reshape(directions * lengths, shape)


def dual_norm(gradients: Array, /, *, norm: "Norm") -> Array:
    """Fastest growth of linear functions along steps of length 1.

    Parameters
    ----------
    gradients : array, shape (N, ...)
        Of the functions.
    norm : {"linf", "l2", "l1"}
        That the length of a step is measured in.

    Returns
    -------
    array, shape (N,), float64
        L1 norm of a gradient for linf, L2 norm for l2, largest entry for l1.

    Raises
    ------
    ValueError
        If ``norm`` is none of the three.
    """
    _check(norm)
    xp = namespace(gradients)
    flat = xp.abs(xp.reshape(gradients, (gradients.shape[0], -1)))
    if norm == "linf":
        return xp.sum(flat, axis=1, dtype=xp.float64)
    largest = xp.astype(xp.max(flat, axis=1), xp.float64)
    if norm == "l1":
        return largest
    unit = xp.where(largest > 0, largest, xp.ones_like(largest))
    scaled = flat / xp.astype(unit, flat.dtype)[:, None]
    return unit * xp.sqrt(xp.sum(scaled * scaled, axis=1, dtype=xp.float64))


def _check(norm: str) -> None:
    if norm not in _LENGTHS:
        msg = f"norm is {norm!r}; accepted are 'linf', 'l2' and 'l1'"
        raise ValueError(msg)


def _level(xp: Any, slopes: Array, limits: Array, gains: Array, needed: Array) -> Array:
    """τ (N, 1) with ``Σ slopes · min(τ, limits) = needed``, where ``gains = slopes · limits`` sum to more."""
    level = xp.zeros_like(needed)
    for _ in range(_ROUNDS):
        free = xp.astype(limits > level, slopes.dtype)
        slope = xp.vecdot(slopes, free, axis=-1)[:, None]
        fixed = xp.vecdot(gains, 1 - free, axis=-1)[:, None]
        grown = xp.maximum(level, (needed - fixed) / xp.where(slope > 0, slope, xp.ones_like(slope)))
        grown = xp.where(slope > 0, grown, level)
        if not bool(xp.any(grown > level)):
            break
        level = grown
    return level


def _even(xp: Any, sizes: Array, room: Array, gains: Array, needed: Array) -> Array:
    """Lengths that are equal as far as there is room, whatever the weights."""
    return xp.minimum(_level(xp, sizes, room, gains, needed), room)


def _proportional(xp: Any, sizes: Array, room: Array, gains: Array, needed: Array) -> Array:
    """Lengths in proportion to the weights as far as there is room."""
    limits = room / xp.where(sizes > 0, sizes, xp.ones_like(sizes))
    return xp.minimum(_level(xp, sizes * sizes, limits, gains, needed) * sizes, room)


def _heaviest_first(xp: Any, sizes: Array, room: Array, gains: Array, needed: Array) -> Array:
    """All the room of the largest weights, and of those that come next an equal share of it."""
    ordered = xp.sort(sizes, axis=1)
    # The place of the largest weight that is reached: all weights from there on are enough, by bisection.
    low = xp.zeros_like(needed, dtype=xp.int64)
    high = low + (sizes.shape[1] - 1)
    for _ in range(sizes.shape[1].bit_length()):
        middle = (low + high + 1) // 2
        from_here = xp.astype(sizes >= xp.take_along_axis(ordered, middle, axis=1), sizes.dtype)
        enough = xp.vecdot(gains, from_here, axis=-1)[:, None] >= needed
        low, high = xp.where(enough, middle, low), xp.where(enough, high, middle - 1)
        high = xp.maximum(low, high)
    threshold = xp.take_along_axis(ordered, low, axis=1)
    above, equal = sizes > threshold, sizes == threshold
    nothing = xp.zeros_like(gains)
    full, next_ones = (xp.sum(xp.where(x, gains, nothing), axis=1, keepdims=True) for x in (above, equal))
    share = (needed - full) / xp.where(next_ones > 0, next_ones, xp.ones_like(next_ones))
    share = xp.where(share > 1, xp.ones_like(share), xp.maximum(share, xp.zeros_like(share)))
    return xp.where(above, room, xp.where(equal, room * share, nothing))


_LENGTHS = {"linf": _even, "l2": _proportional, "l1": _heaviest_first}
