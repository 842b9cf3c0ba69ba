"""``specprobe heatmap``: which single frequency, added to an image, breaks a model."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, deliver_measured

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
@click.option(
    "--target",
    type=click.Choice(["true", "predicted"]),
    help="Class that errors and losses are of; the label where there are labels.",
)
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
    specprobe heatmap model.onnx --data test.npz --first-order
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.analysis.heatmap import HEATMAP_SHARD_IMAGES, fourier_heatmap
    from specprobe.graph.load import open_model
    from specprobe.provenance import data_facts, model_facts
    from specprobe.streaming import Checkpoint

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "heatmap needs images to add frequencies to: --data SRC"
        raise click.UsageError(msg)
    if sample is not None and not first_order:
        msg = "--sample goes with --first-order"
        raise click.UsageError(msg)
    file = open_model(model, limits=options.limits_of(allow_domains))
    network, images = options.open_run(file, chosen)
    size = sample or _SAMPLE
    asked: dict[str, Any] = {
        "l2_norm_per_channel": l2_norm,
        "phase": phase,
        "clip": clip,
        "grid": grid,
        "first_order": first_order,
        "sample": size if first_order else None,
        "target": target,
    }
    settings = chosen.settings(network) | asked | {"shard_images": HEATMAP_SHARD_IMAGES}
    facts = model_facts(file, network)
    run_id = {"job": "heatmap", "model": facts, "data": data_facts(images), "settings": settings}
    if not quiet:
        shape = (images.image_shape[1], images.image_shape[2])
        cost = _cost(shape, images.images, phase=phase, grid=grid, sample=size if first_order else None)
        click.echo(f"heatmap: {cost}", err=True)
    with (
        options.executor_of(chosen.dask) as executor,
        options.progress_bar(images.images, "heatmap", quiet=quiet) as progress,
    ):
        result = fourier_heatmap(
            network,
            images,
            l2_norm_per_channel=l2_norm,
            phase=phase,
            clip=clip,
            frequencies=grid,
            first_order=first_order,
            sample=size,
            target=target,
            seed=chosen.seed,
            batch_size=chosen.batch_size,
            executor=executor,
            checkpoint=Checkpoint.of(run_id, resume=chosen.resume),
            progress=progress,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.heatmap_table import heatmap_table

        return heatmap_table(content, every_ring=verbose)

    deliver_measured(
        result,
        title=file.path.name,
        model=facts,
        images=images,
        settings=settings,
        argv=options.command_line(),
        table=table,
        destinations=destination,
        as_json=as_json,
        quiet=quiet,
    )


def _cost(shape: tuple[int, int], images: int, *, phase: str, grid: int | None, sample: int | None) -> str:
    """What the run is going to do, told before it is done."""
    import numpy as np

    from specprobe.spectral.basis import self_conjugate
    from specprobe.spectral.grid import frequency_index, real_frequencies

    sides = [min(grid or n, n) for n in shape]
    rows, columns = (slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(shape, sides, strict=True))
    every = real_frequencies(shape)
    among = every[np.unique(frequency_index(shape)[rows, columns])]
    frequencies = len(among) if sample is None else min(sample, len(among))
    waves, told = frequencies, ""
    if phase == "worst-of-two":
        # A frequency that is its own conjugate has no sine; a sample may hold some of those.
        alone = int(self_conjugate(among, shape=shape).sum())
        told = "at most " if alone and frequencies < len(among) else ""
        waves = 2 * frequencies - (0 if told else alone)
    told += f"{images * (1 + waves)} model evaluations"
    if sample is not None:
        told += f" and {images} gradients"
    return f"{told}, {frequencies} of {len(every)} frequencies on {images} images"
