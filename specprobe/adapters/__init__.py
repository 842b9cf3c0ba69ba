"""Networks in the shapes that other attack libraries take. Each function imports its library when it is called."""

from specprobe.adapters.art import art_classifier
from specprobe.adapters.autograd import torch_module
from specprobe.adapters.foolbox import foolbox_model

__all__ = ["art_classifier", "foolbox_model", "torch_module"]
