"""Which attacks there are, what each of them takes, and what it needs."""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from specprobe.arrays import Array
from specprobe.errors import InputMismatch

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ATTACKS", "FEWEST_CLASSES", "AttackFunction", "Member", "Settings", "members_of"]

AttackFunction: TypeAlias = Callable[..., Array]
"""``attack(oracle, threat, streams)``: one candidate for every image of the oracle, of the shape of its images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may set of an attack; None for the attack's own default.

    Attributes
    ----------
    steps : int or None
        Iterations, of one target class where there are several.
    step_size : float or None
        In pixels of [0, 1].
    early_stop : bool or None
        Whether an image that has fallen is left at that, or taken through all steps.
    queries : int or None
        Candidates that a black-box attack may have classified, for one image; of a universal perturbation,
        frequencies that are tried.
    frequency : (int, int) or None
        Of a universal perturbation, in cycles per image: vertical, horizontal.
    """

    steps: int | None = None
    step_size: float | None = None
    early_stop: bool | None = None
    queries: int | None = None
    frequency: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attack:
    home: str
    """Module and function."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings that it takes, with their defaults."""
    around: frozenset[str] = frozenset()
    """Those of them that are for who calls the function, not for the function."""
    gradients: bool = True
    random: bool = True
    minimal_norm: bool = False
    own_restarts: bool = False
    alone: Mapping[str, Any] = field(default_factory=dict)
    """What it is given where it is no member of ``standard``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One attack with its settings.

    Attributes
    ----------
    name : str
        As in :data:`ATTACKS`, or that of the user's function.
    function : callable
        Takes oracle, threat and streams. Picklable where the executor uses processes.
    gradients : bool
        Whether it needs gradients.
    restarts : int
        How often it is run; 1 where it draws no random numbers, or sees to its restarts itself.
    minimal_norm : bool
        Whether it looks for the nearest adversarial image, which may lie outside the ball.
    """

    name: str
    function: AttackFunction
    gradients: bool = True
    restarts: int = 1
    minimal_norm: bool = False


_PROJECTED = "specprobe.attacks.projected_gradient"
_AUTO = "specprobe.attacks.auto_projected_gradient"
_MINIMAL = "specprobe.attacks.minimal_norm"

_CATALOGUE = {
    "fgsm": _Attack(home=f"{_PROJECTED}:fgsm", random=False),
    "pgd": _Attack(home=f"{_PROJECTED}:pgd", defaults={"steps": 40, "step_size": None, "early_stop": True}),
    "apgd-ce": _Attack(home=f"{_AUTO}:apgd", fixed={"loss": "cross-entropy"}, defaults={"steps": 100}),
    "apgd-dlr": _Attack(home=f"{_AUTO}:apgd", fixed={"loss": "dlr"}, defaults={"steps": 100}),
    "apgd-t": _Attack(home=f"{_AUTO}:apgd_targeted", defaults={"steps": 100}),
    "fab-t": _Attack(
        home=f"{_MINIMAL}:fab_targeted",
        defaults={"steps": 100},
        minimal_norm=True,
        own_restarts=True,
        alone={"early_stop": False},  # else the first image in the ball would pass for the nearest
    ),
    "deepfool": _Attack(home=f"{_MINIMAL}:deepfool", defaults={"steps": 50}, random=False, minimal_norm=True),
    "square": _Attack(home="specprobe.attacks.square:square", defaults={"queries": 5000}, gradients=False),
    "universal": _Attack(
        home="specprobe.attacks.universal:universal",
        defaults={"frequency": None, "queries": 128},
        around=frozenset({"queries"}),
        gradients=False,
        random=False,
    ),
}

FEWEST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
"""Classes that the loss of an attack is defined for."""

_STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")

ATTACKS = (*_CATALOGUE, "standard")
"""Names of all attacks, in the order in which help texts list them."""


def members_of(
    attack: str | AttackFunction,
    settings: Settings,
    /,
    *,
    restarts: int = 1,
    banded: bool = False,
    classes: int | None = None,
) -> tuple[tuple[Member, ...], Settings]:
    """Attacks that stand behind a name, to be run on what those before them have left.

    Parameters
    ----------
    attack : str or callable
        One of :data:`ATTACKS`, or a function of oracle, threat and streams.
    settings : Settings
        The user's.
    restarts : int
        Of each attack that draws random numbers.
    banded : bool
        Whether perturbations are confined to frequencies: ``standard`` then goes without ``fab-t``, which knows none.
    classes : int, optional
        Of the model. With three, ``standard`` takes ``apgd-dlr`` for ``apgd-t``, with two neither.

    Returns
    -------
    members : tuple of Member
        Up to four for ``standard``; else one.
    settings : Settings
        With the defaults filled in; None where no member takes a setting, or chooses it by the images.

    Raises
    ------
    ValueError
        If the name is not known, or the attack does not take a setting that is given.
    InputMismatch
        If the model has too few classes for the attack's loss.
    """
    if restarts < 1:
        msg = f"restarts is {restarts}; accepted are whole numbers from 1"
        raise ValueError(msg)
    if callable(attack):
        name = getattr(attack, "__name__", type(attack).__name__)
        _refuse(name, settings, ())
        return (Member(name=name, function=attack, restarts=restarts),), settings
    if attack not in ATTACKS:
        msg = f"attack is {attack!r}; accepted are {', '.join(ATTACKS)}"
        raise ValueError(msg)
    names = _standard(classes, banded=banded) if attack == "standard" else (attack,)
    for name in names:
        fewest = FEWEST_CLASSES.get(name, 2)
        if classes is not None and classes < fewest:
            advice = "take apgd-ce" if classes >= 2 else "no attack can change the class of a single output"
            msg = f"{attack} needs a model of {fewest} classes, this one has {classes}; {advice}"
            raise InputMismatch(msg)
    if banded and any(_CATALOGUE[name].minimal_norm for name in names):
        msg = f"{attack} knows no frequencies, and perturbations are to be confined to some; pgd and square can be"
        raise ValueError(msg)
    if restarts > 1 and not any(_CATALOGUE[name].random for name in names):
        msg = f"{attack} draws no random numbers, so {restarts} restarts are one; accepted is restarts 1"
        raise ValueError(msg)
    defaults = {name: value for part in names for name, value in _CATALOGUE[part].defaults.items()}
    _refuse(attack, settings, defaults)
    given = {name: getattr(settings, name) for name in defaults}
    filled = {name: defaults[name] if value is None else value for name, value in given.items()}
    for name in ("steps", "queries"):
        if name in filled and filled[name] < 1:
            msg = f"{name} is {filled[name]}; accepted are whole numbers from 1"
            raise ValueError(msg)
    if filled.get("step_size") is not None and not 0 < filled["step_size"] < math.inf:
        msg = f"step_size is {filled['step_size']}; accepted are numbers above 0, in pixels of [0, 1]"
        raise ValueError(msg)
    alone = attack != "standard"
    return tuple(_member(name, filled, restarts, alone=alone) for name in names), Settings(**filled)


def _standard(classes: int | None, *, banded: bool) -> tuple[str, ...]:
    """Members of ``standard`` that such a model and such perturbations allow."""
    names = [name for name in _STANDARD if not (banded and _CATALOGUE[name].minimal_norm)]
    if classes is not None and classes < FEWEST_CLASSES["apgd-t"]:
        names = [name if name != "apgd-t" else "apgd-dlr" for name in names]
    if classes is not None and classes < FEWEST_CLASSES["apgd-dlr"]:
        names.remove("apgd-dlr")
    return tuple(names)


def _refuse(attack: str, settings: Settings, taken: "Collection[str]") -> None:
    """Refuse settings that would be ignored."""
    for name in (entry.name for entry in fields(settings)):
        if getattr(settings, name) is not None and name not in taken:
            msg = f"{attack} takes no {name}; it takes {', '.join(taken) or 'none of these settings'}"
            raise ValueError(msg)


def _member(name: str, filled: Mapping[str, Any], restarts: int, *, alone: bool) -> Member:
    entry = _CATALOGUE[name]
    settings = {**entry.fixed, **{key: filled[key] for key in entry.defaults if key not in entry.around}}
    if alone:
        settings |= entry.alone
    if entry.own_restarts:
        settings["restarts"] = restarts
    return Member(
        name=name,
        function=partial(_called, entry.home, settings),
        gradients=entry.gradients,
        restarts=restarts if entry.random and not entry.own_restarts else 1,
        minimal_norm=entry.minimal_norm,
    )


def _called(home: str, settings: Mapping[str, Any], /, *given: Any) -> Array:
    """Call the attack in its module, which is imported where the work is done."""
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)(*given, **settings)
