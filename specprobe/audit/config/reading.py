"""Finds configurations and reads them whole, or refuses them with the place and what is accepted."""

import datetime as dt
import difflib
import math
import tomllib
from collections.abc import Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from specprobe.audit.config import tables
from specprobe.audit.config.contents import Audit, Check, Severity, Waiver
from specprobe.audit.config.tables import ANALYSES
from specprobe.errors import ConfigError
from specprobe.intervals import CONFIDENCE

__all__ = ["find_config", "read_config"]

_LARGEST_FILE = 1 << 20


def find_config(folder: Path, /) -> Path:
    """Configuration of a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Looked into, and its parents.

    Returns
    -------
    pathlib.Path
        ``specprobe.toml``, or a ``pyproject.toml`` that holds ``[tool.specprobe]``.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    for place in (folder, *folder.parents):
        own, shared = place / "specprobe.toml", place / "pyproject.toml"
        if own.is_file():
            return own
        if shared.is_file() and "specprobe" in (_parsed(shared).get("tool") or {}):
            return shared
    msg = (
        "there is no specprobe.toml here or above, and no pyproject.toml with [tool.specprobe]; "
        "name one with -c FILE"
    )
    raise ConfigError(msg)


def read_config(path: str | Path, /) -> Audit:
    """Configuration in a file.

    Parameters
    ----------
    path : str or pathlib.Path
        TOML. In a file called ``pyproject.toml`` the table ``tool.specprobe`` counts.

    Returns
    -------
    Audit
        Checked for everything that can be told without the models.

    Raises
    ------
    ConfigError
        If the file cannot be read, or says something that is not known; names file, place and what is accepted.
    """
    path = Path(path)
    content = _parsed(path)
    if path.name == "pyproject.toml":
        content = (content.get("tool") or {}).get("specprobe") or {}
    try:
        return _audit(path, content)
    except ConfigError as error:
        msg = f"{path.name}: {error}"
        raise ConfigError(msg) from error


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            msg = f"{path.name} is longer than {_LARGEST_FILE} bytes"
            raise ConfigError(msg)
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror or error}"
        raise ConfigError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path.name} is no TOML: {error}"
        raise ConfigError(msg) from error


def _audit(path: Path, content: Mapping[str, Any]) -> Audit:
    _known(content, tables.SECTIONS, "the file")
    models = _texts(content.get("models", ()))
    if not models:
        msg = 'models are missing; accepted is a list of files and globs, such as models = ["*.onnx"]'
        raise ConfigError(msg)
    checks = tuple(_check(entry, place) for place, entry in enumerate(content.get("check", ()), 1))
    if not checks:
        msg = "there is no [[check]]; each names a metric and a limit"
        raise ConfigError(msg)
    names = [check.name for check in checks]
    for name in names:
        if names.count(name) > 1:
            msg = f"two checks are called '{name}'; give each a name of its own"
            raise ConfigError(msg)
    confidence = float(content.get("confidence", CONFIDENCE))
    if not 0 < confidence < 1:
        msg = f"confidence is {confidence}; accepted are numbers between 0 and 1, such as 0.95"
        raise ConfigError(msg)
    sections = {"data": tables.DATA, "recipe": tables.RECIPE, "run": tables.RUN}
    for section, accepted in sections.items():
        _known(content.get(section, {}), accepted, f"[{section}]")
    for section, name, least in (("data", "limit", 1), ("run", "batch_size", 1), ("run", "seed", 0)):
        number = content.get(section, {}).get(name, least)
        if number < least:
            msg = f"[{section}]: {name} is {number}; accepted are whole numbers from {least}"
            raise ConfigError(msg)
    measured = sorted({check.analysis for check in checks} - {"model", "filters"})
    if measured and "source" not in content.get("data", {}):
        msg = f"[data] names no source, which {', '.join(measured)} are measured on"
        raise ConfigError(msg)
    return Audit(
        path=path,
        models=models,
        checks=checks,
        **{section: dict(content.get(section, {})) for section in sections},
        baseline=content.get("baseline", "specprobe-baseline.json"),
        confidence=confidence,
        waivers=tuple(_waiver(entry, place) for place, entry in enumerate(content.get("waiver", ()), 1)),
        lines=_lines(path, names),
    )


def _check(entry: Any, place: int) -> Check:
    where = f"check {place}"
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        where += f" '{entry['name']}'"
    _known(entry, tables.CHECK, where)
    metric = entry.get("metric")
    if metric is None:
        msg = f"{where} names no metric; accepted are names such as accuracy, sensitivity.high_share, attack.robust_accuracy"
        raise ConfigError(msg)
    analysis = metric.partition(".")[0]
    if analysis not in ANALYSES:
        msg = f"{where}: metric '{metric}' belongs to no analysis{_close(analysis, ANALYSES)}; accepted are {', '.join(ANALYSES)}"
        raise ConfigError(msg)
    settings = dict(entry.get("settings", {}))
    for name in settings:
        if name not in ANALYSES[analysis]:
            accepted = ", ".join(sorted(ANALYSES[analysis])) or "none"
            msg = f"{where}: '{name}' is no setting of {analysis}{_close(name, ANALYSES[analysis])}; accepted are {accepted}"
            raise ConfigError(msg)
    _known(
        settings,
        {name: tables.SETTINGS[name] for name in ANALYSES[analysis]},
        f"{where}: settings of {analysis}",
    )
    if "epsilon" in settings:
        settings["epsilon"] = _number(settings["epsilon"], f"{where}: epsilon")
    check = Check(
        name=entry.get("name", metric),
        metric=metric,
        minimum=_maybe(entry, "min", where),
        maximum=_maybe(entry, "max", where),
        better=_choice(entry.get("better"), ("higher", "lower"), f"{where}: better"),
        baseline=entry.get("baseline", False),
        against=entry.get("against"),
        tolerance=_maybe(entry, "tolerance", where) or 0.0,
        models=_texts(entry.get("models", ())),
        inconclusive=_choice(entry.get("inconclusive", "warn"), get_args(Severity), f"{where}: inconclusive"),
        limit=entry.get("limit"),
        settings=settings,
    )
    _limits(check, where)
    return check


def _limits(check: Check, where: str) -> None:
    """Refuse checks that could not fail, or could not pass."""
    fixed = check.minimum is not None or check.maximum is not None
    kinds = fixed + check.baseline + (check.against is not None)
    if kinds != 1:
        msg = f"{where} has {kinds or 'no'} kinds of limit; accepted is one: min and max, baseline = true, or against = 'MODEL'"
        raise ConfigError(msg)
    if check.minimum is not None and check.maximum is not None and check.minimum > check.maximum:
        msg = f"{where}: min {check.minimum:g} is above max {check.maximum:g}"
        raise ConfigError(msg)
    if not fixed and check.better is None:
        msg = f"{where} does not say which way is good: better = 'higher' or 'lower'"
        raise ConfigError(msg)
    if check.tolerance < 0:
        msg = f"{where}: tolerance is {check.tolerance:g}; accepted are numbers from 0"
        raise ConfigError(msg)
    if check.limit is not None and check.limit < 1:
        msg = f"{where}: limit is {check.limit}; accepted are whole numbers from 1"
        raise ConfigError(msg)


def _waiver(entry: Any, place: int) -> Waiver:
    where = f"waiver {place}"
    _known(entry, tables.WAIVER, where)
    missing = [name for name in ("check", "reason", "expires") if not entry.get(name)]
    if missing:
        msg = f"{where} lacks {', '.join(missing)}; a waiver names a check, a reason and the last day on which it counts"
        raise ConfigError(msg)
    if isinstance(entry["expires"], dt.datetime):
        msg = f"{where}: expires is a time; accepted is a day, such as 2027-01-31"
        raise ConfigError(msg)
    return Waiver(
        check=entry["check"], model=entry.get("model", "*"), reason=entry["reason"], expires=entry["expires"]
    )


def _known(content: Any, accepted: tables.Accepted, where: str) -> None:
    if not isinstance(content, dict):
        msg = f"{where} is a {type(content).__name__}; accepted is a table"
        raise ConfigError(msg)
    for name, value in content.items():
        if name not in accepted:
            msg = f"'{name}' is not known in {where}{_close(name, accepted)}; accepted are {', '.join(accepted)}"
            raise ConfigError(msg)
        kinds = accepted[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            msg = f"{where}: {name} is {value!r}; accepted is a {wanted}"
            raise ConfigError(msg)


def _close(name: str, accepted: Collection[str]) -> str:
    close = difflib.get_close_matches(name, accepted, 1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _maybe(entry: Mapping[str, Any], name: str, where: str) -> float | None:
    return None if name not in entry else _number(entry[name], f"{where}: {name}")


def _number(value: Any, where: str) -> float:
    """A number, or a fraction such as ``"8/255"``."""
    try:
        number = float(Fraction(value)) if isinstance(value, str) else float(value)
    except (ValueError, ZeroDivisionError, TypeError) as error:
        msg = f"{where} is {value!r}; accepted are numbers, and fractions in quotes such as '8/255'"
        raise ConfigError(msg) from error
    if not math.isfinite(number):
        msg = f"{where} is {value!r}; accepted are finite numbers"
        raise ConfigError(msg)
    return number


def _choice(value: Any, accepted: tuple[str, ...], where: str) -> Any:
    if value is not None and value not in accepted:
        msg = f"{where} is {value!r}; accepted are {', '.join(accepted)}"
        raise ConfigError(msg)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    for text in texts:
        if not isinstance(text, str) or not text:
            msg = f"models hold {text!r}; accepted are file names and globs"
            raise ConfigError(msg)
    return texts


def _lines(path: Path, names: list[str]) -> dict[str, int]:
    """Line of each ``[[check]]``, in their order; line 1 where they are written in another way."""
    text = path.read_text(encoding="utf-8-sig").splitlines()
    heads = [
        number for number, line in enumerate(text, 1) if line.strip().replace(" ", "").endswith("check]]")
    ]
    heads = [number for number in heads if text[number - 1].strip().startswith("[[")]
    return dict(zip(names, heads, strict=True)) if len(heads) == len(names) else dict.fromkeys(names, 1)
