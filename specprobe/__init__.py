"""Which spatial frequencies a vision model in ONNX rests on, how robust it is, and why.

The names below are imported when they are first used: ``import specprobe`` loads no runtime.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

__all__ = [
    "__version__",
    "accuracy",
    "attack",
    "band_accuracy",
    "compare",
    "corruption_accuracy",
    "filter_statistics",
    "fourier_heatmap",
    "fourier_mask",
    "fourier_sensitivity",
    "inspect",
    "load",
    "load_images",
]

_HOMES = {
    "accuracy": "specprobe.analysis.accuracy",
    "attack": "specprobe.attacks.run",
    "band_accuracy": "specprobe.analysis.bands",
    "compare": "specprobe.workflow.comparison",
    "corruption_accuracy": "specprobe.analysis.corruption",
    "filter_statistics": "specprobe.analysis.filters",
    "fourier_heatmap": "specprobe.analysis.heatmap",
    "fourier_mask": "specprobe.analysis.mask",
    "fourier_sensitivity": "specprobe.analysis.sensitivity",
    "inspect": "specprobe.workflow.inspection",
    "load": "specprobe.runtime.network",
    "load_images": "specprobe.images",
}

if TYPE_CHECKING:
    from specprobe.analysis.accuracy import accuracy
    from specprobe.analysis.bands import band_accuracy
    from specprobe.analysis.corruption import corruption_accuracy
    from specprobe.analysis.filters import filter_statistics
    from specprobe.analysis.heatmap import fourier_heatmap
    from specprobe.analysis.mask import fourier_mask
    from specprobe.analysis.sensitivity import fourier_sensitivity
    from specprobe.attacks.run import attack
    from specprobe.images import load_images
    from specprobe.runtime.network import load
    from specprobe.workflow.comparison import compare
    from specprobe.workflow.inspection import inspect


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        msg = f"module 'specprobe' has no attribute '{name}'"
        raise AttributeError(msg)
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Public names."""
    return __all__
