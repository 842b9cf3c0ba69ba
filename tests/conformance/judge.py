"""Judges the gradients of ONNX's own node cases; run by ``test_conformance.py`` and ``report.py``.

A case is a model of one operator, or of the operators that define it (``…_expanded``), with inputs and the outputs that
the standard expects. Every floating-point output is differentiated with respect to every floating-point input, and for
random u and v, ``⟨u, J v⟩`` by central differences in float64 is compared with ``⟨Jᵀ u, v⟩`` by the gradient graph.
"""

import fnmatch
import math
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.inliner
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.backend.test.case.node import collect_testcases

from specprobe.autodiff import gradient_names, missing_rules, with_gradient
from specprobe.autodiff.reverse import nodes_between
from specprobe.errors import ModelError, UnsupportedOperator
from specprobe.testing.evaluation import Evaluator, evaluator
from specprobe.testing.gradient_check import Slope, disagreement, slopes
from specprobe.testing.widening import WIDENED, widened

RUNTIME_OPSET = 26
"""Newest operator set that onnxruntime runs. Models of later ones are relabelled where no operator of theirs changed."""

STEPS = (1e-5, 1e-6, 1e-7)
"""Of the differences: float64 leaves nine digits at the smallest, and few kinks lie within the largest."""

DIFFERENTIABLE = 1e-4
"""Central differences of all steps agree to this, and at the smallest step those to either side do."""

COARSE_STEPS, COARSE = (4e-3, 2e-3, 1e-3), 2e-2
"""The same for operators that nothing evaluates in float64."""

TOLERANCE = {
    ir.DataType.DOUBLE: 1e-6,
    ir.DataType.FLOAT: 5e-4,
    ir.DataType.FLOAT16: 4e-2,
    ir.DataType.BFLOAT16: 2e-1,
}
"""Of the error, by the least precise type that the gradient is computed in."""

ILL_CONDITIONED = 50
"""Tolerances by which rounding may spoil a right gradient: 1 − y² where y is near 1, say. float64 then decides."""

ATTEMPTS = 5
"""The case's own inputs first, then ever other small perturbations of them, until none meets a kink."""

REAL = frozenset(TOLERANCE)
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
WRITTEN_OUT = frozenset({"Loop", "Scan"})
"""Operators without a rule that need none where their length is constant."""

TABLE = Path(__file__).with_name("reviewed.toml")
KINDS = ("not differentiable", "random", "sequence or optional type", "kernel missing", "no rule")

Feeds: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a case.

    Attributes
    ----------
    kind : str
        ``passed``, ``wrong number``, ``broken``, or one of the kinds of the reviewed table.
    detail : str
        Numbers, or the message.
    error : float
        Largest one met, in units of the tolerance.
    differentiable : bool
        Whether a smooth point was found near the case's inputs.
    missing : frozenset of str
        Of ``no rule``: operators without one; empty where a rule refuses this use of its operator.
    """

    kind: str
    detail: str = ""
    error: float = 0.0
    differentiable: bool = False
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """An entry of the reviewed table."""

    cases: str
    kind: str
    reason: str
    inputs: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        return fnmatch.fnmatchcase(name, self.cases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case with floating-point inputs and outputs."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[Any, ...] = field(repr=False)
    outputs: tuple[Any, ...] = field(repr=False)

    @property
    def operators(self) -> frozenset[str]:
        """Operators of the model."""
        return frozenset(node.op_type for node in self.model.graph.node)


def subject(case: Case, verdict: Verdict, /) -> str:
    """Operator that a verdict is to be filed under."""
    if verdict.missing:
        return ", ".join(sorted(verdict.missing))
    return min(case.operators) if len(case.operators) == 1 else "several operators"


@cache
def cases() -> tuple[Case, ...]:
    """All cases that have a floating-point input and a floating-point output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    found = []
    for case in collected:
        if case.model is None or not case.data_sets:
            continue
        graph = case.model.graph
        if any(_holds_real(v.type) for v in graph.input) and any(_holds_real(v.type) for v in graph.output):
            inputs, outputs = case.data_sets[0]
            found.append(Case(name=case.name, model=case.model, inputs=tuple(inputs), outputs=tuple(outputs)))
    return tuple(found)


@cache
def reviews() -> tuple[Review, ...]:
    """The reviewed table."""
    entries = tomllib.loads(TABLE.read_text(encoding="utf-8"))["review"]
    return tuple(Review(**{**entry, "inputs": tuple(entry.get("inputs", ()))}) for entry in entries)


def judge(case: Case, /) -> Verdict:
    """Differentiate, evaluate, compare."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _judge(case)


def _judge(case: Case) -> Verdict:
    if RANDOM.intersection(case.operators):
        return Verdict(kind="random", detail="an operator draws random numbers")
    values = (*case.model.graph.input, *case.model.graph.output)
    if any(value.type.WhichOneof("value") != "tensor_type" for value in values):
        return Verdict(kind="sequence or optional type", detail="an input or output is not a tensor")
    proto = relabelled(case.model)
    feeds = {v.name: _array(tensor) for v, tensor in zip(proto.graph.input, case.inputs, strict=True)}
    expected = {v.name: _array(tensor) for v, tensor in zip(proto.graph.output, case.outputs, strict=True)}
    expected = {name: array for name, array in expected.items() if _is_real(array)}
    excluded = {name for r in reviews() if r.inputs and r.covers(case.name) for name in r.inputs}
    wrt = [name for name, array in feeds.items() if _is_real(array) and name not in excluded]
    gradients = _gradients(proto, expected, wrt)
    if isinstance(gradients, Verdict) and gradients.kind == "no rule" and gradients.missing <= WRITTEN_OUT:
        # The cases feed axes, shapes, modes and trip counts, which models hold as constants; some rules insist on that.
        proto = _frozen(proto, feeds)
        feeds = {value.name: feeds[value.name] for value in proto.graph.input}
        gradients = _gradients(proto, expected, wrt)
    if isinstance(gradients, Verdict) and gradients.kind != "no rule":
        return gradients
    found = _differences(proto, feeds, expected, wrt)
    if isinstance(gradients, Verdict):
        return replace(gradients, differentiable=isinstance(found, Differences))
    if not isinstance(found, Differences):
        return found
    return replace(_compared(found, gradients), differentiable=True)


def _gradients(proto: onnx.ModelProto, expected: Feeds, wrt: list[str]) -> dict[str, ir.Model] | Verdict:
    """Gradient model of each output; none where it is constant."""
    gradients = {}
    for output in expected:
        try:
            gradients[output] = with_gradient(proto, of=output, wrt=wrt)
        except UnsupportedOperator as error:
            return _refused(proto, output, wrt, str(error))
        except ModelError as error:
            if "no gradient flows" not in str(error):
                return Verdict(kind="broken", detail=str(error))
    return gradients


def _frozen(proto: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    """Copy whose inputs are the floating-point ones alone; the others are constants."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in [value for value in copy.graph.input if not _is_real(feeds[value.name])]:
        copy.graph.input.remove(value)
        copy.graph.initializer.append(onnx.numpy_helper.from_array(feeds[value.name], value.name))
    return copy


def _refused(proto: onnx.ModelProto, output: str, wrt: list[str], message: str) -> Verdict:
    """A refusal names every operator that stops it."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    values = {str(v.name): v for v in (*model.graph.inputs, *(o for n in model.graph for o in n.outputs))}
    nodes, _ = nodes_between(model.graph, [values[name] for name in wrt], [values[output]])
    lacking = {
        f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in missing_rules(nodes)
    }
    unnamed = sorted(name for name in lacking if name not in message)
    if unnamed or not any(node.op_type in message for node in model.graph.all_nodes()):  # branches, too
        return Verdict(
            kind="broken", detail=f"the refusal does not name {unnamed or 'its operator'}: {message}"
        )
    return Verdict(kind="no rule", detail=message, missing=frozenset(lacking))


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """A point without kinks, and the derivatives there."""

    where: Feeds
    dtypes: dict[str, Any]
    base: Feeds
    u: Feeds
    along: dict[str, tuple[NDArray[np.float64], dict[str, Slope]]]
    floors: dict[str, float]
    bound: float


def _differences(
    proto: onnx.ModelProto, feeds: Feeds, expected: Feeds, wrt: list[str]
) -> Differences | Verdict:
    """By the first way of evaluating that meets what the case expects and is smooth somewhere near the case's inputs."""
    verdict = Verdict(
        kind="kernel missing", detail="nothing evaluates the case's own model as the case expects"
    )
    for function, fine in _functions(proto, feeds, expected):
        for attempt in range(ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            where = {
                name: _rounded(
                    perturbed(array, attempt) if name in wrt and attempt and not last else array, fine=fine
                )
                for name, array in feeds.items()
            }
            found = _at(
                function, where, expected, wrt, np.random.default_rng(attempt), fine=fine, masked=last
            )
            if isinstance(found, dict):
                dtypes = {name: array.dtype for name, array in feeds.items()}
                return Differences(
                    where=where, dtypes=dtypes, bound=DIFFERENTIABLE if fine else COARSE, **found
                )
            if attempt == 0:
                verdict = Verdict(kind="not differentiable", detail=found)
    return verdict


def _at(
    function: Evaluator,
    where: Feeds,
    expected: Feeds,
    wrt: list[str],
    rng: np.random.Generator,
    *,
    fine: bool,
    masked: bool,
) -> dict[str, Any] | str:
    """Differences at one point, or why they say nothing."""
    steps, bound = (STEPS, DIFFERENTIABLE) if fine else (COARSE_STEPS, COARSE)
    try:
        base = dict(zip(expected, (np.asarray(v, np.float64) for v in function(where)), strict=True))
    except ModelError as error:
        return str(error)
    if any(base[name].shape != array.shape for name, array in expected.items()):
        return "the shape of an output depends on floating-point inputs"
    if not masked and not all(np.isfinite(value).all() for value in base.values()):
        return "not all outputs are finite"
    u = {
        name: _rounded_like(np.where(np.isfinite(value), rng.standard_normal(value.shape), 0), expected[name])
        for name, value in base.items()
    }
    floors = {
        name: 1e-3 * float(np.linalg.norm(value[np.isfinite(value)])) + 1e-9 for name, value in base.items()
    }
    along = {}
    for name in wrt:
        v = rng.standard_normal(where[name].shape)
        try:
            found = dict(zip(expected, slopes(function, where, {name: v}, steps=steps), strict=True))
        except (ModelError, ValueError) as error:
            return f"{name}: {error}"
        along[name] = v, {output: _finite(slope) if masked else slope for output, slope in found.items()}
        for output, slope in along[name][1].items():
            check = disagreement(slope, u[output], None, floors[output])
            if not (check.spread <= bound and check.kink <= bound):
                return f"d {output} / d {name}: spread {check.spread:.1e}, kink {check.kink:.1e}"
    return {"base": base, "u": u, "along": along, "floors": floors}


def _compared(found: Differences, gradients: Mapping[str, ir.Model]) -> Verdict:
    worst = 0.0
    for output in found.u:
        try:
            answers = (
                _products(gradients[output], output, found) if output in gradients else iter([({}, 0.0)])
            )
            check, detail = _worst(output, found, *next(answers))
            if math.isnan(check):
                return Verdict(kind="not differentiable", detail=f"the gradient is not a number: {detail}")
            if (
                1 < check <= ILL_CONDITIONED
            ):  # is it the number that is wrong, or its precision that does not suffice?
                *_, precise = answers
                check, detail = _worst(output, found, *precise)
        except ModelError as error:
            return Verdict(kind="kernel missing", detail=str(error))
        if check > 1:
            return Verdict(kind="wrong number", detail=detail, error=check)
        worst = max(worst, check)
    return Verdict(kind="passed", detail=f"{worst:.1e} of the tolerance", error=worst)


def _worst(
    output: str, found: Differences, products: Mapping[str, NDArray[Any]], tolerance: float
) -> tuple[float, str]:
    """Largest error in units of the tolerance, and where."""
    worst, where = 0.0, ""
    for name, (v, slope) in found.along.items():
        product = products.get(name, np.zeros_like(v))
        if product.shape != v.shape:
            return math.inf, f"d {output} / d {name} has shape {product.shape}, {name} has {v.shape}"
        exact = float(np.sum(product.astype(np.float64) * v))
        check = disagreement(slope[output], found.u[output], exact, found.floors[output])
        error = check.error / max(tolerance, 2 * found.bound)
        if not error <= worst:
            worst, where = error, f"d {output} / d {name}: error {check.error:.1e}, spread {check.spread:.1e}"
    return worst, where


def _products(
    gradient: ir.Model, output: str, found: Differences
) -> Iterator[tuple[dict[str, NDArray[Any]], float]]:
    """Of the gradient model in the runtime, or where that lacks a kernel in the reference evaluator; then in float64."""
    named = gradient_names(gradient)
    given: dict[str, str] = named["gradients"]
    (seed,) = (v for v in gradient.graph.inputs if v.name == named["cotangent"])
    assert seed.dtype is not None
    used = {v.dtype for node in gradient.graph for v in (*node.inputs, *node.outputs) if v is not None}
    tolerance = max((TOLERANCE[d] for d in used if d in TOLERANCE), default=TOLERANCE[ir.DataType.FLOAT])
    dtypes = {**found.dtypes, named["cotangent"]: seed.dtype.numpy()}
    at = {**found.where, named["cotangent"]: found.u[output]}
    own = {name: array.astype(dtypes[name]) for name, array in at.items()}
    wide = {name: array.astype(np.float64) if _is_real(array) else array for name, array in at.items()}
    proto = ir.to_proto(gradient)
    answered, messages = False, []
    for model, engine, fed, bound in (
        (gradient, "runtime", own, tolerance),
        (proto, "reference", own, tolerance),
        (widened(proto), "reference", wide, TOLERANCE[ir.DataType.DOUBLE]),
    ):
        if answered and fed is own:
            continue
        try:
            value, *products = evaluator(model, [output, *given.values()], engine=engine)(fed)
        except ModelError as error:
            messages.append(str(error))
            continue
        if not _close(value, found.base[output].astype(value.dtype)):
            msg = f"in the {engine} the model computes another '{output}' than the standard says"
            raise ModelError(msg)
        answered = True
        yield dict(zip(given, products, strict=True)), bound
    if not answered:
        raise ModelError(" | ".join(messages))


def _finite(slope: Slope) -> Slope:
    """Where the output is infinite, its cotangent is 0, and so is what is compared."""
    forward, backward = (np.where(np.isfinite(side), side, 0) for side in slope.sided)
    values = tuple(np.where(np.isfinite(value), value, 0) for value in slope.values)
    return Slope(values=values, sided=(forward, backward))


def _functions(proto: onnx.ModelProto, feeds: Feeds, expected: Feeds) -> Iterator[tuple[Evaluator, bool]]:
    """Ways to evaluate the case that meet what it expects, and whether they are precise; the best first."""
    wide = widened(proto)
    for model, engine, fine in (
        (wide, "reference", True),
        (wide, "runtime", True),
        # Some of the reference evaluator's operators compute in float32 whatever they are given; the standard's
        # definition of them in other operators does not.
        (None, "reference", True),
        (proto, "runtime", False),
        (proto, "reference", False),
    ):
        try:
            used = model if model is not None else widened(_defined(proto))
            function = evaluator(used, list(expected), engine=engine)
            values = function({name: _rounded(array, fine=fine) for name, array in feeds.items()})
        except ModelError:
            continue
        if fine and not all(value.dtype == np.float64 for value in values):
            continue
        if all(_close(v, array) for v, array in zip(values, expected.values(), strict=True)):
            yield function, fine


def _defined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy in which operators stand as their definition in other operators."""
    try:
        return onnx.inliner.inline_selected_functions(model, [], exclude=True, inline_schema_functions=True)
    except RuntimeError as error:
        msg = f"onnx cannot unfold this model: {error}"
        raise ModelError(msg) from error


def _close(value: NDArray[Any], expected: NDArray[Any]) -> bool:
    if value.shape != expected.shape:
        return False
    kind = ir.DataType.from_numpy(expected.dtype)
    tolerance = {ir.DataType.FLOAT16: 2e-2, ir.DataType.BFLOAT16: 1e-1}.get(kind, 2e-3)
    a, b = value.astype(np.float64), expected.astype(np.float64)
    scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=1e-3))
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def perturbed(array: NDArray[Any], attempt: int) -> NDArray[Any]:
    """Every element moved by 2.5 to 5 % of itself, or of 0.2 if that is more; positive ones stay positive.

    Attempt 2 moves all of them up, attempt 3 all of them down, the others either way.
    """
    rng = np.random.default_rng(attempt)
    wide = array.astype(np.float64)
    finite = np.where(np.isfinite(wide), wide, 0)
    by = 0.05 * np.maximum(np.abs(finite), 0.2) * rng.uniform(0.5, 1, array.shape)
    sign = {2: 1, 3: -1}.get(attempt, rng.choice([-1, 1], array.shape))
    moved = finite + sign * by
    return (np.abs(moved) if (finite >= 0).all() else moved).astype(array.dtype)


def relabelled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy at the runtime's newest operator set, where no operator of the model changed since."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(copy.ir_version, 10)
    for opset in copy.opset_import:
        if opset.domain == "" and opset.version > RUNTIME_OPSET:
            used = set(_operators(copy.graph)) | {
                (n.domain, n.op_type) for function in copy.functions for n in function.node
            }
            since = [
                onnx.defs.get_schema(name, opset.version, "").since_version
                for domain, name in used
                if not domain
            ]
            if max(since) <= RUNTIME_OPSET:
                opset.version = RUNTIME_OPSET
    return copy


def _operators(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _operators(attribute.g)


def _array(content: Any) -> NDArray[Any]:
    return np.asarray(
        onnx.numpy_helper.to_array(content) if isinstance(content, onnx.TensorProto) else content
    )


def _rounded(array: NDArray[Any], *, fine: bool) -> NDArray[Any]:
    return array.astype(np.float64) if fine and _is_real(array) else array


def _rounded_like(array: NDArray[Any], like: NDArray[Any]) -> NDArray[np.float64]:
    """What the type of ``like`` can hold of ``array``."""
    return array.astype(like.dtype).astype(np.float64)


def _is_real(array: NDArray[Any]) -> bool:
    kind = ir.DataType.from_numpy(array.dtype)
    return kind in WIDENED or kind == ir.DataType.DOUBLE


def _holds_real(kind: onnx.TypeProto) -> bool:
    while (which := kind.WhichOneof("value")) in {"sequence_type", "optional_type"}:
        kind = getattr(kind, which).elem_type
    return which == "tensor_type" and kind.tensor_type.elem_type in REAL
