"""``specprobe inspect``: the main job."""

from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, deliver

__all__ = ["command"]


@click.command("inspect")
@options.model_argument
@options.data_options
@click.option(
    "--skip",
    type=click.Choice(["sensitivity", "bands"]),
    multiple=True,
    help="Leave out what is measured on --data beside the accuracy; repeatable.",
)
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    skip: tuple[str, ...],
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Survey MODEL and its filters; with --data, also its accuracy, Fourier sensitivity and band accuracy.

    \b
    specprobe inspect model.onnx
    specprobe inspect model.onnx --data test.npz --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    specprobe inspect model.onnx --data val/ --preprocess preprocessor_config.json -o result.json
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.graph.load import open_model
    from specprobe.provenance import data_facts, model_facts, provenance
    from specprobe.results import document
    from specprobe.streaming import Checkpoint
    from specprobe.workflow.inspection import inspect_model
    from specprobe.workflow.measurements import ANALYSES

    check_destinations(destination)
    chosen = options.RunOptions(**run)
    file = open_model(model, limits=options.limits_of(allow_domains))
    wanted = [name for name in ANALYSES if name not in skip]
    network, images, data, settings = None, None, None, {}
    if chosen.data is not None:
        network, images = options.open_run(file, chosen)
        settings = chosen.settings(network) | {"analyses": wanted}
    count = images.images if images is not None else 0
    facts = model_facts(file, network)
    checkpoint = None
    if images is not None:
        run_id = {"job": "inspect", "model": facts, "data": data_facts(images), "settings": settings}
        checkpoint = Checkpoint.of(run_id, resume=chosen.resume)
    with (
        options.executor_of(chosen.dask) as executor,
        options.progress_bar(count, "images", quiet=quiet) as progress,
    ):
        inspected = inspect_model(
            file,
            network,
            images,
            analyses=wanted,
            batch_size=chosen.batch_size,
            executor=executor,
            checkpoint=checkpoint,
            progress=progress,
        )
    result = inspected.result
    if images is not None:
        data = data_facts(images, result.image_digest)

    def table() -> Any:
        from specprobe_cli.tables import inspection_tables

        return inspection_tables(content, every_layer=verbose)

    def figure() -> Any:
        from specprobe.report.figures import draw

        return draw(result, title=file.path.name)

    content = document(
        result, model=facts, data=data, provenance=provenance(settings, argv=options.command_line())
    )
    deliver(
        content,
        arrays=result.arrays(),
        table=table,
        figure=figure,
        results=[result],
        destinations=destination,
        as_json=as_json,
        quiet=quiet,
    )
