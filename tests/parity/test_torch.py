"""Gradients of networks exported from PyTorch against PyTorch's own: of inputs, of weights, and second ones.

Rounding flips a ReLU, or the choice of a MaxPool, whose inputs it cannot tell apart; the two gradients then differ by
far more than rounding, and neither is wrong. So images are drawn until none brings a unit closer to its kink than
:data:`MARGIN` of the layer's size, which float64 tells, and which is more than ten times what rounding moves.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.testing.evaluation import evaluate

pytestmark = [pytest.mark.torch, pytest.mark.slow]

Module: TypeAlias = Any
"""``torch.nn.Module``; the type checker reads no torch."""

MARGIN, DRAWS = 1e-5, 100
CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A module, and what the exporter makes of it."""

    name: str
    kind: str
    image: int = 32
    optimised: bool = True
    kinks: bool = True
    settings: Mapping[str, Any] = field(default_factory=lambda: {"classes": CLASSES})

    def module(self, architectures: ModuleType) -> Module:
        """The same weights at every call."""
        return getattr(architectures, self.kind)(**self.settings)

    def exported(self, module: Module, architectures: ModuleType, folder: Path) -> ir.Model:
        """The file, read back."""
        path = folder / "network.onnx"
        return ir.load(architectures.export(module, path, image=self.image, optimised=self.optimised))


SMALL_CNN = {"classes": CLASSES, "widths": (8, 16), "blocks": 1, "large_stem": False}
VGG_11 = {"classes": CLASSES, "image": 32, "hidden": 256}

NETWORKS = (
    Network(name="resnet18", kind="residual_network", image=48),
    Network(
        name="resnet with its batch norms",
        kind="residual_network",
        optimised=False,
        settings={"classes": CLASSES, "widths": (16, 32), "large_stem": False},
    ),
    Network(name="vgg11", kind="vgg", settings=VGG_11),
    Network(
        name="small vgg not optimised",
        kind="vgg",
        optimised=False,
        settings={**VGG_11, "stages": ((8,), (16,), (32, 32))},
    ),
    Network(name="small vit", kind="vision_transformer", kinks=False),
    Network(name="small vit not optimised", kind="vision_transformer", kinks=False, optimised=False),
    Network(name="vit_tiny", kind="vit_tiny", kinks=False, image=224, settings={}),
)

CNN = Network(name="small cnn", kind="residual_network", image=16, settings=SMALL_CNN, optimised=False)
VIT = Network(
    name="small vit",
    kind="vision_transformer",
    kinks=False,
    image=16,
    settings={"classes": CLASSES, "image": 16, "patch": 4},
    optimised=False,
)
SMALL = (CNN, VIT)
OPTIMISED = tuple(replace(network, name=f"{network.name} optimised", optimised=True) for network in SMALL)


def named(network: Network) -> str:
    return network.name


@pytest.mark.parametrize("network", NETWORKS, ids=named)
def test_input_gradients_are_those_of_autograd(
    network: Network, torch: ModuleType, architectures: ModuleType, tmp_path: Path
) -> None:
    module = network.module(architectures)
    images = images_for(network, module, torch, 2)
    x = torch.from_numpy(images).requires_grad_()
    logits = module(x)
    cotangent = random(tuple(logits.shape))
    (expected,) = torch.autograd.grad(logits, x, torch.from_numpy(cotangent))
    gradient = with_gradient(network.exported(module, architectures, tmp_path))
    y, dx = evaluate(gradient, {"image": images, "cotangent": cotangent}, ["logits", "d_image"])
    assert distance(y, logits) <= 1e-5
    assert distance(dx, expected) <= 1e-5


@pytest.mark.parametrize("network", SMALL, ids=named)
def test_weight_gradients_are_those_of_autograd(
    network: Network, torch: ModuleType, architectures: ModuleType, tmp_path: Path
) -> None:
    module = network.module(architectures).requires_grad_()
    images = images_for(network, module, torch, 4)
    labels = np.arange(4)
    loss = torch.nn.functional.cross_entropy(
        module(torch.from_numpy(images)), torch.from_numpy(labels), reduction="sum"
    )
    parameters = dict(module.named_parameters())
    expected = dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))
    model = network.exported(module, architectures, tmp_path)
    assert expected.keys() <= model.graph.initializers.keys()
    gradient = with_gradient(model, wrt=list(expected), loss="cross-entropy")
    outputs = gradient_names(gradient)["gradients"]
    made = evaluate(gradient, {"image": images, "labels": labels}, [outputs[name] for name in expected])
    errors = {name: distance(dw, expected[name]) for name, dw in zip(expected, made, strict=True)}
    assert len(errors) >= 20
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.parametrize("network", OPTIMISED, ids=named)
def test_weights_that_the_exporter_rewrote_have_gradients_too(
    network: Network, torch: ModuleType, architectures: ModuleType, tmp_path: Path
) -> None:
    """It folds and transposes: those that are still a parameter, by their content, perhaps transposed, are compared."""
    module = network.module(architectures).requires_grad_()
    images = images_for(network, module, torch, 4)
    logits = module(torch.from_numpy(images))
    cotangent = random(tuple(logits.shape))
    parameters = dict(module.named_parameters())
    expected = torch.autograd.grad(logits, parameters.values(), torch.from_numpy(cotangent))
    model = network.exported(module, architectures, tmp_path)
    pairs = {}
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        content = value.const_value.numpy()
        for parameter, slope in zip(parameters.values(), expected, strict=True):
            for turned in (parameter, parameter.T) if parameter.ndim == 2 else (parameter,):
                if content.shape == tuple(turned.shape) and np.array_equal(content, turned.detach().numpy()):
                    pairs[name] = slope if turned is parameter else slope.T
    assert len(pairs) >= 2
    gradient = with_gradient(model, wrt=list(pairs))
    outputs = gradient_names(gradient)["gradients"]
    made = evaluate(gradient, {"image": images, "cotangent": cotangent}, [outputs[name] for name in pairs])
    errors = {name: distance(dw, pairs[name]) for name, dw in zip(pairs, made, strict=True)}
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.parametrize("network", [*SMALL, *OPTIMISED], ids=named)
def test_hessian_vector_products_are_those_of_double_backward_and_of_differences(
    network: Network, torch: ModuleType, architectures: ModuleType, tmp_path: Path
) -> None:
    """Of the cross-entropy: a network of ReLUs itself has no second derivative."""
    module = network.module(architectures)
    images = images_for(network, module, torch, 2)
    v, labels = random(images.shape), np.arange(2)
    first = with_gradient(
        network.exported(module, architectures, tmp_path), loss="cross-entropy", wrt="image"
    )
    second = with_gradient(first, of="d_image", wrt="image")
    told = gradient_names(second)
    feeds: dict[str, NDArray[Any]] = {"image": images, "labels": labels, told["cotangent"]: v}
    (product,) = evaluate(second, feeds, [told["gradients"]["image"]])
    slope = slope_in_float64(module, torch, labels)
    x, step = torch.from_numpy(images).double(), 1e-6
    along = torch.from_numpy(v).double()
    differences = (slope(x + step * along) - slope(x - step * along)) / (2 * step)
    assert distance(product, differences) <= 1e-5
    moved = x.requires_grad_()
    (twice,) = torch.autograd.grad(slope(moved), moved, along)
    assert distance(product, twice) <= 1e-5
    assert distance(differences.detach(), twice) <= 1e-7  # no kink between


def slope_in_float64(module: Module, torch: ModuleType, labels: NDArray[np.int64]) -> Callable[[Any], Any]:
    """Gradient of the cross-entropy with respect to the images, itself differentiable."""
    wide = deepcopy(module).double()
    plain = torch.nn.attention.SDPBackend.MATH  # the fused attention has no second derivative

    def slope(x: Any) -> Any:
        with torch.nn.attention.sdpa_kernel(plain):
            x = x if x.requires_grad else x.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(wide(x), torch.from_numpy(labels), reduction="sum")
            return torch.autograd.grad(loss, x, create_graph=True)[0]

    return slope


def images_for(network: Network, module: Module, torch: ModuleType, count: int) -> NDArray[np.float32]:
    """Random images that bring no unit near its kink."""
    if not network.kinks:
        return random((count, 3, network.image, network.image))
    wide = deepcopy(module).double()
    kept: list[NDArray[np.float32]] = []
    for seed in range(DRAWS):
        x = random((1, 3, network.image, network.image), seed)
        if margin(wide, torch, torch.from_numpy(x).double()) > MARGIN:
            kept.append(x)
        if len(kept) == count:
            return np.concatenate(kept)
    pytest.fail(f"{len(kept)} of {DRAWS} images keep away from kinks, {count} are wanted")


def margin(module: Module, torch: ModuleType, x: Any) -> float:
    """How far the closest unit is from its kink, in multiples of its layer's root mean square."""
    found = [float("inf")]

    def relu(_: Module, given: tuple[Any], __: Any) -> None:
        found.append(float(given[0].abs().min() / given[0].square().mean().sqrt()))

    def pool(layer: Module, given: tuple[Any], made: Any) -> None:
        windows = torch.nn.functional.unfold(given[0], layer.kernel_size, stride=layer.stride)
        top = windows.reshape(*made.shape[:2], -1, made[0, 0].numel()).topk(2, dim=2).values
        gaps = (top[:, :, 0] - top[:, :, 1])[top[:, :, 0] > 0]  # no gradient passes the ReLU below a zero
        found.append(float(gaps.min() / given[0].square().mean().sqrt()))

    hooks = [part.register_forward_hook(relu) for part in module.modules() if isinstance(part, torch.nn.ReLU)]
    hooks += [
        part.register_forward_hook(pool)
        for part in module.modules()
        if isinstance(part, torch.nn.MaxPool2d) and not part.padding
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return min(found)


def random(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distance(made: NDArray[Any], expected: Any) -> float:
    """Relative, in L2."""
    given = np.asarray(made, np.float64)
    wanted = expected.detach().numpy().astype(np.float64)
    assert given.shape == wanted.shape
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))
