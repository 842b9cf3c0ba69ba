"""``specprobe audit``: metrics against their limits, for CI."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specprobe_cli import options
from specprobe_cli.output import check_destinations, deliver, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from specprobe.audit.config import Audit
    from specprobe.workflow.auditing import Audited

__all__ = ["command"]

_FILES = {
    "junit": "JUnit XML: one test case for each check and model.",
    "sarif": "SARIF 2.1.0, for code scanning.",
    "gitlab": "GitLab's code quality report, JSON.",
    "markdown": "A table for a comment or a summary.",
}


def _file_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    for name, told in reversed(_FILES.items()):
        option = click.option(f"--{name}", type=click.Path(path_type=Path), metavar="FILE", help=told)
        function = option(function)
    return function


@click.command("audit")
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration; specprobe.toml, or pyproject.toml with [tool.specprobe], here or above by default.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be measured, and what it would take; measure nothing."
)
@click.option("--exit-zero", is_flag=True, help="Leave with 0 whatever is found.")
@_file_options
@click.option(
    "--github", is_flag=True, help="GitHub's annotations on standard output, and the step's summary."
)
@click.option(
    "--update-baseline", is_flag=True, help="Write better values, and missing ones, into the baseline."
)
@click.option("--allow-worse", is_flag=True, help="With --update-baseline: worse values, too.")
@click.option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster that shares the files.")
@options.limits_option
@options.common_options
def command(
    config: Path | None,
    allow_domains: tuple[str, ...],
    dask: str | None,
    destination: tuple[Path, ...],
    *,
    dry_run: bool,
    exit_zero: bool,
    github: bool,
    update_baseline: bool,
    allow_worse: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Path | None,
) -> int:
    """Measure what the checks of a configuration ask for, and tell which limits are kept.

    A check fails only where the whole interval of its metric lies beyond the limit. Leaves with 1 if one does.

    \b
    specprobe audit
    specprobe audit -c specprobe.toml --junit specprobe.xml --sarif specprobe.sarif
    specprobe audit --update-baseline
    """  # noqa: D301 - \b is click's mark for lines to keep
    from specprobe.audit.config import find_config, read_config
    from specprobe.provenance import provenance
    from specprobe.results import document
    from specprobe.workflow.auditing import audit

    check_destinations(destination)
    if allow_worse and not update_baseline:
        msg = "--allow-worse goes with --update-baseline"
        raise click.UsageError(msg)
    for path in files.values():
        if path is not None and not path.parent.is_dir():
            msg = f"there is no folder {path.parent} for {path.name}"
            raise click.UsageError(msg)
    plan = read_config(find_config(Path.cwd()) if config is None else config)
    limits = options.limits_of(allow_domains)
    if dry_run:
        from specprobe.workflow.audit_costs import costs
        from specprobe_cli.audit_table import cost_table

        show(cost_table(costs(plan, limits=limits)))
        return 0
    with (
        options.executor_of(dask) as executor,
        options.task_progress(quiet=quiet or github) as progress,
    ):
        done = audit(
            plan,
            limits=limits,
            update_baseline=update_baseline,
            allow_worse=allow_worse,
            executor=executor,
            progress=progress,
        )
    content = document(
        done.result,
        model={"models": list(done.models)},
        data=done.data,
        provenance=provenance({"config": plan.path.name, **plan.run}, argv=options.command_line()),
    )
    _write_files(done, plan, files)
    if github:
        _github(done, plan)

    def table() -> Any:
        from specprobe_cli.audit_table import audit_table

        return audit_table(content["result"], changes=done.changes, everything=verbose)

    deliver(
        content,
        arrays={},
        table=table,
        results=[done.result],
        destinations=destination,
        as_json=as_json,
        quiet=quiet or github,
    )
    return 0 if exit_zero or done.result.status == "pass" else 1


def _write_files(done: "Audited", plan: "Audit", files: "dict[str, Path | None]") -> None:
    from specprobe import __version__
    from specprobe.audit.ci import code_quality, markdown
    from specprobe.audit.junit import junit
    from specprobe.audit.sarif import sarif
    from specprobe.files import write_atomically
    from specprobe.results import dump_json

    where = _from_root(plan.path)
    texts: dict[str, Callable[[], str]] = {
        "junit": lambda: junit(done.result),
        "sarif": lambda: dump_json(sarif(done.result, config=where, version=__version__)),
        "gitlab": lambda: dump_json(code_quality(done.result, config=where)),
        "markdown": lambda: markdown(done.result),
    }
    for name, path in files.items():
        if path is not None:
            data = texts[name]().encode()
            write_atomically(path, lambda file, data=data: file.write(data))


def _github(done: "Audited", plan: "Audit") -> None:
    """Annotations as GitHub reads them off the output; the summary goes into the file that it names."""
    from specprobe.audit.ci import github_annotations, markdown

    for line in github_annotations(done.result, config=_from_root(plan.path)):
        click.echo(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown(done.result))


def _from_root(path: Path) -> str:
    """Path of the configuration from the root of the repository, as code hosts want it."""
    path = path.resolve()
    for root in path.parents:
        if (root / ".git").exists():
            return path.relative_to(root).as_posix()
    return path.name
