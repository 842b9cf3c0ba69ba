"""What a comparison of models found: every metric of every model, and how it differs from the first model's."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from specprobe.analysis.metrics import Metric, metrics
from specprobe.analysis.per_image import same
from specprobe.bootstrap import RESAMPLES
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE
from specprobe.results import finite, result_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ComparedMetric", "Comparison", "Interval"]

Interval = tuple[float, float]
_INTERVALS = ("values_interval", "differences_interval")
_PER_MODEL = ("values", *_INTERVALS, "differences", "p_values", "p_values_adjusted")
_SCALARS = ("result_kind", "images", "confidence", "seed", "resamples")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric:
    """One metric of several models. Each tuple has an entry a model, None where there is nothing to tell.

    Attributes
    ----------
    name, label, unit, whole, detail
        As of :class:`~specprobe.analysis.metrics.Metric`.
    values : tuple of float or None
        By model.
    values_interval : tuple of (float, float) or None
        An end that is not known is infinite.
    differences : tuple of float or None
        To the first model, over the same images; None for the first model itself.
    differences_interval : tuple of (float, float) or None
        None where the metric has no values by image.
    p_values : tuple of float or None
        Of no difference to the first model.
    p_values_adjusted : tuple of float or None
        Adjusted for all tests of that model.
    test : {"mcnemar", "sign-flip"} or None
        What the p-values are of; the intervals are Newcombe's with the first, of the bootstrap with the second.
    """

    name: str
    label: str
    values: tuple[float | None, ...]
    values_interval: tuple[Interval | None, ...]
    differences: tuple[float | None, ...]
    differences_interval: tuple[Interval | None, ...]
    p_values: tuple[float | None, ...]
    p_values_adjusted: tuple[float | None, ...]
    test: str | None = None
    unit: str = ""
    whole: bool = False
    detail: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values.

        Returns
        -------
        dict
            Infinite ends are null.
        """
        content: dict[str, Any] = finite({field.name: getattr(self, field.name) for field in fields(self)})
        return content

    @classmethod
    def from_dict(cls, content: "Mapping[str, Any]", /) -> "ComparedMetric":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : mapping
            JSON values.

        Returns
        -------
        ComparedMetric
            Equal to the one described.
        """
        values = {field.name: content[field.name] for field in fields(cls)}
        values |= {name: tuple(values[name]) for name in _PER_MODEL}
        values |= {name: tuple(_interval(bounds) for bounds in values[name]) for name in _INTERVALS}
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Several models side by side, on the same images.

    Attributes
    ----------
    models : tuple of str
        Names; differences are to the first.
    metrics : tuple of ComparedMetric
        Every metric that one of the models has.
    results : tuple of Result
        Of each model.
    findings : tuple of Finding
        What to know before the numbers are used.
    images : int or None
        How many; None without data.
    confidence : float
        Of the intervals; a difference is marked where its adjusted p-value is below ``1 - confidence``.
    seed, resamples : int
        Of the bootstrap and of the sign flips.
    power_map : numpy.ndarray of float64, shape (K, H, W), or None
        Sensitivity by frequency of each of the K models, NaN for those without; None without data, and for results read
        from JSON, as the arrays below.
    image_prediction : numpy.ndarray of int64, shape (images, K), or None
        Predicted classes.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "comparison"

    models: tuple[str, ...]
    metrics: tuple[ComparedMetric, ...]
    results: tuple[Any, ...]
    findings: tuple[Finding, ...] = ()
    images: int | None = None
    confidence: float = CONFIDENCE
    seed: int = 0
    resamples: int = RESAMPLES
    power_map: "NDArray[np.float64] | None" = None
    image_prediction: "NDArray[np.int64] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse what is no comparison: results are read from files, too."""
        if len(self.models) < 2 or len(self.results) != len(self.models):
            msg = f"{len(self.models)} models and {len(self.results)} results; accepted are as many of both, 2 or more"
            raise ValueError(msg)
        for metric in self.metrics:
            lengths = {len(getattr(metric, name)) for name in _PER_MODEL}
            if lengths != {len(self.models)}:
                msg = f"{metric.name} has {sorted(lengths)} entries; accepted is one for each of {len(self.models)} models"
                raise ValueError(msg)

    @property
    def result_kind(self) -> str:
        """Kind of ``results``."""
        kind: str = self.results[0].kind
        return kind

    def __getitem__(self, name: str, /) -> ComparedMetric:
        """Metric of that name."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        msg = f"there is no metric '{name}'; known are {', '.join(metric.name for metric in self.metrics)}"
        raise KeyError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values.

        Returns
        -------
        dict
            With the results of the models, without arrays.
        """
        return {
            "models": list(self.models),
            "metrics": [metric.to_dict() for metric in self.metrics],
            **{name: getattr(self, name) for name in _SCALARS},
            "findings": [finding.to_dict() for finding in self.findings],
            "results": [result.to_dict() for result in self.results],
        }

    @classmethod
    def from_dict(cls, content: "Mapping[str, Any]", /) -> "Comparison":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : mapping
            JSON values.

        Returns
        -------
        Comparison
            Without arrays.
        """
        kind = result_type(content["result_kind"])
        return cls(
            models=tuple(content["models"]),
            metrics=tuple(ComparedMetric.from_dict(metric) for metric in content["metrics"]),
            results=tuple(kind.from_dict(result) for result in content["results"]),
            findings=tuple(Finding(**finding) for finding in content["findings"]),
            **{name: content[name] for name in _SCALARS if name != "result_kind"},
        )

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold.

        Returns
        -------
        dict of str to numpy.ndarray
            ``power_map``, ``prediction`` and ``digest``; the arrays of each model's own result after ``model_0_``,
            ``model_1_``, …, but for the digests, which are the same, and the maps.
        """
        held: dict[str, Any] = {
            "power_map": self.power_map,
            "prediction": self.image_prediction,
            "digest": self.image_digest,
        }
        for i, result in enumerate(self.results):
            own = result.arrays() if hasattr(result, "arrays") else {}
            held |= {
                f"model_{i}_{name}": array
                for name, array in own.items()
                if name != "digest" and not name.endswith("power_map")
            }
        return {name: array for name, array in held.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, arrays included."""
        if not isinstance(other, Comparison):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]


@metrics.register(Comparison)
def _comparison(result: Comparison, /) -> tuple[Metric, ...]:
    """Differences to the first model."""
    return tuple(
        Metric(
            name=f"{metric.name}.{name}",
            label=f"{metric.label}: {name} − {result.models[0]}",
            value=metric.differences[i],
            interval=metric.differences_interval[i],
            unit=metric.unit,
            whole=metric.whole,
            detail=metric.detail,
        )
        for metric in result.metrics
        for i, name in enumerate(result.models)
        if metric.differences[i] is not None
    )


def _interval(bounds: Any) -> Interval | None:
    if bounds is None:
        return None
    low, high = bounds
    return float(low), float("inf") if high is None else float(high)
