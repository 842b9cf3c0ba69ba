"""``specprobe bands``: which frequencies a model needs."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.measuring import Measuring
from specprobe_cli.output import check_destinations

__all__ = ["command"]


class _Radii(click.ParamType[tuple[float, ...]]):
    name = "radii"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            radii = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            radii = (math.nan,)
        if not all(0 <= radius < math.inf for radius in radii):
            self.fail(f"'{value}' is not a list of radii from 0 such as 1,2,4,8", param, ctx)
        return radii


class _Ranges(click.ParamType[tuple[tuple[float, float], ...]]):
    """``low:high,low:high``, each no wider than ``widest``."""

    name = "ranges"

    def __init__(self, example: str, *, lowest: float, widest: float) -> None:
        self.example, self.lowest, self.widest = example, lowest, widest

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[float, float], ...]:
        if isinstance(value, tuple):
            return value
        try:
            pairs = [part.split(":") for part in str(value).split(",")]
            ranges = tuple((float(low), float(high or "inf")) for low, high in pairs)
        except ValueError:
            ranges = ((0.0, 0.0),)
        if not all(self.lowest <= low < high <= low + self.widest for low, high in ranges):
            self.fail(f"'{value}' is not a list of ranges low:high such as {self.example}", param, ctx)
        return ranges


@click.command("bands")
@options.model_argument
@options.data_options
@click.option(
    "--radii",
    type=_Radii(),
    metavar="1,2,4,8",
    help="Cut-offs of the low-pass and high-pass filters, in cycles per image (per shorter side); four an octave "
    "up to the corner by default.",
)
@click.option(
    "--bands",
    type=_Ranges("3:5,7:9", lowest=0, widest=math.inf),
    metavar="3:5,7:9",
    default=(),
    help="Bands low <= radius < high, each kept alone and each taken out; 13: ends at the corner.",
)
@click.option(
    "--wedges",
    type=_Ranges("-22.5:22.5,67.5:112.5", lowest=-math.inf, widest=180),
    metavar="0:45,90:135",
    default=(),
    help="Directions in degrees, each kept alone and each taken out; 0 is upright stripes.",
)
@click.option("--clip", is_flag=True, help="Clip filtered images to [0, 1].")
@click.option("--restore-mean", is_flag=True, help="Keep the mean of each channel, whatever the filter.")
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    radii: tuple[float, ...] | None,
    bands: tuple[tuple[float, float], ...],
    wedges: tuple[tuple[float, float], ...],
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    clip: bool,
    restore_mean: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Accuracy of MODEL on low-pass, high-pass and band-pass filtered images.

    \b
    specprobe bands model.onnx --data test.npz
    specprobe bands model.onnx --data test.npz --radii 1,2,4,8,16 -o bands.png -o bands.json
    specprobe bands model.onnx --data test.npz --bands 3:5,7:9,13: --wedges -22.5:22.5 --restore-mean
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.analysis.bands import band_accuracy
    from specprobe.results import finite

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "bands needs images to filter: --data SRC"
        raise click.UsageError(msg)
    asked: dict[str, Any] = {
        "radii": radii,
        "bands": bands,
        "wedges": wedges,
        "clip": clip,
        "restore_mean": restore_mean,
    }
    measuring = Measuring.open("bands", model, chosen, allow_domains, finite(asked))
    with measuring.running(quiet=quiet) as given:
        result = band_accuracy(
            measuring.network,
            measuring.images,
            **asked,
            **given,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.band_table import band_tables

        return band_tables(content, every_class=verbose)

    measuring.deliver(result, table, destinations=destination, as_json=as_json, quiet=quiet)
