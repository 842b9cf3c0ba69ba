"""What the tables of a configuration may hold: names, and the types of their values."""

import datetime as dt
from typing import TypeAlias

__all__ = ["ANALYSES", "CHECK", "DATA", "RECIPE", "RUN", "SECTIONS", "SETTINGS", "WAIVER", "Accepted"]

Accepted: TypeAlias = dict[str, tuple[type, ...]]
"""Name → types of its value."""

SECTIONS: Accepted = {
    "models": (str, list),
    "check": (list,),
    "data": (dict,),
    "recipe": (dict,),
    "run": (dict,),
    "baseline": (str,),
    "confidence": (int, float),
    "waiver": (list,),
}
"""The file itself."""

DATA: Accepted = {
    "source": (str,),
    "labels": (str,),
    "class_map": (str,),
    "limit": (int,),
}
"""``[data]``."""

RECIPE: Accepted = {
    **dict.fromkeys(("mean", "std"), (int, float, list)),
    **dict.fromkeys(("range", "layout", "channel_order", "file", "input", "output"), (str,)),
    "size": (int, list),
}
"""``[recipe]``."""

RUN: Accepted = {
    "device": (str,),
    **dict.fromkeys(("threads", "batch_size", "seed"), (int,)),
}
"""``[run]``."""

CHECK: Accepted = {
    **dict.fromkeys(("name", "metric", "better", "against", "inconclusive"), (str,)),
    **dict.fromkeys(("min", "max", "tolerance"), (int, float, str)),
    "baseline": (bool,),
    "models": (str, list),
    "limit": (int,),
    "settings": (dict,),
}
"""Each ``[[check]]``."""

SETTINGS: Accepted = {
    **dict.fromkeys(("radii", "bands", "wedges", "corruptions", "severities"), (list,)),
    **dict.fromkeys(("clip", "restore_mean", "per_channel"), (bool,)),
    **dict.fromkeys(("frequencies", "frequencies_per_ring", "max_epochs"), (int,)),
    **dict.fromkeys(("steps", "restarts", "queries"), (int,)),
    **dict.fromkeys(("l2_norm_per_channel", "step_size", "sparsity_weight"), (int, float)),
    "epsilon": (int, float, str),
    **dict.fromkeys(("method", "channels", "basis", "loss", "target", "phase"), (str,)),
    **dict.fromkeys(("attack", "norm", "band", "preset"), (str,)),
}
"""``settings`` of a check, of whatever analysis."""

WAIVER: Accepted = {
    **dict.fromkeys(("check", "model", "reason"), (str,)),
    "expires": (dt.date,),
}
"""Each ``[[waiver]]``."""

ANALYSES: dict[str, frozenset[str]] = {
    "model": frozenset(),
    "filters": frozenset(),
    "accuracy": frozenset(),
    "sensitivity": frozenset({"channels", "basis", "loss", "method", "frequencies_per_ring", "target"}),
    "bands": frozenset({"radii", "bands", "wedges", "clip", "restore_mean"}),
    "heatmap": frozenset({"l2_norm_per_channel", "phase", "clip", "frequencies", "target"}),
    "corruptions": frozenset({"corruptions", "severities"}),
    "attack": frozenset(
        {"attack", "norm", "epsilon", "band", "steps", "step_size", "restarts", "queries", "target"}
    ),
    "mask": frozenset({"preset", "per_channel", "sparsity_weight", "max_epochs", "target"}),
}
"""First part of a metric's name → settings that a check may give to the analysis."""
