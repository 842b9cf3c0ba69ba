"""Where a result goes: a table for people, JSON for programs, files by their suffix."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, RenderableType

__all__ = ["check_destinations", "deliver", "deliver_measured", "interval", "number", "size"]

SUFFIXES = (".json", ".npz", ".png", ".svg", ".html")


def check_destinations(destinations: Sequence[Path], /, *, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Refuse a destination before the work is done, not after.

    Parameters
    ----------
    destinations : sequence of pathlib.Path
        From ``-o``.
    suffixes : sequence of str
        That the command writes.

    Raises
    ------
    click.UsageError
        If a suffix is not known, a folder does not exist, or a file is one that the command was told to read.
    """
    for path in destinations:
        if path.suffix not in suffixes:
            told = "accepted are" if len(suffixes) > 1 else "accepted is"
            msg = f"-o {path}: the suffix '{path.suffix}' is not known; {told} {', '.join(suffixes)}"
            raise click.UsageError(msg)
        if not path.parent.is_dir():
            msg = f"-o {path}: there is no folder {path.parent}"
            raise click.UsageError(msg)
        if path.exists() and any(named.samefile(path) for named in _named_files()):
            msg = f"-o {path}: this file is also read here, and would be overwritten; name another one"
            raise click.UsageError(msg)


def _named_files() -> Iterator[Path]:
    """Files that exist of those that the command line names, but for destinations."""
    context = click.get_current_context(silent=True)
    values = {} if context is None else {**context.params, "destination": None}
    flat = [item for value in values.values() for item in (value if isinstance(value, tuple) else (value,))]
    for item in flat:
        # Recipes may be called MODEL=FILE.
        for word in str(item).split("=") if isinstance(item, str | Path) else ():
            with suppress(OSError):  # a text too long for a name
                if word and Path(word).is_file():
                    yield Path(word)


def deliver(
    content: Mapping[str, Any],
    /,
    *,
    arrays: Mapping[str, Any],
    table: "Callable[[], RenderableType]",
    figure: "Callable[[], Figure] | None" = None,
    results: Sequence[Any] | None = None,
    destinations: Sequence[Path],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write, print and show one document.

    Parameters
    ----------
    content : mapping
        The document.
    arrays : mapping of str to array
        What only ``.npz`` files hold.
    table : callable
        Makes what people see.
    figure : callable, optional
        Makes what ``.png`` and ``.svg`` files show.
    results : sequence of Result, optional
        What the document, or each of a collection, was made of: its arrays are drawn in ``.html`` files.
    destinations : sequence of pathlib.Path
        From ``-o``.
    as_json, quiet : bool
        From ``--json`` and ``--quiet``.
    """
    from specprobe.files import write_atomically
    from specprobe.results import dump_json, write_npz

    for path in destinations:
        if path.suffix == ".npz":
            write_npz(path, content, arrays)
        elif path.suffix in {".png", ".svg"} and figure is not None:
            from specprobe.report.figures import save

            drawn = figure()
            write_atomically(path, partial(save, drawn, suffix=path.suffix))
        elif path.suffix == ".html":
            from specprobe.report.page import page

            text = page(content.get("documents") or [content], results=results).encode()
            write_atomically(path, partial(_write, text))
        else:
            text = dump_json(content).encode()
            write_atomically(path, partial(_write, text))
    if as_json:
        sys.stdout.write(dump_json(content))
    elif not quiet:
        show(table())


def deliver_measured(
    result: Any,
    /,
    *,
    title: str,
    model: Mapping[str, Any],
    images: Any,
    settings: dict[str, Any],
    argv: Sequence[str],
    table: "Callable[[Mapping[str, Any]], RenderableType]",
    destinations: Sequence[Path],
    as_json: bool,
    quiet: bool,
) -> None:
    """Write, print and show what was measured on images.

    Parameters
    ----------
    result : Packable
        With ``arrays`` and the images' digests.
    title : str
        Of the figure.
    model : mapping
        Facts of the model.
    images : ImageSource
        What was looked at.
    settings : dict
        Of the run.
    argv : sequence of str
        The command line.
    table : callable
        Makes what people see, of the document.
    destinations : sequence of pathlib.Path
        From ``-o``.
    as_json, quiet : bool
        From ``--json`` and ``--quiet``.
    """
    from specprobe.provenance import data_facts, provenance
    from specprobe.results import document

    def figure() -> "Figure":
        from specprobe.report.figures import draw

        return draw(result, title=title)

    content = document(
        result,
        model=model,
        data=data_facts(images, result.image_digest),
        provenance=provenance(settings, argv=argv),
    )
    deliver(
        content,
        arrays=result.arrays(),
        table=partial(table, content),
        figure=figure,
        results=[result],
        destinations=destinations,
        as_json=as_json,
        quiet=quiet,
    )


def _write(text: bytes, file: IO[bytes]) -> None:
    file.write(text)


def show(renderable: "RenderableType", /) -> None:
    """Print for people.

    Parameters
    ----------
    renderable : rich renderable
        Holds names out of a file only as ``rich.text.Text``, never as markup.
    """
    console().print(renderable)


def console() -> "Console":
    """Console on standard output; 120 columns where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def number(value: float | None, digits: int = 3, /) -> str:
    """``value`` with a fixed number of decimals, or a dash where it is undefined.

    Parameters
    ----------
    value : float or None
        To be shown.
    digits : int
        Decimals.

    Returns
    -------
    str
        Right-aligned in a column of its like.
    """
    return "–" if value is None else f"{value:.{digits}f}"


def interval(value: float, bounds: Sequence[float], /) -> str:
    """An estimate with its interval.

    Parameters
    ----------
    value : float
        The estimate.
    bounds : (float, float)
        Its interval.

    Returns
    -------
    str
        Such as ``0.810 [0.750, 0.858]``.
    """
    return f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def size(count: float | None, unit: str = "", /, *, base: int = 1000) -> str:
    """A count with a metric prefix.

    Parameters
    ----------
    count : float or None
        To be shown.
    unit : str
        Put behind the prefix.
    base : int
        1000, or 1024 for bytes.

    Returns
    -------
    str
        Such as ``2.87 M``.
    """
    if count is None:
        return "unknown"
    prefixes = ("", "Ki", "Mi", "Gi", "Ti") if base == 1024 else ("", "k", "M", "G", "T")
    power = 0
    while abs(count) >= base and power < len(prefixes) - 1:
        count /= base
        power += 1
    text = f"{count:.0f}" if power == 0 else f"{count:.3g}"
    return f"{text} {prefixes[power]}{unit}".rstrip()
