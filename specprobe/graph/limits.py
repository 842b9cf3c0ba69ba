"""What a model file may ask for before specprobe refuses it."""

from dataclasses import dataclass

__all__ = ["IR_VERSION", "OFFICIAL_DOMAINS", "OPSET_FLOOR", "Limits", "printable"]

OPSET_FLOOR = 18
"""Operator set that graphs are raised to before specprobe extends them."""

IR_VERSION = 10
"""IR version of what specprobe emits: read by every onnxruntime from 1.18 on."""

OFFICIAL_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator domains that are opened without being asked for. Functions of the file itself may use any."""

FORBIDDEN_OPERATORS = frozenset({"EPContext", "PyOp"})
"""Operators of the official domains that run what a file brings along."""

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on a model file; each refusal names the cap, so that it can be raised on purpose.

    Attributes
    ----------
    file_bytes : int
        Size of the graph file itself; protobuf stops at 2 GiB.
    weight_bytes : int
        All weights together, those in other files included.
    tensor_bytes : int
        Any one tensor whose shape the graph states, at batch size 1.
    nodes : int
        Nodes after functions are inlined.
    function_depth : int
        Nesting of local functions and of subgraphs.
    allowed_domains : frozenset of str
        Operator domains to accept beside the official ones.
    """

    file_bytes: int = 2 * GIB
    weight_bytes: int = 64 * GIB
    tensor_bytes: int = 8 * GIB
    nodes: int = 1_000_000
    function_depth: int = 100
    allowed_domains: frozenset[str] = frozenset()


def printable(name: str, /) -> str:
    """``name`` with what could steer a terminal replaced, cut to 200 characters: it comes from the file.

    Parameters
    ----------
    name : str
        A name out of a model.

    Returns
    -------
    str
        One line.
    """
    text = name if len(name) <= 200 else f"{name[:199]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
