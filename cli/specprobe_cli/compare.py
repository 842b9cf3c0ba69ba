"""``specprobe compare``: several models side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, deliver

if TYPE_CHECKING:
    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network

__all__ = ["command"]


@click.command("compare")
@click.argument(
    "models", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL MODEL [MODEL]..."
)
@options.data_options
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="What to call the models, in their order; by default after their files. Repeatable, one a model.",
)
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
    models: tuple[Path, ...],
    names: tuple[str, ...],
    skip: tuple[str, ...],
    preprocess: tuple[str, ...],
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Compare the second and further models with the first, on the same images, metric by metric.

    Every metric of `inspect` side by side, with paired intervals and p-values for the differences, adjusted for the number
    of metrics. Without --data, filters and sizes alone. Recipe options hold for all models; --preprocess MODEL=FILE for
    one of them, called as on the command line, by its file's name, or by its --name.

    \b
    specprobe compare normal.onnx robust.onnx --data test.npz
    specprobe compare float.onnx int8.onnx --data val/ --preprocess config.json -o compared.json -o compared.png
    specprobe compare a.onnx b.onnx --data val/ --preprocess a.onnx=a.json --preprocess b.onnx=b.json
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.bootstrap import RESAMPLES
    from specprobe.graph.load import open_model
    from specprobe.provenance import data_facts, model_facts, provenance
    from specprobe.results import document
    from specprobe.streaming import Checkpoint
    from specprobe.workflow.comparison import compare_models, distinct_names
    from specprobe.workflow.measurements import ANALYSES

    check_destinations(destination)
    if len(models) < 2:
        msg = f"{len(models)} model was given; accepted are two or more, of which the first is compared with the others"
        raise click.UsageError(msg)
    if names and (len(names) != len(models) or len(set(names)) < len(names)):
        msg = f"--name was given as {', '.join(names)} for {len(models)} models; accepted is one for each, all different"
        raise click.UsageError(msg)
    called = list(names) or distinct_names([path.name for path in models])
    recipes = _recipes(preprocess, models, called)
    chosen = options.RunOptions(**run, preprocess=None)
    limits = options.limits_of(allow_domains)
    files = [open_model(path, limits=limits) for path in models]
    networks: Sequence[Network | None] = [None] * len(files)
    images, settings, checkpoint = None, {}, None
    analyses = [name for name in ANALYSES if name not in skip]
    if chosen.data is not None:
        runnable, images = _open_all(files, chosen, recipes, called)
        settings = chosen.settings(runnable[0]) | {"analyses": analyses, "resamples": RESAMPLES}
        networks = runnable
    opened = list(zip(files, networks, strict=True))
    facts = {name: model_facts(file, network) for name, (file, network) in zip(called, opened, strict=True)}
    if images is not None:
        run_id = {"job": "compare", "model": facts, "data": data_facts(images), "settings": settings}
        checkpoint = Checkpoint.of(run_id, resume=chosen.resume)
    count = 0 if images is None else images.images * len(models)
    with (
        options.executor_of(chosen.dask) as executor,
        options.progress_bar(count, f"images × {len(models)} models", quiet=quiet) as progress,
    ):
        result = compare_models(
            opened,
            images,
            names=called,
            analyses=analyses,
            batch_size=chosen.batch_size,
            seed=chosen.seed,
            executor=executor,
            checkpoint=checkpoint,
            progress=progress,
        )
    data = None if images is None else data_facts(images, result.image_digest)
    content = document(
        result, model=facts, data=data, provenance=provenance(settings, argv=options.command_line())
    )

    def table() -> Any:
        from specprobe_cli.compare_table import comparison_tables

        return comparison_tables(content, everything=verbose)

    def figure() -> Any:
        from specprobe.report.figures import draw

        return draw(result)

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


# The option of all commands, but for several models: repeatable, and for one of them.
command.params = [
    click.Option(
        ["--preprocess"],
        multiple=True,
        metavar="[MODEL=]FILE",
        help="Recipe file: TOML or JSON, timm's config.json, Hugging Face's preprocessor_config.json; of all models, or of "
        "the one named before the equals sign. Repeatable.",
    )
    if parameter.name == "preprocess"
    else parameter
    for parameter in command.params
]


def _recipes(preprocess: Sequence[str], models: Sequence[Path], called: Sequence[str]) -> list[Path | None]:
    """Recipe file of every model."""
    common: Path | None = None
    own: dict[int, Path] = {}
    for word in preprocess:
        cuts = [i for i, letter in enumerate(word) if letter == "="]
        found = {(i, cut) for cut in cuts for i in _meant(word[:cut], models, called)}
        if len({i for i, _ in found}) > 1:
            msg = f"--preprocess {word}: several models are called so; say which with --name, or by its whole path"
            raise click.UsageError(msg)
        if found:
            ((place, cut),) = found
            if place in own:
                msg = f"--preprocess {word}: {called[place]} has a recipe already, {own[place].name}"
                raise click.UsageError(msg)
            own[place] = Path(word[cut + 1 :])
        elif cuts and not Path(word).exists():
            msg = f"--preprocess {word}: no model is called '{word[: cuts[0]]}'; the models are {', '.join(called)}"
            raise click.UsageError(msg)
        elif common is not None:
            msg = f"--preprocess {word}: all models have {common.name} already; name one with --preprocess MODEL=FILE"
            raise click.UsageError(msg)
        else:
            common = Path(word)
    return [own.get(i, common) for i in range(len(models))]


def _meant(word: str, models: Sequence[Path], called: Sequence[str]) -> set[int]:
    """Models of that name, of that path, or else of that file name."""
    for names in (called, [str(path) for path in models], [path.name for path in models]):
        found = {i for i, name in enumerate(names) if name == word}
        if found:
            return found
    return set()


def _open_all(
    files: "Sequence[ModelFile]",
    chosen: options.RunOptions,
    recipes: Sequence[Path | None],
    called: Sequence[str],
) -> "tuple[list[Network], ImageSource]":
    """Runnable models, and the images, which are to be the same for all."""
    from specprobe.errors import InputMismatch

    networks: list[Network] = []
    sources: list[ImageSource] = []
    for file, recipe, name in zip(files, recipes, called, strict=True):
        network, images = options.open_run(file, replace(chosen, preprocess=recipe))
        networks.append(network)
        sources.append(images)
        if images.image_shape != sources[0].image_shape:
            continue  # the models themselves are refused for that
        if images.read(0, 1).digests.tobytes() != sources[0].read(0, 1).digests.tobytes():
            msg = (
                f"the recipe of {name} makes other images of the data than that of {called[0]}: they resize or crop "
                "differently. Models are compared on the same images: give them one geometry, or images of the models' size"
            )
            raise InputMismatch(msg)
    return networks, sources[0]
