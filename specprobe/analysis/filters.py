"""What the convolution filters of a model look like, from its weights alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from specprobe.analysis.filter_metrics import (
    centre_dominated,
    centre_energy,
    expected_random_entropy,
    orthogonality,
    sparse_mask,
    variance_entropy,
)
from specprobe.arrays import Array, namespace
from specprobe.errors import DataError, InputMismatch
from specprobe.protocols import Convolution

__all__ = ["FilterAggregate", "FilterStatistics", "LayerFilters", "filter_statistics"]

_ENTROPIES = ("variance_entropy", "variance_entropy_raw", "variance_entropy_raw_nonsparse")
_WEIGHTS = {
    "sparsity": "filters",
    "variance_entropy": "nonsparse_filters",
    "variance_entropy_raw": "filters",
    "variance_entropy_raw_nonsparse": "nonsparse_filters",
    "variance_entropy_ratio": "nonsparse_filters",
    "orthogonality": "out_channels",
    "centre_energy": "filters",
    "centre_dominated": "out_channels",
}
"""Every metric, and the field by which layers count in its mean."""

# Beyond these the eigenvalues and the inner products take minutes; a file must not be able to ask for that.
_LARGEST_ENTROPY_ORDER = 4096
_LARGEST_GROUP = 2**15


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFilters:
    """Filter statistics of one convolution. A filter is one spatial kernel.

    Attributes
    ----------
    name : str
        Node name, or its first output's name.
    operator : str
        ONNX operator.
    kernel : tuple of int
        Kernel size, one number for each spatial axis.
    in_channels, out_channels, groups : int
        Channels in all, and the equal groups they come in.
    depth : int
        Node levels with a convolution before this one, as in `Convolution`.
    filters : int
        ``out_channels · in_channels / groups``.
    nonsparse_filters : int or None
        Filters that are not negligible; None where weights are not finite.
    sparsity : float or None
        Share of filters whose L∞ norm is at most 1 % of the layer's largest weight; 1 for a layer of zeros.
    variance_entropy : float or None
        Entropy (base 10) of the explained variances of the non-sparse filters, each divided by its own L∞ norm.
    variance_entropy_raw : float or None
        The same of all filters, unscaled.
    variance_entropy_raw_nonsparse : float or None
        The same of the non-sparse filters, unscaled.
    variance_entropy_ratio : float or None
        ``variance_entropy`` divided by what as many random filters are expected to have: about 1 for filters
        without structure, 0 for filters that are all alike.
    orthogonality : float or None
        1 where the output channels of each group are orthogonal, 0 where they are parallel.
    centre_energy : float or None
        Share of the squared weight that lies in the centre taps.
    centre_dominated : float or None
        Share of output channels with over 0.9 of their squared weight in the centre taps.
    batch_norm : {"folded", "separate", "none", "unknown"}
        What is known of a BatchNormalization behind this convolution.
    shared_with : tuple of str
        Further nodes that use the same weights, which count once.
    undefined : dict of str to str
        Why a metric is None, by its name.
    """

    name: str
    operator: str
    kernel: tuple[int, ...]
    in_channels: int
    out_channels: int
    groups: int
    depth: int
    filters: int
    nonsparse_filters: int | None
    sparsity: float | None
    variance_entropy: float | None
    variance_entropy_raw: float | None
    variance_entropy_raw_nonsparse: float | None
    variance_entropy_ratio: float | None
    orthogonality: float | None
    centre_energy: float | None
    centre_dominated: float | None
    batch_norm: str
    shared_with: tuple[str, ...] = ()
    undefined: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values by field name.

        Returns
        -------
        dict
            Tuples become lists; undefined metrics are None.
        """
        return _to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], /) -> "LayerFilters":
        """Layer that `to_dict` described.

        Parameters
        ----------
        data : mapping
            From `to_dict`, or read back from JSON.

        Returns
        -------
        LayerFilters
            Equal to the one described.

        Raises
        ------
        DataError
            If a field is missing.
        """
        names = [item.name for item in fields(cls)]
        missing = [name for name in names if name not in data]
        if missing:
            msg = (
                f"saved filter statistics of layer {data.get('name')!r} have no {', '.join(missing)}; every "
                f"layer needs {', '.join(names)}. Run the filter statistics again."
            )
            raise DataError(msg)
        values = {name: data[name] for name in names}
        for name in ("kernel", "shared_with"):
            values[name] = tuple(values[name])
        return cls(**{**values, "undefined": dict(values["undefined"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterAggregate:
    """Filter statistics of several layers together; layers where a metric is undefined do not count for it.

    Attributes
    ----------
    kernels : tuple of tuple of int
        The kernel sizes that occur, sorted.
    layers : int
        Number of convolutions.
    filters : int
        Number of filters in all layers.
    sparsity : float or None
        Sparse filters divided by filters.
    variance_entropy, variance_entropy_raw, variance_entropy_raw_nonsparse : float or None
        Means weighted by the filters that each entropy was taken over. They are None where kernels of several
        numbers of taps meet, whose entropies have different ranges.
    variance_entropy_ratio : float or None
        Mean weighted by non-sparse filters; comparable across kernel sizes.
    orthogonality : float or None
        Mean weighted by output channels.
    centre_energy : float or None
        Mean weighted by filters. Kernels of one tap are left out, as in every metric of shape.
    centre_dominated : float or None
        Mean weighted by output channels.
    undefined : dict of str to str
        Why a metric is None, by its name.
    """

    kernels: tuple[tuple[int, ...], ...]
    layers: int
    filters: int
    sparsity: float | None
    variance_entropy: float | None
    variance_entropy_raw: float | None
    variance_entropy_raw_nonsparse: float | None
    variance_entropy_ratio: float | None
    orthogonality: float | None
    centre_energy: float | None
    centre_dominated: float | None
    undefined: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values by field name.

        Returns
        -------
        dict
            Tuples become lists; undefined metrics are None.
        """
        return _to_dict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterStatistics:
    """Filter statistics of a model, layer by layer. All aggregates follow from the layers.

    Attributes
    ----------
    layers : tuple of LayerFilters
        In the order given.
    """

    kind: ClassVar[str] = "filter_statistics"

    layers: tuple[LayerFilters, ...] = ()

    @property
    def batch_norm_folded(self) -> bool | None:
        """True where every layer is known to hold its BatchNormalization, False where one does not, else None.

        Folding scales output channels: it moves sparsity and the raw entropies, and leaves orthogonality alone.
        """
        known = {layer.batch_norm for layer in self.layers}
        if "separate" in known:
            return False
        return True if known == {"folded"} else None

    @property
    def overall(self) -> FilterAggregate:
        """All layers together."""
        return _aggregate(self.layers)

    @property
    def by_kernel(self) -> tuple[FilterAggregate, ...]:
        """Layers of each kernel size together, sorted by size."""
        kernels = sorted({layer.kernel for layer in self.layers})
        return tuple(
            _aggregate([layer for layer in self.layers if layer.kernel == kernel]) for kernel in kernels
        )

    def merge(self, other: "FilterStatistics", /) -> "FilterStatistics":
        """Statistics of the layers of both.

        Parameters
        ----------
        other : FilterStatistics
            Of further layers.

        Returns
        -------
        FilterStatistics
            The layers of this one, then those of ``other``.
        """
        return FilterStatistics(layers=self.layers + other.layers)

    def to_dict(self) -> dict[str, Any]:
        """JSON values by name.

        Returns
        -------
        dict
            ``layers``, ``batch_norm_folded``, ``overall`` and ``by_kernel``.
        """
        return {
            "layers": [layer.to_dict() for layer in self.layers],
            "batch_norm_folded": self.batch_norm_folded,
            "overall": self.overall.to_dict(),
            "by_kernel": [aggregate.to_dict() for aggregate in self.by_kernel],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], /) -> "FilterStatistics":
        """Statistics that `to_dict` described.

        Parameters
        ----------
        data : mapping
            From `to_dict`, or read back from JSON. Only ``layers`` is read; the rest is derived anew.

        Returns
        -------
        FilterStatistics
            Equal to the one described.

        Raises
        ------
        DataError
            If there are no ``layers``, or one lacks a field.
        """
        if "layers" not in data:
            msg = (
                f"saved filter statistics have no 'layers', but {', '.join(map(repr, data)) or 'nothing'}. "
                f"Pass the 'result' of a document of kind {cls.kind!r}."
            )
            raise DataError(msg)
        return cls(layers=tuple(LayerFilters.from_dict(layer) for layer in data["layers"]))


def filter_statistics(convolutions: Sequence[Convolution], /) -> FilterStatistics:
    """Sparsity, diversity, orthogonality and centredness of convolution filters.

    Parameters
    ----------
    convolutions : sequence of Convolution
        Any number, of one to three spatial axes or more.

    Returns
    -------
    FilterStatistics
        One layer for each convolution; a metric that a layer cannot have is None, and says why.

    Raises
    ------
    InputMismatch
        If weights are not real floating, have no spatial axis, or do not fit their groups.

    Notes
    -----
    The metrics are those of [1]_; they describe a model and are no score of its robustness, with which they
    correlate weakly. Weights with BatchNormalization folded in have another sparsity and other raw entropies
    than the same weights without, so compare models of equal ``batch_norm_folded``.

    References
    ----------
    .. [1] P. Gavrikov and J. Keuper, Adversarial Robustness Through the Lens of Convolutional Filters, CVPR
       Workshops 2022. arXiv:2204.02481

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.zeros((2, 3, 3, 3))
    >>> weight[:, :, 1, 1] = [[1, 0, 0], [0, 0, 1]]
    >>> (layer,) = filter_statistics([Convolution(name="stem", operator="Conv", weight=weight)]).layers
    >>> layer.filters, layer.centre_energy, layer.orthogonality, layer.variance_entropy
    (6, 1.0, 1.0, 0.0)
    """
    return FilterStatistics(layers=tuple(_layer_filters(convolution) for convolution in convolutions))


def _check(convolution: Convolution) -> None:
    weight, groups = convolution.weight, convolution.groups
    where = f"{convolution.operator} {convolution.name!r}"
    if not namespace(weight).isdtype(weight.dtype, "real floating"):
        msg = f"weights of {where} have dtype {weight.dtype}; accepted are real floating. Dequantise them first."
        raise InputMismatch(msg)
    if weight.ndim < 3:
        msg = (
            f"weights of {where} have shape {tuple(weight.shape)}; accepted is (out_channels, in_channels / "
            f"groups, *kernel) with a kernel of at least one axis. Leave out layers that are no convolutions."
        )
        raise InputMismatch(msg)
    if groups < 1 or weight.shape[0] % groups:
        msg = (
            f"{weight.shape[0]} output channels of {where} do not divide into {groups} groups; accepted is a "
            f"divisor. Check the attribute 'group' and the weight layout."
        )
        raise InputMismatch(msg)


def _why_undefined(shape: tuple[int, ...], groups: int, nonsparse: int) -> dict[str, str]:
    """Return the reason by metric, for finite weights of which ``nonsparse`` filters are not negligible."""
    out_channels, group_channels, *kernel = shape
    filters, taps, size = out_channels * group_channels, math.prod(kernel), out_channels // groups
    undefined: dict[str, str] = {}

    for metric, count in zip(_ENTROPIES, (nonsparse, filters, nonsparse), strict=True):
        if taps == 1:
            undefined[metric] = "filters of one tap differ in nothing but scale"
        elif count < 2:
            undefined[metric] = f"{count} of {filters} filters remain, and entropy takes at least 2"
        elif min(count, taps) > _LARGEST_ENTROPY_ORDER:
            undefined[metric] = (
                f"{count} filters of {taps} taps: one of the two must not exceed {_LARGEST_ENTROPY_ORDER}"
            )
    if "variance_entropy" in undefined:
        undefined["variance_entropy_ratio"] = undefined["variance_entropy"]
    elif nonsparse == 2:
        undefined["variance_entropy_ratio"] = "2 filters remain, and any 2 filters have entropy 0"

    if size < 2:
        undefined["orthogonality"] = "one output channel a group, with none to be orthogonal to"
    elif size > _LARGEST_GROUP:
        undefined["orthogonality"] = f"{size} output channels a group; at most {_LARGEST_GROUP} are compared"

    for metric in ("centre_energy", "centre_dominated"):
        if taps == 1:
            undefined[metric] = "filters of one tap are all centre"
        elif not all(length % 2 for length in kernel):
            undefined[metric] = f"a kernel of {'x'.join(map(str, kernel))} has no centre tap"
        elif nonsparse == 0:
            undefined[metric] = "all weights are zero"
    return undefined


def _metrics(weight: Array, groups: int) -> tuple[dict[str, float | None], dict[str, str], int | None]:
    """Return the metrics of one layer, why some are undefined, and the number of filters that are not sparse."""
    xp = namespace(weight)
    filters, taps = weight.shape[0] * weight.shape[1], math.prod(weight.shape[2:])
    nothing: dict[str, float | None] = dict.fromkeys(_WEIGHTS)
    if not filters * taps:
        reason = f"weights of shape {tuple(weight.shape)} hold no numbers"
        return nothing, dict.fromkeys(_WEIGHTS, reason), None
    unusable = filters * taps - int(xp.count_nonzero(xp.isfinite(weight)))
    if unusable:
        reason = f"{unusable} of {filters * taps} weights are NaN or infinite"
        return nothing, dict.fromkeys(_WEIGHTS, reason), None

    matrix = xp.reshape(weight, (filters, taps))
    sparse = sparse_mask(matrix)
    remaining = filters - int(xp.count_nonzero(sparse))
    undefined = _why_undefined(weight.shape, groups, remaining)
    values = nothing | {"sparsity": (filters - remaining) / filters}
    if "variance_entropy_raw" not in undefined:
        values["variance_entropy_raw"] = variance_entropy(matrix)
    if "variance_entropy" not in undefined:
        nonsparse = matrix if remaining == filters else matrix[~sparse]
        entropy = variance_entropy(nonsparse, scaled=True)
        values["variance_entropy"] = entropy
        values["variance_entropy_raw_nonsparse"] = (
            values["variance_entropy_raw"] if remaining == filters else variance_entropy(nonsparse)
        )
        if "variance_entropy_ratio" not in undefined:
            values["variance_entropy_ratio"] = entropy / expected_random_entropy(remaining, taps)
    if "orthogonality" not in undefined:
        values["orthogonality"] = orthogonality(weight, groups=groups)
    if "centre_energy" not in undefined:
        values["centre_energy"] = centre_energy(weight)
        values["centre_dominated"] = centre_dominated(weight)
    return values, undefined, remaining


def _layer_filters(convolution: Convolution) -> LayerFilters:
    _check(convolution)
    weight, groups = convolution.weight, convolution.groups
    out_channels, group_channels, *kernel = weight.shape
    metrics, undefined, nonsparse = _metrics(weight, groups)
    return LayerFilters(
        name=convolution.name,
        operator=convolution.operator,
        kernel=tuple(kernel),
        in_channels=group_channels * groups,
        out_channels=out_channels,
        groups=groups,
        depth=convolution.depth,
        filters=out_channels * group_channels,
        nonsparse_filters=nonsparse,
        batch_norm=convolution.batch_norm,
        shared_with=convolution.shared_with,
        undefined=undefined,
        **metrics,
    )


def _weighted_mean(layers: Iterable[LayerFilters], metric: str) -> float | None:
    defined = [layer for layer in layers if getattr(layer, metric) is not None]
    weights = [getattr(layer, _WEIGHTS[metric]) for layer in defined]
    total = math.fsum(getattr(layer, metric) * weight for layer, weight in zip(defined, weights, strict=True))
    return total / sum(weights) if defined else None


def _aggregate(layers: Sequence[LayerFilters]) -> FilterAggregate:
    values = {metric: _weighted_mean(layers, metric) for metric in _WEIGHTS}
    reason = f"undefined in all {len(layers)} layers" if layers else "there are no convolutions"
    undefined = {metric: reason for metric, value in values.items() if value is None}
    for metric in _ENTROPIES:
        taps = sorted({math.prod(layer.kernel) for layer in layers if getattr(layer, metric) is not None})
        if len(taps) > 1:
            values[metric] = None
            undefined[metric] = f"entropies of {' and '.join(map(str, taps))} taps have different ranges"
    return FilterAggregate(
        kernels=tuple(sorted({layer.kernel for layer in layers})),
        layers=len(layers),
        filters=sum(layer.filters for layer in layers),
        undefined=undefined,
        **values,
    )


def _to_dict(record: LayerFilters | FilterAggregate) -> dict[str, Any]:
    return {item.name: _listed(getattr(record, item.name)) for item in fields(record)}


def _listed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_listed(item) for item in value]
    return dict(value) if isinstance(value, dict) else value
