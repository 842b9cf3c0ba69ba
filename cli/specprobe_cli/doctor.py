"""``specprobe doctor``: what works here."""

import click

from specprobe_cli.output import show

__all__ = ["command"]

_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}
EXIT_UNAVAILABLE = 5


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """List runtimes, devices, libraries and threads; every device is tried with a session.

    Leaves with 5 where something is in the way of running models.
    """
    from dataclasses import asdict

    from specprobe.runtime.diagnosis import diagnose

    checks = diagnose()
    if as_json:
        from specprobe.results import SCHEMA, dump_json

        click.echo(
            dump_json({"schema": SCHEMA, "kind": "diagnosis", "checks": [asdict(c) for c in checks]}),
            nl=False,
        )
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        for check in checks:
            message = Text(check.message)
            if check.remedy is not None:
                message.append(f"\n{check.remedy}", style="bold" if check.status == "error" else "dim")
            table.add_row(
                Text(check.status, style=_STYLES[check.status]), Text(check.name, style="bold"), message
            )
        show(table)
    if any(check.status == "error" for check in checks):
        ctx.exit(EXIT_UNAVAILABLE)
