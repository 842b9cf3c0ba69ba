"""Gradients of whole networks, in float32, against differences of the networks themselves, in float64.

A network of ReLUs is linear in pieces, and a large one in very small pieces: differences of float32 numbers that are
not rounding cross kinks. So the differences are taken in float64, with steps of which most cross none:

- An image counts if every ReLU and every MaxPool, evaluated in float32 beside the gradient, decides as in float64.
  Otherwise rounding has put the image on another piece, and another one is drawn.
- A direction counts if differences of two steps, the one ten times the other, agree to :data:`SETTLED`. Otherwise a
  kink is near by, and shorter steps are tried, then another direction.

Neither looks at the gradient, and how often either may happen is bounded.
"""

import functools
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx.reference
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from onnx_ir.passes.common import RemoveUnusedNodesPass

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import ModelError
from specprobe.graph.load import open_model, raise_opset
from specprobe.testing.evaluation import evaluator
from specprobe.testing.light import he_initialised, light_models
from specprobe.testing.widening import widened

Array: TypeAlias = NDArray[Any]
Run: TypeAlias = Callable[[Sequence[str], dict[str, Array]], list[Array]]

TOLERANCE, DIRECTIONS = 1e-3, 5
STEPS, SETTLED = (1e-7, 1e-8, 1e-9), 1e-4
IMAGE_DRAWS, DIRECTION_REDRAWS = 40, 3
BATCH = 2
"""Where the model leaves it open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A model that others trained: what is differentiated, and with respect to what."""

    file: str
    input: str
    of: str


REAL = (
    Real(file="models/cifar10_ada_resnet4b_fgsm.onnx", input="input", of="output"),
    Real(file="models/cifar10_ada_resnet4b_pgd.onnx", input="input", of="output"),
    Real(file="models/cifar10_ada_resnet4b_standard.onnx", input="input", of="output"),
    Real(file="models/cifar10_akamaster_resnet20.onnx", input="input", of="logits"),
    Real(file="models/cifar10_marabou_small.onnx", input="x:0", of="Identity:0"),
    Real(file="models/cifar10_oval_base_kw.onnx", input="input.1", of="16"),
    Real(file="models/cifar10_vit_pgd_2_3_16.onnx", input="input", of="output"),
    Real(file="models/mnist_eran_convsmall_diffai.onnx", input="input.1", of="18"),
    Real(file="models/mnist_eran_convsmall_pgdk.onnx", input="input.1", of="18"),
    Real(file="models/mnist_eran_convsmall_point.onnx", input="input.1", of="18"),
    Real(file="models/mnist_vnn_256x2.onnx", input="0", of="12"),
    # Its output counts pixels; the last floating-point tensor before is the share of each class at each.
    Real(file="compat/carvana_unet_simp_small.onnx", input="input", of="40"),
    Real(file="compat/tinyyolo.onnx", input="input.1", of="108"),
)
BINARISED = Real(file="compat/gtsrb_bnn_30.onnx", input="quant_conv2d_20_input", of="activation_10")

LIGHT = {
    "bvlc_alexnet": 1,
    "densenet121": 9,
    "inception_v1": 3,
    "inception_v2": 1,
    "resnet50": 2,
    "shufflenet": 0,
    "squeezenet": 0,
}
HEAVY = {"vgg19": 2, "zfnet512": 0}
"""Half a gigabyte each, so one after the other.

Both with the image that is tried first: where rounding is the same as on the machine that they were noted on, it counts.
"""


def stem(model: Real) -> str:
    return Path(model.file).stem


@pytest.mark.slow
def test_heavy_light_models_agree_with_differences(tmp_path: Path) -> None:
    """First in the file: it takes as long as half of the rest."""
    for name, first_image in HEAVY.items():
        require_light_agreement(name, first_image, tmp_path)


@pytest.mark.assets
def test_every_real_model_is_listed(assets: Path) -> None:
    listed = tomllib.loads((assets / "models.toml").read_text(encoding="utf-8"))["model"]
    assert sorted(entry["file"] for entry in listed) == sorted(model.file for model in (*REAL, BINARISED))


def test_every_light_model_is_listed() -> None:
    assert sorted((*LIGHT, *HEAVY)) == sorted(light_models())


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("real", REAL, ids=stem)
def test_real_models_agree_with_differences(assets: Path, real: Real) -> None:
    model = raise_opset(open_model(assets / real.file).model)
    require_agreement(model, real.input, real.of)


@pytest.mark.assets
def test_signs_let_no_gradient_through(assets: Path) -> None:
    """Zero almost everywhere, which is said rather than computed; in front of the signs there is one."""
    model = raise_opset(open_model(assets / BINARISED.file).model)
    with pytest.raises(ModelError, match=f"no gradient flows from '{BINARISED.of}' to {BINARISED.input}"):
        with_gradient(model, of=BINARISED.of, wrt=BINARISED.input)
    sign = next(node for node in model.graph if node.op_type == "Sign")
    assert sign.inputs[0] is not None
    require_agreement(model, BINARISED.input, str(sign.inputs[0].name))


@pytest.mark.assets
def test_differences_through_signs_are_zero(assets: Path) -> None:
    """So that nothing but zero would have been right."""
    model = raise_opset(open_model(assets / BINARISED.file).model)
    forward = in_float64(model, BINARISED.of)
    x, v, other = (normal(shape_of(model, BINARISED.input), seed).astype(np.float64) for seed in range(3))
    y, moved, far = (forward([BINARISED.of], {BINARISED.input: at})[0] for at in (x, x + STEPS[0] * v, other))
    assert np.array_equal(y, moved)
    assert not np.array_equal(y, far)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_light_models_agree_with_differences(name: str, tmp_path: Path) -> None:
    require_light_agreement(name, LIGHT[name], tmp_path)


def require_light_agreement(name: str, first_image: int, folder: Path) -> None:
    path = he_initialised(light_models()[name], folder / "model.onnx")
    model = raise_opset(ir.load(path))
    image, output = (str(values[0].name) for values in (model.graph.inputs, model.graph.outputs))
    require_agreement(model, image, output, first_image)
    path.unlink()


def require_agreement(model: ir.Model, image: str, of: str, first_image: int = 0) -> None:
    """Along :data:`DIRECTIONS` random directions."""
    gradient = with_gradient(model, of=of, wrt=image)
    told = gradient_names(gradient)
    kinks = [node for node in nodes_before(model, of) if node.op_type in {"Relu", "MaxPool"}]
    decided = list(dict.fromkeys(str(v.name) for node in kinks for v in (node.inputs[0],) if v is not None))
    narrow = evaluator(with_outputs(gradient, decided), [told["gradients"][image], *decided])
    wide = in_float64(model, of, *decided)
    shape = shape_of(model, image)
    for seed in range(first_image, first_image + IMAGE_DRAWS):
        x = normal(shape, seed)
        y, *exactly = wide([of, *decided], {image: x.astype(np.float64)})
        u = normal(y.shape, 1000 + seed)
        slope, *rounded = narrow({image: x, told["cotangent"]: u})
        pairs = dict(zip(decided, zip(rounded, exactly, strict=True), strict=True))
        if all(same_decisions(node, *pairs[str(node.inputs[0].name)]) for node in kinks if node.inputs[0]):
            break
    else:
        pytest.fail(f"rounding puts each of {IMAGE_DRAWS} images on another piece")
    settled = settled_slopes(lambda z: float(np.sum(u * wide([of], {image: z})[0])), x)
    for direction, difference in settled:
        exact = float(np.sum(slope.astype(np.float64) * direction))
        assert abs(exact - difference) <= TOLERANCE * abs(difference)


def settled_slopes(f: Callable[[Array], float], x: Array) -> list[tuple[Array, float]]:
    """Random directions, and the derivatives along them."""
    rng = np.random.default_rng(0)
    found: list[tuple[Array, float]] = []
    redrawn = 0
    while len(found) < DIRECTIONS:
        v = rng.standard_normal(x.shape)
        slope = settled_slope(f, x, v)
        if slope is not None:
            found.append((v, slope))
        else:
            redrawn += 1
            assert redrawn <= DIRECTION_REDRAWS, "differences do not settle"
    return found


def settled_slope(f: Callable[[Array], float], x: Array, v: Array) -> float | None:
    """By the shorter of the first two neighbouring steps that agree, if any do."""
    longer = None
    for step in STEPS:
        slope = (f(x + step * v) - f(x - step * v)) / (2 * step)
        if longer is not None and abs(longer - slope) <= SETTLED * abs(slope):
            return slope
        longer = slope
    return None


def same_decisions(node: ir.Node, rounded: Array, exact: Array) -> bool:
    """Whether a ReLU or a MaxPool passes the same elements on."""
    if node.op_type == "Relu":
        return np.array_equal(rounded > 0, exact > 0)
    get = node.attributes

    def chosen(array: Array) -> list[Array]:
        windows = list(
            cut(
                array,
                kernel_shape=get.get_ints("kernel_shape", []),
                strides=get.get_ints("strides", [1, 1]),
                pads=get.get_ints("pads", [0, 0, 0, 0]),
                auto_pad=get.get_string("auto_pad", "NOTSET"),
                fill=-np.inf,
            )
        )
        top = functools.reduce(np.maximum, windows)
        return [window == top for window in windows]

    return np.array_equal(chosen(rounded), chosen(exact))


def with_outputs(model: ir.Model, names: list[str]) -> ir.Model:
    """Copy with further tensors among the outputs."""
    copy = model.clone()
    inner = {str(value.name): value for node in copy.graph for value in node.outputs}
    present = {value.name for value in copy.graph.outputs}
    copy.graph.outputs.extend(inner[name] for name in names if name not in present)
    return copy


def nodes_before(model: ir.Model, name: str) -> list[ir.Node]:
    """Those that the tensor needs."""
    (wanted,) = (value for node in model.graph for value in node.outputs if value.name == name)
    pending, needed = [wanted.producer()], set()
    while pending:
        node = pending.pop()
        if node is not None and node not in needed:
            needed.add(node)
            pending += [value.producer() for value in node.inputs if value is not None]
    return [node for node in model.graph if node in needed]


def shape_of(model: ir.Model, name: str) -> tuple[int, ...]:
    (value,) = (value for value in model.graph.inputs if value.name == name)
    assert value.shape is not None
    return tuple(size if isinstance(size, int) else BATCH for size in value.shape)


def normal(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def in_float64(model: ir.Model, *outputs: str) -> Run:
    """Runs what ``outputs`` need; what the evaluator does by loops over pixels is done by matrix products here."""
    needed = with_outputs(model, list(outputs))
    needed.graph.outputs[:] = [value for value in needed.graph.outputs if value.name in outputs]
    RemoveUnusedNodesPass()(needed)
    weights = {}
    for name, value in list(
        needed.graph.initializers.items()
    ):  # half a gigabyte need not pass through protobuf
        if value.dtype == ir.DataType.FLOAT and value.const_value is not None:
            weights[name] = value.const_value.numpy().astype(np.float64)
            del needed.graph.initializers[name]
            needed.graph.inputs.append(value)
    reference = onnx.reference.ReferenceEvaluator(
        widened(ir.to_proto(needed)), new_ops=[AveragePool, BatchNormalization, Conv, LRN, MaxPool, Relu]
    )
    return lambda names, feeds: [np.asarray(v) for v in reference.run(list(names), {**weights, **feeds})]


def cut(
    x: Array,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str | None,
    dilations: Sequence[int] | None = None,
    fill: float = 0.0,
) -> Iterator[Array]:
    """What each element of a two-dimensional kernel reads: one view an element."""
    strides, dilations, given = strides or [1, 1], dilations or [1, 1], pads or [0, 0, 0, 0]
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel_shape, dilations, strict=True)]
    around = [(given[i], given[i + 2]) for i in range(2)]
    if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        total = [
            max((-(-x.shape[2 + i] // strides[i]) - 1) * strides[i] + reach[i] - x.shape[2 + i], 0)
            for i in (0, 1)
        ]
        less = [size // 2 for size in total]
        around = [
            (a, b - a) if auto_pad == "SAME_UPPER" else (b - a, a) for a, b in zip(less, total, strict=True)
        ]
    x = np.pad(x, ((0, 0), (0, 0), *around), constant_values=fill)
    last = [x.shape[2 + i] - reach[i] + 1 for i in range(2)]
    for i in range(kernel_shape[0]):
        for j in range(kernel_shape[1]):
            top, left = i * dilations[0], j * dilations[1]
            yield x[:, :, top : top + last[0] : strides[0], left : left + last[1] : strides[1]]


class Conv(OpRun):
    """In two dimensions: a matrix product for each element of the kernel."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        views = list(
            cut(
                x,
                kernel_shape=w.shape[2:],
                strides=strides,
                pads=pads,
                auto_pad=auto_pad,
                dilations=dilations,
            )
        )
        groups, shape = group or 1, views[0].shape
        weights = w.reshape(groups, -1, w.shape[1], len(views))
        products = (
            np.ascontiguousarray(weights[..., i])
            @ np.ascontiguousarray(view).reshape(shape[0], groups, w.shape[1], -1)
            for i, view in enumerate(views)
        )
        made = functools.reduce(lambda total, product: np.add(total, product, out=total), products)
        y = made.reshape(shape[0], w.shape[0], *shape[2:])
        return (y if b is None else y + b[:, None, None],)


class MaxPool(OpRun):
    """In two dimensions, without indices."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        storage_order: int | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        assert not ceil_mode
        views = cut(
            x,
            kernel_shape=kernel_shape,
            strides=strides,
            pads=pads,
            auto_pad=auto_pad,
            dilations=dilations,
            fill=-np.inf,
        )
        return (functools.reduce(np.maximum, views),)


class AveragePool(OpRun):
    """In two dimensions."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        count_include_pad: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] = (),
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        assert not ceil_mode
        total, count = (
            functools.reduce(
                np.add,
                cut(
                    array,
                    kernel_shape=kernel_shape,
                    strides=strides,
                    pads=pads,
                    auto_pad=auto_pad,
                    dilations=dilations,
                    fill=fill,
                ),
            )
            for array, fill in ((x, 0.0), (np.ones_like(x[:1, :1]), float(bool(count_include_pad))))
        )
        return (total / count,)


class LRN(OpRun):
    """By sums of shifted squares."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        size: int = 1,
    ) -> tuple[Array]:
        before = (size - 1) // 2
        squares = np.pad(x * x, ((0, 0), (before, size - 1 - before), (0, 0), (0, 0)))
        total = functools.reduce(np.add, (squares[:, i : i + x.shape[1]] for i in range(size)))
        return (x / (bias + alpha / size * total) ** beta,)


class BatchNormalization(OpRun):
    """At inference."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        mean: Array,
        variance: Array,
        epsilon: float = 1e-5,
        momentum: float | None = None,
        training_mode: int | None = None,
    ) -> tuple[Array]:
        assert not training_mode
        column = (-1, *(1 for _ in x.shape[2:]))
        factor = scale / np.sqrt(variance + epsilon)
        return (x * factor.reshape(column) + (shift - mean * factor).reshape(column),)


class Relu(OpRun):
    """Without a copy."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.maximum(x, 0),)
