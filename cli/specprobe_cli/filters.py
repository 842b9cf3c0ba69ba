"""``specprobe filters``: statistics of convolution filters, and the filters themselves."""

from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, deliver

__all__ = ["command"]


@click.command("filters")
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.limits_option
@options.common_options
def command(
    models: tuple[Path, ...],
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Sparsity, variance entropy, orthogonality and centre energy of the convolution filters of each MODEL.

    With -o FILE.npz the kernels themselves: kernel_0000, kernel_0001, … of shape (out, in / groups, *kernel), beside
    their names, depths and groups. One model only.
    """
    from specprobe.analysis.filters import filter_statistics
    from specprobe.graph.convolutions import find_convolutions
    from specprobe.graph.load import open_model
    from specprobe.provenance import model_facts, provenance
    from specprobe.results import collection, document

    check_destinations(destination)
    single = [path for path in destination if path.suffix not in {".json", ".html"}]
    if len(models) > 1 and single:
        msg = f"-o {single[0]} holds one model, {len(models)} were given; .json and .html hold several"
        raise click.UsageError(msg)
    made = provenance({}, argv=options.command_line())
    contents, results = [], []
    arrays: dict[str, Any] = {}
    for path in models:
        file = open_model(path, limits=options.limits_of(allow_domains))
        convolutions, _ = find_convolutions(file.model)
        results.append(filter_statistics(convolutions))
        contents.append(document(results[-1], model=model_facts(file), provenance=made))
        if len(models) == 1:
            arrays = _kernels(convolutions)

    def table() -> Any:
        from rich.console import Group

        from specprobe_cli.tables import filter_table

        return Group(*(filter_table(c["result"], c["model"]["file"], every_layer=verbose) for c in contents))

    def figure() -> Any:
        from specprobe.report.figures import draw

        return draw(results[0], title=models[0].name)

    deliver(
        contents[0] if len(contents) == 1 else collection(contents),
        arrays=arrays,
        table=table,
        figure=figure,
        results=results,
        destinations=destination,
        as_json=as_json,
        quiet=quiet,
    )


def _kernels(convolutions: Any) -> dict[str, Any]:
    import numpy as np

    arrays: dict[str, Any] = {f"kernel_{i:04d}": c.weight for i, c in enumerate(convolutions)}
    return arrays | {
        "name": np.array([c.name for c in convolutions], dtype=np.str_),
        "depth": np.array([c.depth for c in convolutions], dtype=np.int64),
        "groups": np.array([c.groups for c in convolutions], dtype=np.int64),
    }
