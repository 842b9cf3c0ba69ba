"""Options that mean the same in every command, and what they stand for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from specprobe.runtime.device import MOST_THREADS

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from specprobe.graph.limits import Limits
    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.recipe import Preprocessing
    from specprobe.runtime.network import Network

__all__ = [
    "RunOptions",
    "common_options",
    "data_options",
    "limits_option",
    "model_argument",
    "numbers",
    "open_run",
    "recipe_options",
    "target_option",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Numbers(click.ParamType[tuple[float, ...]]):
    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not a number or a list such as 0.485,0.456,0.406", param, ctx)


class _Size(click.ParamType[tuple[int, int]]):
    name = "H,W"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).replace("x", ",").split(",")
        try:
            sizes = [int(part) for part in parts]
        except ValueError:
            sizes = []
        if len(sizes) not in {1, 2} or min(sizes) < 1:
            self.fail(f"'{value}' is not a size such as 224 or 224,320", param, ctx)
        return sizes[0], sizes[-1]


class _Resize(_Size):
    name = "N|H,W"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        sides = super().convert(value, param, ctx)
        return sides[0] if str(value).isdecimal() else sides


class _Assignment(click.ParamType[tuple[str, float]]):
    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, separator, number = str(value).rpartition("=")
        try:
            return name, float(number if separator and name else "none")
        except ValueError:
            self.fail(f"'{value}' is not of the form NAME=NUMBER", param, ctx)


numbers = _Numbers()
model_argument = click.argument("model", type=click.Path(path_type=Path))
limits_option = click.option(
    "--allow-domain",
    "allow_domains",
    multiple=True,
    metavar="DOMAIN",
    help="Operator domain to accept beside ai.onnx, ai.onnx.ml and com.microsoft; repeatable.",
)


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


recipe_options = _all(
    click.option("--mean", type=numbers, help="Mean of pixels in [0, 1], one number or one a channel."),
    click.option("--std", type=numbers, help="Standard deviation of pixels in [0, 1], likewise."),
    click.option("--range", "range_", metavar="1|255|-1:1", help="What the model takes for pixels 0 to 1."),
    click.option("--layout", type=click.Choice(["NCHW", "NHWC", "flat", "flat-column-major"])),
    click.option("--channel-order", type=click.Choice(["RGB", "BGR", "grey"])),
    click.option(
        "--size", type=_Size(), help="Height and width of pictures, where the model leaves them open."
    ),
    click.option(
        "--resize", type=_Resize(), help="Resize pictures: shortest edge, or height and width. Not of arrays."
    ),
    click.option(
        "--crop", type=_Size(), help="Then crop pictures about the middle: side, or height and width."
    ),
    click.option(
        "--preprocess",
        type=click.Path(path_type=Path),
        help="Recipe file: TOML or JSON, timm's config.json, Hugging Face's preprocessor_config.json.",
    ),
    click.option(
        "--input", "input_name", metavar="NAME", help="The image input, where the model has several."
    ),
    click.option(
        "--output", "output_name", metavar="NAME", help="The logits: an output, or any tensor inside."
    ),
    click.option(
        "--set",
        "fixed_inputs",
        type=_Assignment(),
        multiple=True,
        help="Number that fills a further input; repeatable.",
    ),
)

data_options = _all(
    click.option(
        "--data",
        metavar="SRC",
        help="Images: .npz, .npy, a folder, a picture, CIFAR-10 binary, MNIST idx, .parquet.",
    ),
    click.option("--labels", type=click.Path(path_type=Path), help="Labels kept apart: CSV, TSV, TXT, .npy."),
    click.option(
        "--class-map",
        type=click.Path(path_type=Path),
        help="JSON or TOML: label or folder name to model class.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first so many images."),
)

run_options = _all(
    click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True),
    click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda[:i]|auto"),
    click.option(
        "--threads",
        type=click.IntRange(1, MOST_THREADS),
        help="For one operator; all processors by default.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    click.option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster that shares the files."),
    click.option("--resume", is_flag=True, help="Go on from where the same run was interrupted."),
)

target_option = click.option(
    "--target",
    type=click.Choice(["true", "predicted"]),
    help="Class that errors, losses and attacks are of: the label, or the model's own answer; the label where there are "
    "labels.",
)

common_options = _all(
    click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
    click.option(
        "-o",
        "destination",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Write the result to FILE; its suffix says how. Repeatable.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress, no table."),
    click.option("-v", "--verbose", is_flag=True, help="Every layer and every finding."),
    click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the recipe, data and run options say."""

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    range_: str | None
    layout: Any
    channel_order: Any
    size: tuple[int, int] | None
    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    preprocess: Path | None
    input_name: str | None
    output_name: str | None
    fixed_inputs: tuple[tuple[str, float], ...]
    data: str | None
    labels: Path | None
    class_map: Path | None
    limit: int | None
    batch_size: int
    device: str
    threads: int | None
    seed: int
    dask: str | None
    resume: bool

    def recipe(self) -> "Preprocessing":
        """Recipe of the file, overridden by the options."""
        from specprobe.recipe import Preprocessing, parse_range, with_options
        from specprobe.recipe_files import read_recipe

        recipe = Preprocessing() if self.preprocess is None else read_recipe(self.preprocess)
        given: dict[str, Any] = {} if self.crop is None else {"crop": self.crop}
        if self.resize is not None:
            given |= {"resize": self.resize, "edge": "shortest"}
        return with_options(
            recipe,
            mean=self.mean,
            std=self.std,
            range=None if self.range_ is None else parse_range(self.range_),
            layout=self.layout,
            channel_order=self.channel_order,
            size=self.size,
            geometry=replace(recipe.geometry, **given) if given else None,
        )

    def settings(self, network: "Network") -> dict[str, Any]:
        """What provenance records of the run."""
        from specprobe.runtime.device import available_threads
        from specprobe.streaming import SHARD_IMAGES

        return {
            "device": str(network.device),
            "threads": self.threads or available_threads(),
            "batch_size": self.batch_size,
            "shard_images": SHARD_IMAGES,
            "limit": self.limit,
            "seed": self.seed,
            "dask": self.dask is not None,
        }


def limits_of(allow_domains: tuple[str, ...]) -> "Limits":
    """Default caps, with further operator domains."""
    from specprobe.graph.limits import Limits

    return replace(Limits(), allowed_domains=frozenset(allow_domains))


def open_run(file: "ModelFile", options: RunOptions) -> "tuple[Network, ImageSource]":
    """The runnable model and the images that the options name."""
    from specprobe.workflow.opening import open_pair

    return open_pair(
        file,
        str(options.data),
        recipe=options.recipe(),
        labels=options.labels,
        class_map=options.class_map,
        limit=options.limit,
        input_name=options.input_name,
        output_name=options.output_name,
        fixed_inputs=dict(options.fixed_inputs),
        device=options.device,
        threads=options.threads,
    )


@contextmanager
def executor_of(dask: str | None) -> "Iterator[Executor | None]":
    """Executor of a Dask cluster, or None for this process."""
    with ExitStack() as stack:
        if dask is None:
            yield None
            return
        try:
            from distributed import Client
        except ImportError as error:
            msg = f'--dask needs the package distributed ({error}); run: pip install "specprobe[dask]"'
            raise click.UsageError(msg) from error
        try:
            client = stack.enter_context(Client(dask, timeout=10))
        except (OSError, ValueError) as error:
            msg = f"no Dask scheduler answers at {dask}: {error}"
            raise click.UsageError(msg) from error
        yield stack.enter_context(client.get_executor(pure=False))


@contextmanager
def progress_bar(total: int, label: str, *, quiet: bool) -> "Iterator[Callable[[int], None] | None]":
    """A progress bar on standard error, where that is a terminal."""
    with task_progress(label, total, quiet=quiet) as told:
        yield None if told is None else lambda done: told(label, done, total)


@contextmanager
def task_progress(
    label: str = "", total: int | None = None, *, quiet: bool
) -> "Iterator[Callable[[str, int, int], None] | None]":
    """A progress bar over one task after another, on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def told(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        yield told


def command_line() -> list[str]:
    """Arguments of this process, for the provenance."""
    return ["specprobe", *sys.argv[1:]]
