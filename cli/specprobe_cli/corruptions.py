"""``specprobe corruptions``: how accurate a model stays on spoiled images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, deliver_measured

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
    from specprobe.graph.load import open_model
    from specprobe.images.corruptions import CORRUPTIONS, SEVERITIES
    from specprobe.provenance import data_facts, model_facts
    from specprobe.streaming import Checkpoint

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "corruptions are tried on images: give them with --data SRC"
        raise click.UsageError(msg)
    file = open_model(model, limits=options.limits_of(allow_domains))
    network, images = options.open_run(file, chosen)
    kinds = tuple(dict.fromkeys(corruptions)) or CORRUPTIONS
    levels = tuple(sorted(set(severities))) or SEVERITIES
    settings = chosen.settings(network) | {"corruptions": list(kinds), "severities": list(levels)}
    facts = model_facts(file, network)
    run_id = {"job": "corruptions", "model": facts, "data": data_facts(images), "settings": settings}
    with (
        options.executor_of(chosen.dask) as executor,
        options.progress_bar(images.images, "corruptions", quiet=quiet) as progress,
    ):
        result = corruption_accuracy(
            network,
            images,
            corruptions=kinds,
            severities=levels,
            seed=chosen.seed,
            batch_size=chosen.batch_size,
            executor=executor,
            checkpoint=Checkpoint.of(run_id, resume=chosen.resume),
            progress=progress,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.corruption_table import corruption_table

        return corruption_table(content, everything=verbose)

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
