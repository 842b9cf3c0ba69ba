"""The command line of specprobe: options in, a library call, a table or JSON out. Computes nothing.

A command's module is imported when the command is asked for, so that ``specprobe --help`` answers at once.
"""

import importlib
import sys
import traceback
from typing import Any, NoReturn

import click

from specprobe import __version__, errors

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "inspect": "What is in a model file, its filters, and with data its accuracy.",
    "gradient": "A model together with its input gradient, as a plain ONNX file.",
    "sensitivity": "At which spatial frequencies the decision is sensitive.",
    "heatmap": "Which single frequency, added to the images, makes it err.",
    "bands": "How accurate it stays on low-pass, high-pass and band-pass filtered images.",
    "mask": "Which spatial frequencies are enough for it: a mask learned from its gradient.",
    "attack": "What an attack leaves of its accuracy, and at which frequencies the perturbations lie.",
    "compare": "How models differ on the same images: every metric, with paired intervals and tests.",
    "corruptions": "How accurate it stays on noisy, blurred, foggy, pixelated and compressed images.",
    "filters": "Statistics of convolution filters, and the filters themselves.",
    "audit": "Metrics against their limits: for CI.",
    "report": "Results as one web page that needs no network.",
    "doctor": "Which runtimes, devices and libraries are there, and which really work.",
}

EXIT_BUG = 70
EXIT_INTERRUPTED = 130

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (errors.RecipeError, 2),
    (errors.ConfigError, 2),
    (errors.ModelError, 3),
    (errors.DataError, 4),
    (errors.InputMismatch, 4),
    (errors.CheckpointError, 4),
    (errors.DeviceUnavailable, 5),
    (MemoryError, 5),
    (errors.InvalidNumbers, 6),
)


class _LazyGroup(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"specprobe_cli.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            msg = f"there is no command '{args[0]}'; accepted are {', '.join(COMMANDS)}"
            raise click.UsageError(msg, ctx) from error


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="specprobe")
def cli() -> None:
    """Which spatial frequencies a vision model in ONNX rests on, how robust it is, and why.

    \b
    Exit codes: 0 fine, 1 audit found something, 2 usage, 3 model not readable or not supported, 4 data,
    5 device or runtime not available, 6 numbers not valid, 70 a bug in specprobe, 130 interrupted.
    """  # noqa: D301 - \b is click's mark for lines to keep


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    args : list of str, optional
        Arguments; those of the process if not given.
    """
    words = sys.argv[1:] if args is None else args
    sys.exit(_run(words))


def _run(words: list[str]) -> int:
    try:
        result: Any = cli.main(args=words, prog_name="specprobe", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("specprobe: interrupted; run again with --resume to go on from here", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the last stop: every error leaves by its code
        if "--traceback" in words:
            traceback.print_exception(error)
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: Exception) -> int:
    text = " ".join(str(error).split()) or type(error).__name__
    for kind, code in _EXIT_CODES:
        if isinstance(error, kind):
            click.echo(f"specprobe: {text}", err=True)
            return code
    click.echo(
        f"specprobe: this is a bug in specprobe {__version__}: {type(error).__name__}: {text}; "
        "run again with --traceback and report what it prints",
        err=True,
    )
    return EXIT_BUG
