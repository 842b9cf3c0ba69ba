"""Settings of results that are to be merged."""

from collections.abc import Iterable
from typing import Any

from specprobe.errors import InputMismatch

__all__ = ["check_same_settings"]


def check_same_settings(first: Any, second: Any, names: Iterable[str], /) -> None:
    """Refuse to merge results that were not measured alike.

    Parameters
    ----------
    first, second : result
        Of one analysis.
    names : iterable of str
        Fields that must be equal.

    Raises
    ------
    InputMismatch
        If one is not; names all that differ.
    """
    different = [name for name in names if getattr(first, name) != getattr(second, name)]
    if different:
        told = ", ".join(
            f"{name} is {getattr(first, name)} here and {getattr(second, name)} there" for name in different
        )
        msg = f"{told}; accepted are results of the same settings"
        raise InputMismatch(msg)
