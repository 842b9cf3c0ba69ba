"""``specprobe heatmap``: which single frequency, added to an image, breaks a model."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specprobe_cli import options
from specprobe_cli.measuring import Measuring
from specprobe_cli.output import check_destinations

if TYPE_CHECKING:
    from specprobe.analysis.heatmap_frequencies import Plan

__all__ = ["command"]

_SAMPLE = 64


class _Norm(click.ParamType[float]):
    name = "norm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            norm = float(value)
        except ValueError:
            norm = math.nan
        if not 0 < norm < math.inf:
            self.fail(f"'{value}' is not a number above 0 such as 4", param, ctx)
        return norm


@click.command("heatmap")
@options.model_argument
@options.data_options
@options.target_option
@click.option(
    "--l2-norm",
    type=_Norm(),
    default=4.0,
    show_default=True,
    metavar="NORM",
    help="L2 norm of what is added to each channel, pixels in [0, 1]; published are 4 for 32 × 32 and 15.7 for "
    "224 × 224 pixels.",
)
@click.option(
    "--phase",
    type=click.Choice(["0", "45", "random", "worst-of-two"]),
    default="0",
    show_default=True,
    help="Of the wave, in degrees; drawn for each image; or cosine and sine, of which the worse counts, at twice "
    "the cost.",
)
@click.option(
    "--grid",
    type=click.IntRange(min=1),
    metavar="SIDE",
    help="Evaluate only the central SIDE × SIDE cells of the map, such as 63. All by default.",
)
@click.option(
    "--refine",
    type=click.IntRange(min=2),
    metavar="STRIDE",
    help="Evaluate every STRIDE-th frequency along both axes first, 2, 4, 8 and so on, then more where the map changes.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Tensor inside the model whose change is mapped, too; repeatable.",
)
@click.option("--clip/--no-clip", default=True, show_default=True, help="Clip the sums to [0, 1].")
@click.option(
    "--first-order",
    is_flag=True,
    help="Predict the maps from one gradient an image, and classify under a sample of the frequencies only, which "
    "tells how well they are ranked.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help=f"For --first-order: size of that sample, {_SAMPLE} by default.",
)
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    target: Any,
    l2_norm: float,
    phase: Any,
    grid: int | None,
    refine: int | None,
    layers: tuple[str, ...],
    sample: int | None,
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    clip: bool,
    first_order: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Error rate of MODEL with one frequency at a time added to the images of --data.

    \b
    specprobe heatmap model.onnx --data test.npz --limit 200 -o heatmap.npz -o heatmap.png
    specprobe heatmap model.onnx --data test.npz --l2-norm 15.7 --grid 63
    specprobe heatmap model.onnx --data test.npz --refine 4
    specprobe heatmap model.onnx --data test.npz --layer /layer1/Relu_output_0 --layer /layer4/Relu_output_0
    specprobe heatmap model.onnx --data test.npz --first-order
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.analysis.heatmap import HEATMAP_SHARD_IMAGES, fourier_heatmap
    from specprobe.analysis.heatmap_frequencies import plan

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "heatmap needs images to add frequencies to: --data SRC"
        raise click.UsageError(msg)
    if sample is not None and not first_order:
        msg = "--sample goes with --first-order"
        raise click.UsageError(msg)
    if refine is not None and (first_order or refine & (refine - 1)):
        msg = "--refine goes without --first-order" if first_order else "--refine takes a power of two from 2"
        raise click.UsageError(msg)
    size = sample or _SAMPLE
    asked: dict[str, Any] = {
        "l2_norm_per_channel": l2_norm,
        "phase": phase,
        "clip": clip,
        "grid": grid,
        "refine": refine,
        "layers": layers,
        "first_order": first_order,
        "sample": size if first_order else None,
        "target": target,
    }
    recorded = asked | {"shard_images": HEATMAP_SHARD_IMAGES}
    measuring = Measuring.open("heatmap", model, chosen, allow_domains, recorded)
    images = measuring.images
    if not quiet:
        shape = (images.image_shape[1], images.image_shape[2])
        planned = plan(
            shape, frequencies=grid, phase=phase, sample=size if first_order else None, refine=refine
        )
        click.echo(
            f"heatmap: {_cost(planned, shape, images.images, first_order=first_order, refine=refine is not None)}",
            err=True,
        )
    with measuring.running(quiet=quiet) as given:
        result = fourier_heatmap(
            measuring.network,
            measuring.images,
            l2_norm_per_channel=l2_norm,
            phase=phase,
            clip=clip,
            frequencies=grid,
            refine=refine,
            layers=layers,
            first_order=first_order,
            sample=size,
            target=target,
            seed=chosen.seed,
            **given,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.heatmap_table import heatmap_table

        return heatmap_table(content, every_ring=verbose, measured=result)

    measuring.deliver(result, table, destinations=destination, as_json=as_json, quiet=quiet)


def _cost(plan: "Plan", shape: tuple[int, int], images: int, *, first_order: bool, refine: bool) -> str:
    """What the run is going to do, told before it is done."""
    from specprobe.spectral.grid import real_frequencies

    told = "" if plan.exact else "at most "
    if refine:
        told = "at least "
    told += f"{images * (1 + plan.waves)} model evaluations"
    if first_order:
        told += f" and {images} gradients"
    told += f", {plan.frequencies} of {len(real_frequencies(shape))} frequencies on {images} images"
    if refine:
        told += f"; more where the map changes, up to {plan.chosen} frequencies"
    return told
