"""``specprobe corruptions``: how accurate a model stays on spoiled images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.measuring import Measuring
from specprobe_cli.output import check_destinations

__all__ = ["command"]


@click.command("corruptions")
@options.model_argument
@options.data_options
@click.option(
    "--corruption",
    "corruptions",
    multiple=True,
    type=click.Choice(
        ["gaussian-noise", "shot-noise", "gaussian-blur", "contrast", "fog", "pixelate", "jpeg"]
    ),
    help="Kind of corruption; repeatable. All by default.",
)
@click.option(
    "--severity",
    "severities",
    multiple=True,
    type=click.IntRange(1, 5),
    help="From 1 to 5; repeatable. All by default.",
)
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    corruptions: tuple[str, ...],
    severities: tuple[int, ...],
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Accuracy of MODEL on corrupted images, beside the spectrum of what each corruption changes.

    \b
    specprobe corruptions model.onnx --data test.npz
    specprobe corruptions model.onnx --data test.npz --corruption fog --corruption gaussian-noise -o corruptions.png
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.analysis.corruption import corruption_accuracy
    from specprobe.images.corruptions import CORRUPTIONS, SEVERITIES

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "corruptions are tried on images: give them with --data SRC"
        raise click.UsageError(msg)
    kinds = tuple(dict.fromkeys(corruptions)) or CORRUPTIONS
    levels = tuple(sorted(set(severities))) or SEVERITIES
    asked: dict[str, Any] = {"corruptions": list(kinds), "severities": list(levels)}
    measuring = Measuring.open("corruptions", model, chosen, allow_domains, asked)
    with measuring.running(quiet=quiet) as given:
        result = corruption_accuracy(
            measuring.network,
            measuring.images,
            **asked,
            seed=chosen.seed,
            **given,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.corruption_table import corruption_table

        return corruption_table(content, everything=verbose)

    measuring.deliver(result, table, destinations=destination, as_json=as_json, quiet=quiet)
