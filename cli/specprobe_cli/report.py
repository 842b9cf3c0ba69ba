"""``specprobe report``: results as one web page."""

from pathlib import Path

import click

from specprobe_cli.output import check_destinations, show, size

__all__ = ["command"]


@click.command("report")
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RESULT...")
@click.option(
    "-o",
    "destination",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The page, an .html file.",
)
@click.option("--title", help="Of the page; by default the result's kind and model.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from.")
def command(results: tuple[Path, ...], destination: Path, title: str | None, *, quiet: bool) -> None:
    """Put the results in the RESULT files, .json or .npz, on one page that needs no network and no scripts.

    \b
    specprobe report result.json -o report.html
    specprobe report normal.npz robust.npz -o report.html --title "Before and after"
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.files import write_atomically
    from specprobe.report.page import page
    from specprobe.results import read_results

    check_destinations([destination], suffixes=(".html",))
    held = [pair for path in results for pair in read_results(path)]
    text = page(
        [content for content, _ in held], results=[result for _, result in held], title=title
    ).encode()
    write_atomically(destination, lambda file: file.write(text))
    if not quiet:
        show(f"wrote {destination.name}: {len(held)} results, {size(len(text), 'B', base=1024)}")
