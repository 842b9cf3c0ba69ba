"""What commands that measure a model on images have in common, from the opened files to the document."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specprobe_cli import options
from specprobe_cli.output import deliver_measured

if TYPE_CHECKING:
    from rich.console import RenderableType

    from specprobe.graph.load import ModelFile
    from specprobe.protocols import ImageSource
    from specprobe.runtime.network import Network
    from specprobe.streaming import Checkpoint

__all__ = ["Measuring"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """One model and the images that it is measured on.

    Attributes
    ----------
    job : str
        Name of the command.
    chosen : RunOptions
        Of the command line.
    file : ModelFile
        Opened.
    network : Network
        Its runnable form.
    images : ImageSource
        To be read.
    settings : dict
        Of the run, as provenance records them.
    facts : dict
        Of the model.
    """

    job: str
    chosen: options.RunOptions
    file: "ModelFile"
    network: "Network"
    images: "ImageSource"
    settings: dict[str, Any]
    facts: dict[str, Any]

    @classmethod
    def open(
        cls,
        job: str,
        model: Path,
        chosen: options.RunOptions,
        allow_domains: tuple[str, ...],
        asked: Mapping[str, Any],
        /,
    ) -> "Measuring":
        """Open model and images.

        Parameters
        ----------
        job : str
            Name of the command.
        model : pathlib.Path
            The file.
        chosen : RunOptions
            With data.
        allow_domains : tuple of str
            Operator domains to accept beside the usual ones.
        asked : mapping
            Settings of the command's own options, as JSON values.

        Returns
        -------
        Measuring
            Ready to be run.
        """
        from specprobe.graph.load import open_model
        from specprobe.provenance import model_facts

        file = open_model(model, limits=options.limits_of(allow_domains))
        network, images = options.open_run(file, chosen)
        return cls(
            job=job,
            chosen=chosen,
            file=file,
            network=network,
            images=images,
            settings={**chosen.settings(network), **asked},
            facts=model_facts(file, network),
        )

    def checkpoint(self) -> "Checkpoint":
        """Where the partial result of this very run is kept.

        Returns
        -------
        Checkpoint
            Named by model, data and settings.
        """
        from specprobe.provenance import data_facts
        from specprobe.streaming import Checkpoint

        run_id = {
            "job": self.job,
            "model": self.facts,
            "data": data_facts(self.images),
            "settings": self.settings,
        }
        return Checkpoint.of(run_id, resume=self.chosen.resume)

    @contextmanager
    def running(self, *, quiet: bool, label: str | None = None) -> Iterator[dict[str, Any]]:
        """Executor and progress bar while it runs.

        Parameters
        ----------
        quiet : bool
            From ``--quiet``.
        label : str, optional
            Of the progress bar; the job if not given.

        Yields
        ------
        dict
            ``batch_size``, ``executor``, ``checkpoint`` and ``progress``, as analyses of streamed images take them.
        """
        with (
            options.executor_of(self.chosen.dask) as executor,
            options.progress_bar(self.images.images, label or self.job, quiet=quiet) as progress,
        ):
            yield {
                "batch_size": self.chosen.batch_size,
                "executor": executor,
                "checkpoint": self.checkpoint(),
                "progress": progress,
            }

    def deliver(
        self,
        result: Any,
        table: "Callable[[Mapping[str, Any]], RenderableType]",
        /,
        *,
        destinations: Sequence[Path],
        as_json: bool,
        quiet: bool,
    ) -> None:
        """Write, print and show what was measured.

        Parameters
        ----------
        result : Packable
            With ``arrays`` and the images' digests.
        table : callable
            Makes what people see, of the document.
        destinations : sequence of pathlib.Path
            From ``-o``.
        as_json, quiet : bool
            From ``--json`` and ``--quiet``.
        """

        def told(content: Mapping[str, Any]) -> "RenderableType":
            from rich.console import Group

            from specprobe.findings import Finding
            from specprobe_cli.tables import findings_lines

            warnings = [finding for finding in self.facts["findings"] if finding["level"] != "note"]
            unlisted = self.images.describe().get("unlisted_pictures")
            if unlisted:
                message = f"{unlisted} pictures are left out: the table of labels does not name them"
                left_out = Finding(level="warning", code="unlisted-pictures", message=message)
                warnings.append(left_out.to_dict())
            return Group(table(content), *findings_lines(warnings, everything=False))

        deliver_measured(
            result,
            title=self.file.path.name,
            model=self.facts,
            images=self.images,
            settings=self.settings,
            argv=options.command_line(),
            table=told,
            destinations=destinations,
            as_json=as_json,
            quiet=quiet,
        )
