"""Which spatial frequencies a vision model in ONNX rests on, how robust it is, and why.

The names below are imported when they are first used: ``import specprobe`` loads no runtime.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

__all__ = ["__version__", "accuracy", "filter_statistics", "inspect", "load", "load_images"]

_HOMES = {
    "accuracy": "specprobe.analysis.accuracy",
    "filter_statistics": "specprobe.analysis.filters",
    "inspect": "specprobe.workflow.inspection",
    "load": "specprobe.runtime.network",
    "load_images": "specprobe.images",
}

if TYPE_CHECKING:
    from specprobe.analysis.accuracy import accuracy
    from specprobe.analysis.filters import filter_statistics
    from specprobe.images import load_images
    from specprobe.runtime.network import load
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
