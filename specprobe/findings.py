"""Something worth telling about a model, its data or a result."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Finding", "Level"]

Level: TypeAlias = Literal["note", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation, for people and for programs.

    Attributes
    ----------
    level : {"note", "warning", "error"}
        ``error``: a number that was asked for cannot be given.
    code : str
        Stable, kebab-case.
    message : str
        One sentence, with what to do where something can be done.
    node : str or None
        Name of the node concerned.
    """

    level: Level
    code: str
    message: str
    node: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Field names and values.

        Returns
        -------
        dict
            JSON values.
        """
        return asdict(self)
