"""``specprobe mask``: which frequencies are enough for a model, learned from its gradient."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specprobe_cli import options
from specprobe_cli.measuring import Measuring
from specprobe_cli.output import check_destinations, deliver

if TYPE_CHECKING:
    from specprobe.analysis.mask import FourierMask, MaskProgress

__all__ = ["command"]


@click.command("mask")
@options.model_argument
@options.data_options
@options.target_option
@click.option(
    "--preset",
    type=click.Choice(["default", "karantzas"]),
    default="default",
    show_default=True,
    help="Hyper-parameters: ours, or the published ones, which take at least five times as many gradients.",
)
@click.option("--per-image", is_flag=True, help="A mask for each image; for its predicted class by default.")
@click.option("--per-channel", is_flag=True, help="A mask for each channel.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="A second model: its mask on the same images, and how the first one differs.",
)
@click.option(
    "--sparsity-weight",
    type=click.FloatRange(min=0, min_open=True),
    metavar="WEIGHT",
    help="Price of a whole mask beside the change of the loss; 0.2, and 0.07 for a mask of one image, by default.",
)
@click.option("--max-epochs", type=click.IntRange(min=1), help="Epochs, or steps for a mask of one image.")
@click.option(
    "--agreement",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Share of the right images that a mask must leave right.",
)
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    target: Any,
    preset: str,
    against: Path | None,
    sparsity_weight: float | None,
    max_epochs: int | None,
    agreement: float,
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    per_image: bool,
    per_channel: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Sparse mask of the Fourier transform under which MODEL answers as it does without, on the images of --data.

    \b
    specprobe mask model.onnx --data test.npz --limit 300 -o mask.npz -o mask.png
    specprobe mask model.onnx --data test.npz --per-image --limit 50 -o masks.npz
    specprobe mask robust.onnx --data test.npz --against normal.onnx -o difference.json
    """  # noqa: D301 - \b is click's mark for lines to keep
    check_destinations(destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "a mask is learned on images: give them with --data SRC"
        raise click.UsageError(msg)
    if chosen.dask is not None:
        msg = "a mask is learned step after step, in one process: mask has no --dask"
        raise click.UsageError(msg)
    if against is not None and any(path.suffix == ".npz" for path in destination):
        msg = "an .npz file holds one mask; with --against, accepted are .json, .html, .png and .svg"
        raise click.UsageError(msg)
    asked = {
        "preset": preset,
        "per_image": per_image,
        "per_channel": per_channel,
        "target": target,
        "sparsity_weight": sparsity_weight,
        "max_epochs": max_epochs,
        "agreement": agreement,
    }
    learned = [
        _learn(path, chosen, asked, allow_domains, quiet=quiet)
        for path in (model, against)
        if path is not None
    ]
    if len(learned) == 1:
        ((measuring, result),) = learned

        def table(content: Mapping[str, Any]) -> Any:
            from specprobe_cli.mask_table import mask_table

            return mask_table(content, every_band=verbose)

        measuring.deliver(result, table, destinations=destination, as_json=as_json, quiet=quiet)
        return
    first, second = learned
    _deliver_pair(first, second, destination, as_json=as_json, quiet=quiet, verbose=verbose)


def _learn(
    path: Path,
    chosen: options.RunOptions,
    asked: dict[str, Any],
    allow_domains: tuple[str, ...],
    *,
    quiet: bool,
) -> "tuple[Measuring, FourierMask]":
    """Mask of one model, and what its document tells."""
    from specprobe.analysis.mask import fourier_mask

    measuring = Measuring.open("mask", path, chosen, allow_domains, asked)
    with _progress(path.name, quiet=quiet) as progress:
        result = fourier_mask(
            measuring.network,
            measuring.images,
            **asked,
            seed=chosen.seed,
            batch_size=chosen.batch_size,
            checkpoint=measuring.checkpoint(),
            progress=progress,
        )
    return measuring, result


@contextmanager
def _progress(name: str, *, quiet: bool) -> "Iterator[Callable[[MaskProgress], None] | None]":
    """A progress bar that tells the density of the mask, and what it keeps."""
    with options.task_progress(quiet=quiet) as told:
        if told is None:
            yield None
            return

        def show(at: "MaskProgress") -> None:
            kept = "" if at.kept is None else f", keeps {at.kept:.3f}"
            told(f"{name}: density {at.density:.3f}{kept}", at.done, at.total)

        yield show


def _deliver_pair(
    first: "tuple[Measuring, FourierMask]",
    second: "tuple[Measuring, FourierMask]",
    destination: tuple[Path, ...],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Both masks and their difference, as a collection of three documents."""
    from specprobe.analysis.mask_reading import mask_difference
    from specprobe.provenance import data_facts, provenance
    from specprobe.results import collection, document

    (one, _), (other, _) = first, second
    results = [result for _, result in (first, second)]
    difference = mask_difference(*results)
    contents = [
        document(
            result,
            model=measuring.facts,
            data=data_facts(measuring.images, result.image_digest),
            provenance=provenance(measuring.settings, argv=options.command_line()),
        )
        for measuring, result in (first, second)
    ]
    names = f"{one.file.path.name} less {other.file.path.name}"
    # The model of a difference is the first; which is the second, the settings say.
    settings = one.settings | {"against": other.facts}
    whole = document(
        difference,
        model=one.facts,
        data=contents[0]["data"],
        provenance=provenance(settings, argv=options.command_line()),
    )

    def table() -> Any:
        from specprobe_cli.mask_table import pair_tables

        return pair_tables(contents[0], contents[1], whole, every_band=verbose)

    def figure() -> Any:
        from specprobe.report.figures import draw

        return draw(difference, title=names)

    deliver(
        collection([*contents, whole]),
        arrays={},
        table=table,
        figure=figure,
        results=[*results, difference],
        destinations=destination,
        as_json=as_json,
        quiet=quiet,
    )
