"""Networks in PyTorch's autograd: logits forward, vector-Jacobian products backward, both on onnxruntime."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specprobe.protocols import DifferentiableClassifier

__all__ = ["torch_logits", "torch_module"]


def torch_logits(network: "DifferentiableClassifier", images: Any, /) -> Any:
    """Logits that ``backward`` knows the way back from, to the images.

    Parameters
    ----------
    network : DifferentiableClassifier
        Such as a :class:`~specprobe.runtime.network.Network`.
    images : torch.Tensor, shape (N, C, H, W), floating
        Pixels in [0, 1].

    Returns
    -------
    torch.Tensor, shape (N, K)
        On the device of ``images``. A backward pass runs the model forward once more.
    """
    return _function().apply(images, network)


def torch_module(network: "DifferentiableClassifier", /) -> Any:
    """Wrap a network as a module without parameters, for what attacks PyTorch models.

    Parameters
    ----------
    network : DifferentiableClassifier
        Such as a :class:`~specprobe.runtime.network.Network`.

    Returns
    -------
    torch.nn.Module
        In evaluation mode. Takes pixels in [0, 1], NCHW, returns logits; differentiable once, with respect to the pixels.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    """
    return _module_class()(network).eval()


@cache
def _function() -> Any:
    """The autograd function, which cannot be written before its base is imported."""
    import torch

    class Logits(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, images: Any, network: "DifferentiableClassifier") -> Any:
            context.network = network
            context.save_for_backward(images)
            return network.logits(images.detach())

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(context: Any, cotangent: Any) -> tuple[Any, None]:
            (images,) = context.saved_tensors
            return context.network.vjp(images.detach(), cotangent), None

    return Logits


@cache
def _module_class() -> Any:
    """The module's class, likewise."""
    import torch

    class NetworkModule(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, network: "DifferentiableClassifier") -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            return torch_logits(self.network, images)

    return NetworkModule
