"""What is in a file, whether it can be analysed, and how well it does."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from specprobe.analysis.accuracy import Accuracy
from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.filters import FilterStatistics
from specprobe.analysis.sensitivity_result import FourierSensitivity
from specprobe.findings import Finding
from specprobe.results import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GradientSupport", "Inspection"]


_SCALARS = (
    "opset",
    "ir_version",
    "producer",
    "bytes",
    "parameters",
    "multiply_adds",
    "operators",
    "functions",
    "quantisation",
    "trailing_activation",
)
"""Fields that a document holds as they are."""

_PARTS: dict[str, Any] = {"sensitivity": FourierSensitivity, "bands": BandAccuracy}
"""Results within the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSupport:
    """Whether input gradients can be had.

    Attributes
    ----------
    supported : bool or None
        None where it was not looked into.
    missing : tuple of (str, str)
        Operator and node without a gradient rule.
    masking : tuple of str
        Nodes whose gradient is zero almost everywhere.
    """

    supported: bool | None = None
    missing: tuple[tuple[str, str], ...] = ()
    masking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a model file holds, and, with data, how well it does.

    Attributes
    ----------
    inputs, outputs : tuple of dict
        ``name``, ``dtype``, ``shape``; symbolic dimensions by name.
    opset, ir_version : int
        As in the file.
    producer : str
        What wrote the file.
    bytes, parameters : int
        On disk, weights in other files included; numbers stored.
    multiply_adds : int or None
        For one image.
    operators : dict of str to int
        Nodes by operator.
    functions : int
        Local functions in the file; they are inlined in all other counts.
    quantisation, trailing_activation : str or None
        See :class:`specprobe.graph.survey.Survey`.
    filters : FilterStatistics
        Of the convolutions.
    gradient : GradientSupport
        Whether input gradients can be had.
    findings : tuple of Finding
        What a user should know.
    accuracy : Accuracy or None
        With labelled data.
    sensitivity : FourierSensitivity or None
        With data, where the model has a gradient.
    bands : BandAccuracy or None
        With data.
    """

    kind: ClassVar[str] = "inspection"

    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    opset: int
    ir_version: int
    producer: str
    bytes: int
    parameters: int
    multiply_adds: int | None
    operators: dict[str, int]
    functions: int
    quantisation: str | None
    trailing_activation: str | None
    filters: FilterStatistics
    gradient: GradientSupport = field(default_factory=GradientSupport)
    findings: tuple[Finding, ...] = ()
    accuracy: Accuracy | None = None
    sensitivity: FourierSensitivity | None = None
    bands: BandAccuracy | None = None

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold.

        Returns
        -------
        dict of str to numpy.ndarray
            ``correct`` and ``digest`` by image, with labels; the arrays of sensitivity and bands after
            ``sensitivity_`` and ``bands_``, but for the digests, which are the same.
        """
        held: dict[str, Any] = {}
        for name in _PARTS:
            part = getattr(self, name)
            arrays = {} if part is None else part.arrays()
            held |= {"digest": arrays.pop("digest", None)} | held
            held |= {f"{name}_{key}": array for key, array in arrays.items()}
        if self.accuracy is not None:
            held |= {"correct": self.accuracy.image_correct, "digest": self.accuracy.image_digest}
        return {name: array for name, array in held.items() if array is not None}

    @property
    def image_digest(self) -> "NDArray[np.uint8] | None":
        """Which images it was measured on; None without data, and for results read from JSON."""
        parts = (self.accuracy, self.sensitivity, self.bands)
        return next((part.image_digest for part in parts if part is not None), None)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values.

        Returns
        -------
        dict
            ``accuracy`` is a number, ``accuracy_interval`` its interval; both null without data, as are
            ``sensitivity`` and ``bands``, which hold results of their own.
        """
        filters = self.filters.to_dict()
        measured = self.accuracy.to_dict() if self.accuracy is not None else {}
        return {
            "inputs": finite(self.inputs),
            "outputs": finite(self.outputs),
            **{name: getattr(self, name) for name in _SCALARS},
            "convolutions": filters["layers"],
            "filters": {key: value for key, value in filters.items() if key != "layers"},
            "gradient": {
                "supported": self.gradient.supported,
                "missing": [{"operator": op, "node": node} for op, node in self.gradient.missing],
                "masking": list(self.gradient.masking),
            },
            "findings": [finding.to_dict() for finding in self.findings],
            "accuracy": measured.pop("accuracy", None),
            "accuracy_interval": measured.pop("accuracy_interval", None),
            "accuracy_detail": measured or None,
            **{name: None if (part := getattr(self, name)) is None else part.to_dict() for name in _PARTS},
        }

    @classmethod
    def from_dict(cls, content: "Mapping[str, Any]", /) -> "Inspection":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : mapping
            JSON values.

        Returns
        -------
        Inspection
            Without per-image arrays.
        """
        gradient = content["gradient"]
        return cls(
            inputs=tuple(content["inputs"]),
            outputs=tuple(content["outputs"]),
            **{name: content[name] for name in _SCALARS},
            filters=FilterStatistics.from_dict({**content["filters"], "layers": content["convolutions"]}),
            gradient=GradientSupport(
                supported=gradient["supported"],
                missing=tuple((entry["operator"], entry["node"]) for entry in gradient["missing"]),
                masking=tuple(gradient["masking"]),
            ),
            findings=tuple(Finding(**entry) for entry in content["findings"]),
            accuracy=Accuracy.from_dict(content["accuracy_detail"]) if content["accuracy_detail"] else None,
            **{name: kind.from_dict(content[name]) for name, kind in _PARTS.items() if content.get(name)},
        )
