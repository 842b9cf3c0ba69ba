"""Networks as functions that PyTorch differentiates."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from specprobe.adapters import torch_module
from specprobe.runtime.network import Network

pytestmark = pytest.mark.torch


def test_logits_and_gradients_are_those_of_the_network(
    torch: ModuleType, network: Network, images: Any, labels: Any
) -> None:
    x = torch.tensor(images, requires_grad=True)
    logits = torch_module(network)(x)
    np.testing.assert_array_equal(logits.detach().numpy(), network.logits(images))
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum").backward()
    np.testing.assert_allclose(x.grad.numpy(), network.gradient(images, labels)[1], rtol=1e-3, atol=1e-6)


def test_any_cotangent_goes_back(torch: ModuleType, network: Network, images: Any) -> None:
    """That of a sum has no strides, that of a transposed product is not in C order."""
    x = torch.tensor(images, requires_grad=True)
    (made,) = torch.autograd.grad(torch_module(network)(x).sum(), x)
    ones = np.ones((len(images), 10), np.float32)
    np.testing.assert_allclose(made.numpy(), network.vjp(images, ones), rtol=1e-4, atol=1e-5)
    weights = np.random.default_rng(0).standard_normal((10, len(images)), np.float32)
    (made,) = torch.autograd.grad((torch_module(network)(x).T * torch.tensor(weights)).sum(), x)
    np.testing.assert_allclose(made.numpy(), network.vjp(images, weights.T.copy()), rtol=1e-4, atol=1e-5)


def test_gradients_go_on_to_what_made_the_images(torch: ModuleType, network: Network, images: Any) -> None:
    shift = torch.zeros(1, 16, 16, requires_grad=True)
    torch_module(network)(torch.tensor(images) + shift)[:, 3].sum().backward()
    cotangent = np.eye(10, dtype=np.float32)[np.full(len(images), 3)]
    expected = network.vjp(images, cotangent).sum(axis=0)
    np.testing.assert_allclose(shift.grad.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_gradients_have_the_dtype_of_the_images(torch: ModuleType, network: Network, images: Any) -> None:
    x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    torch_module(network)(x).sum().backward()
    assert x.grad.dtype == torch.float64


def test_nothing_is_kept_where_no_gradient_is_asked_for(
    torch: ModuleType, network: Network, images: Any
) -> None:
    assert not torch_module(network)(torch.tensor(images)).requires_grad
    with torch.no_grad():
        assert not torch_module(network)(torch.tensor(images, requires_grad=True)).requires_grad


def test_second_derivatives_are_refused_rather_than_zero(
    torch: ModuleType, network: Network, images: Any
) -> None:
    x = torch.tensor(images, requires_grad=True)
    logits = torch_module(network)(x)
    (slope,) = torch.autograd.grad((logits**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_the_module_is_in_evaluation_mode_and_has_no_parameters(torch: ModuleType, network: Network) -> None:
    module = torch_module(network)
    assert isinstance(module, torch.nn.Module)
    assert not module.training
    assert list(module.parameters()) == []
