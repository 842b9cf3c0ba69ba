"""``specprobe sensitivity``: at which spatial frequencies the decision is sensitive."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.measuring import Measuring
from specprobe_cli.output import check_destinations

__all__ = ["command"]


@click.command("sensitivity")
@options.model_argument
@options.data_options
@options.target_option
@click.option(
    "--method",
    type=click.Choice(["gradient", "finite-difference"]),
    default="gradient",
    show_default=True,
    help="One backward pass an image; or, for operators without gradient rule, two runs of MODEL a wave.",
)
@click.option(
    "--frequencies-per-ring",
    type=click.IntRange(min=1),
    help="For finite differences: draw so many frequencies on each ring, for each image anew. All by default.",
)
@click.option(
    "--channels",
    type=click.Choice(["power", "mean_before"]),
    default="power",
    show_default=True,
    help="Mean of the channels' power; or power of their mean, as published, in which opposite colours cancel.",
)
@click.option(
    "--basis",
    type=click.Choice(["fourier", "dct", "hadamard", "haar"]),
    default="fourier",
    show_default=True,
    help="Orthonormal basis that the gradient is written in.",
)
@click.option(
    "--loss",
    type=click.Choice(["cross-entropy", "margin", "dlr", "logit"]),
    default="cross-entropy",
    show_default=True,
    help="Loss of the logits; margin has a gradient where cross-entropy is saturated.",
)
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    target: Any,
    method: str,
    frequencies_per_ring: int | None,
    channels: Any,
    basis: str,
    loss: str,
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Share of each spatial frequency in the power of MODEL's input gradient, over the images of --data.

    \b
    specprobe sensitivity model.onnx --data test.npz
    specprobe sensitivity model.onnx --data test.npz --channels mean_before -o sensitivity.npz -o sensitivity.png
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.analysis.sensitivity import fourier_sensitivity

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "sensitivity is measured on images: give them with --data SRC"
        raise click.UsageError(msg)
    if frequencies_per_ring is not None and (method, basis) != ("finite-difference", "fourier"):
        msg = "--frequencies-per-ring goes with --method finite-difference and the Fourier basis"
        raise click.UsageError(msg)
    asked: dict[str, Any] = {
        "method": method,
        "channels": channels,
        "basis": basis,
        "loss": loss,
        "target": target,
        "frequencies_per_ring": frequencies_per_ring,
    }
    measuring = Measuring.open("sensitivity", model, chosen, allow_domains, asked)
    with measuring.running(quiet=quiet) as given:
        result = fourier_sensitivity(
            measuring.network,
            measuring.images,
            **asked,
            seed=chosen.seed,
            **given,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.sensitivity_table import sensitivity_table

        return sensitivity_table(content, every_ring=verbose)

    measuring.deliver(result, table, destinations=destination, as_json=as_json, quiet=quiet)
