"""``specprobe gradient``: the input gradient of a model, as a plain ONNX file."""

from pathlib import Path

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, show

__all__ = ["command"]


@click.command("gradient")
@options.model_argument
@click.option(
    "-o", "destination", type=click.Path(path_type=Path), required=True, metavar="OUT.onnx", help="Where to."
)
@click.option(
    "--loss",
    type=click.Choice(["vjp", "cross-entropy", "margin", "dlr", "targeted-dlr", "logit"]),
    default="vjp",
    show_default=True,
    help="Loss of the logits; vjp takes a cotangent as a further input instead.",
)
@click.option("--of", metavar="NAME", help="Tensor to differentiate: an output, or any tensor inside.")
@click.option(
    "--wrt", multiple=True, metavar="NAME", help="Input or initializer; all inputs by default. Repeatable."
)
@click.option(
    "--for",
    "device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Device to choose operators for. The file runs on any.",
)
@click.option("--check", is_flag=True, help="Compare with central differences along a random direction.")
@options.limits_option
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from.")
def command(
    model: Path,
    destination: Path,
    loss: str,
    of: str | None,
    wrt: tuple[str, ...],
    device: str,
    allow_domains: tuple[str, ...],
    *,
    check: bool,
    quiet: bool,
) -> None:
    """Write MODEL together with its gradient to OUT.onnx, in standard operators, for any ONNX runtime.

    The file keeps the names of MODEL's inputs and outputs. With a loss it has further inputs labels (and targets) and
    outputs loss (one number an example) and d_<input>; without one, an input cotangent and outputs d_<input>.
    """
    from specprobe.autodiff import gradient_names, with_gradient
    from specprobe.graph.load import open_model
    from specprobe.graph.save import save_model
    from specprobe.workflow.gradient import check_gradient, raise_checked, simplify_checked

    check_destinations([destination], suffixes=(".onnx",))
    file = open_model(model, limits=options.limits_of(allow_domains))
    floor = raise_checked(file.model)
    chosen = None if loss == "vjp" else loss
    simple = simplify_checked(floor, of=of, wrt=wrt)
    gradient = with_gradient(simple, of=of, wrt=list(wrt) or None, loss=chosen, device=device)
    error = None
    if check:
        error = check_gradient(floor, gradient, of=of)
    written = save_model(gradient, destination)
    if quiet:
        return
    from rich.text import Text

    names = gradient_names(gradient)
    made = ", ".join(f"{new} (gradient of {old})" for old, new in names["gradients"].items())
    further = ", ".join(
        f"{key} '{name}'" for key, name in names.items() if key not in {"gradients", "estimates"}
    )
    show(
        Text(
            f"wrote {', '.join(path.name for path in written)}: {len(gradient.graph)} nodes; outputs {made}; {further}"
        )
    )
    for operator, estimate in names.get("estimates", {}).items():
        show(Text(f"note: {operator} has no derivative of use; its gradient is an estimate ({estimate})"))
    if error is not None:
        show(
            Text(
                f"relative error against central differences: {error[0]:.1e} (step {error[1]:g} along a random direction)"
            )
        )
