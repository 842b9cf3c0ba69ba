"""``specprobe attack``: what an attack leaves standing."""

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from specprobe_cli import options
from specprobe_cli.measuring import Measuring
from specprobe_cli.output import check_destinations

__all__ = ["command"]

ATTACKS = (
    *("fgsm", "pgd", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "deepfool", "square", "universal"),
    "standard",
)


class _Size(click.ParamType[float]):
    """A size in pixels of [0, 1], written as a fraction or a decimal number."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            size = float(Fraction(str(value).replace(" ", "")))
        except (ValueError, ZeroDivisionError, OverflowError):
            size = math.nan
        if not 0 < size < math.inf:
            self.fail(f"'{value}' is not a size above 0 such as 8/255 or 0.03", param, ctx)
        return size


class _Frequency(click.ParamType[tuple[int, int]]):
    name = "frequency"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            f_y, f_x = (int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not a vertical and a horizontal frequency such as 3,-5", param, ctx)
        return f_y, f_x


@click.command("attack")
@options.model_argument
@options.data_options
@options.target_option
@click.option(
    "--attack",
    "name",
    type=click.Choice(ATTACKS),
    default="standard",
    show_default=True,
    help="standard is apgd-ce, apgd-t, fab-t and square in turn, each on what those before it have left.",
)
@click.option(
    "--norm",
    type=click.Choice(["linf", "l2", "l1"]),
    default="linf",
    show_default=True,
    help="Of a perturbation, over all pixels and channels.",
)
@click.option(
    "--epsilon",
    type=_Size(),
    metavar="8/255",
    help="Largest norm, in pixels of [0, 1]; 8/255 for linf by default, to be given for other norms.",
)
@click.option(
    "--band",
    metavar="0:8|dct:0.25",
    help="Confine perturbations to frequencies low <= radius < high in cycles per image, or to the lowest part of the "
    "DCT's rows and columns.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Iterations; pgd 40, deepfool 50, others 100 by default."
)
@click.option(
    "--step-size", type=_Size(), metavar="2/255", help="Of pgd; chosen by epsilon and steps by default."
)
@click.option(
    "--early-stop/--all-steps",
    "early_stop",
    default=None,
    help="Of pgd: leave an image that has fallen at that, the default; or take all steps, for the spectrum.",
)
@click.option(
    "--restarts",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Each on the images that still stand.",
)
@click.option(
    "--queries",
    type=click.IntRange(min=1),
    help="Candidates of square that are classified for an image, 5000 by default; frequencies that universal tries, 128.",
)
@click.option(
    "--frequency",
    type=_Frequency(),
    metavar="Y,X",
    help="Of universal, in cycles per image; the one that turns the most images by default.",
)
@click.option(
    "--keep-images/--no-keep-images",
    default=True,
    help="Whether -o FILE.npz holds all images as attacked; memory then grows with their number.",
)
@options.recipe_options
@options.run_options
@options.limits_option
@options.common_options
def command(
    model: Path,
    target: Any,
    name: str,
    norm: Any,
    epsilon: float | None,
    band: str | None,
    steps: int | None,
    step_size: float | None,
    early_stop: bool | None,
    restarts: int,
    queries: int | None,
    frequency: tuple[int, int] | None,
    allow_domains: tuple[str, ...],
    destination: tuple[Path, ...],
    *,
    keep_images: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **run: Any,
) -> None:
    """Accuracy of MODEL under attack, and the spectrum of the perturbations.

    \b
    specprobe attack model.onnx --data test.npz --attack pgd --epsilon 8/255
    specprobe attack model.onnx --data test.npz --limit 1000 -o attack.json -o attack.png
    specprobe attack model.onnx --data test.npz --attack pgd --norm l2 --epsilon 0.5 --band 0:8
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.attacks.norms import threat_of
    from specprobe.attacks.run import attack
    from specprobe.graph.survey import survey
    from specprobe.results import finite

    check_destinations(destination)
    keep_images = keep_images and any(path.suffix == ".npz" for path in destination)
    chosen = options.RunOptions(**run)
    if chosen.data is None:
        msg = "attack needs images to perturb: --data SRC"
        raise click.UsageError(msg)
    asked: dict[str, Any] = {
        "steps": steps,
        "step_size": step_size,
        "early_stop": early_stop,
        "queries": queries,
        "frequency": frequency,
    }
    _check_settings(name, asked, restarts=restarts, banded=band is not None)
    epsilon = _epsilon(norm, epsilon)
    recorded = {
        **finite(
            {"attack": name, "norm": norm, "epsilon": epsilon, "band": band, "restarts": restarts, **asked}
        ),
        "target": target,
        "keep_images": keep_images,
    }
    measuring = Measuring.open("attack", model, chosen, allow_domains, recorded)
    try:
        threat = threat_of(norm, epsilon, band=band, shape=measuring.images.image_shape)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with measuring.running(quiet=quiet, label=f"attack {name}") as given:
        result = attack(
            measuring.network,
            measuring.images,
            attack=name,
            threat=threat,
            restarts=restarts,
            target=target,
            seed=chosen.seed,
            keep_images=keep_images,
            findings=survey(measuring.file).findings,
            **given,
            **asked,
        )

    def table(content: Mapping[str, Any]) -> Any:
        from specprobe_cli.attack_table import attack_tables

        return attack_tables(content, everything=verbose)

    measuring.deliver(result, table, destinations=destination, as_json=as_json, quiet=quiet)


def _check_settings(name: str, asked: dict[str, Any], *, restarts: int, banded: bool) -> None:
    """Refuse settings that the attack does not take, before anything is opened."""
    from specprobe.attacks.catalogue import Settings, members_of

    try:
        members_of(name, Settings(**asked), restarts=restarts, banded=banded)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _epsilon(norm: str, epsilon: float | None) -> float:
    if epsilon is None:
        if norm == "linf":
            return 8 / 255
        msg = (
            f"--epsilon has to be given for --norm {norm}, in pixels of [0, 1]; 8/255 is the default of linf"
        )
        raise click.UsageError(msg)
    if norm == "linf" and epsilon > 1:
        msg = (
            f"--epsilon {epsilon:g} is more than pixels can change: they are in [0, 1]; {epsilon:g} of 255 grey levels are "
            f"--epsilon {epsilon:g}/255"
        )
        raise click.UsageError(msg)
    return epsilon
