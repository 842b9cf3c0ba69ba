"""Networks as models of Foolbox."""

from functools import cache
from typing import TYPE_CHECKING, Any

from specprobe.adapters.autograd import torch_logits
from specprobe.errors import InputMismatch

if TYPE_CHECKING:
    from specprobe.protocols import DifferentiableClassifier

__all__ = ["foolbox_model"]


def foolbox_model(network: "DifferentiableClassifier", /) -> Any:
    """Wrap a network for Foolbox's attacks.

    Parameters
    ----------
    network : DifferentiableClassifier
        Such as a :class:`~specprobe.runtime.network.Network`.

    Returns
    -------
    foolbox.Model
        With bounds (0, 1); takes pixels, NCHW, returns logits. Torch tensors serve every attack; NumPy arrays serve
        those that ask for no gradient, since EagerPy, which Foolbox is written in, differentiates no NumPy arrays.

    Raises
    ------
    ImportError
        If Foolbox is not installed.
    """
    return _model_class()(network)


@cache
def _model_class() -> Any:
    """The class, which cannot be written before its base is imported."""
    import eagerpy
    import foolbox

    class SpecprobeModel(foolbox.Model):  # type: ignore[misc]
        """Logits of a network, in the bounds and layout of its pixels."""

        data_format = "channels_first"

        def __init__(self, network: "DifferentiableClassifier") -> None:
            self.network = network

        @property
        def bounds(self) -> Any:
            """0 and 1."""
            return foolbox.types.Bounds(0.0, 1.0)

        def __call__(self, inputs: Any) -> Any:
            """Logits, of the library of ``inputs``."""
            images, restore = eagerpy.astensor_(inputs)
            if isinstance(images, eagerpy.PyTorchTensor):
                logits = torch_logits(self.network, images.raw)
            elif isinstance(images, eagerpy.NumPyTensor):
                logits = self.network.logits(images.raw)
            else:
                msg = f"images are {type(images).__name__}; accepted are NumPy arrays and torch tensors"
                raise InputMismatch(msg)
            return restore(eagerpy.astensor(logits))

    return SpecprobeModel
