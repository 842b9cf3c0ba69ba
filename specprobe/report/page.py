"""Results as one web page: no network, works without scripts, equal bytes for equal results."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from specprobe import __version__
from specprobe.errors import DataError
from specprobe.report.figures import draw, save
from specprobe.report.page_tables import Table, estimate, numbers, tables
from specprobe.results import dump_json, from_document

if TYPE_CHECKING:
    import jinja2

__all__ = ["alternative_text", "page"]

_TITLES = {
    "accuracy": ("Accuracy", "How often the model is right."),
    "inspection": ("Inspection", "What is in the file and, with data, how it does on it."),
    "filter_statistics": ("Convolution filters", "What the kernels of the convolutions look like."),
    "fourier_sensitivity": (
        "Fourier sensitivity",
        "Power of the input gradient by spatial frequency: where small changes of the image change the decision.",
    ),
    "fourier_heatmap": (
        "Fourier heat map",
        "Errors with one spatial frequency at a time added to the images.",
    ),
    "band_accuracy": (
        "Band accuracy",
        "Accuracy on filtered images: which frequencies are needed, and which are enough.",
    ),
    "corruption_accuracy": (
        "Corruptions",
        "Accuracy on spoiled images, and the spectrum of what was done to them.",
    ),
    "attack_outcome": ("Attack", "What is left of the accuracy under a search for perturbations."),
    "fourier_mask": (
        "Learned Fourier mask",
        "The frequencies of the images that the decision was learned to keep.",
    ),
    "comparison": (
        "Comparison",
        "Every metric of several models on the same images: paired differences, p-values adjusted for their number.",
    ),
    "audit": ("Audit", "Metrics against their limits."),
}
"""By kind: heading, and what it is."""

_TOLD = 6
"""Metrics that an alternative text tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    source: str
    alt: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    anchor: str
    heading: str
    lead: str
    stem: str
    findings: tuple[Mapping[str, Any], ...]
    tables: tuple[Table, ...]
    figure: _Figure | None
    data: str
    facts: tuple[tuple[str, str], ...]


def page(
    documents: Sequence[Mapping[str, Any]],
    /,
    *,
    results: Sequence[Any] | None = None,
    title: str | None = None,
) -> str:
    """One self-contained page.

    Parameters
    ----------
    documents : sequence of mapping
        As of :func:`specprobe.results.document`; one or more.
    results : sequence of Result, optional
        What they were made of, with arrays that documents lack. Read from the documents if not given.
    title : str, optional
        Of the page; names kinds and models if not given.

    Returns
    -------
    str
        HTML. Asks for nothing outside itself; holds the documents as JSON in the element ``documents``.

    Raises
    ------
    DataError
        If there are no documents, or one is not a result.
    """
    if not documents:
        msg = "there are no results to report"
        raise DataError(msg)
    made = [from_document(content) for content in documents] if results is None else list(results)
    pairs = zip(documents, made, strict=True)
    sections = [_section(content, result, place) for place, (content, result) in enumerate(pairs, 1)]
    names = dict.fromkeys(_name(content) for content in documents)
    script = _asset("page.js")
    return _template().render(
        title=title or ", ".join(names),
        sections=sections,
        style=_asset("page.css"),
        script=_markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        embedded=_markup(_harmless(documents[0] if len(documents) == 1 else list(documents))),
        version=__version__,
    )


def alternative_text(content: Mapping[str, Any], result: Any, /) -> str:
    """What a figure shows, for those who do not see it.

    Parameters
    ----------
    content : mapping
        Document of the result.
    result : Result
        That the figure is of.

    Returns
    -------
    str
        A sentence on what is drawn, and the first numbers.
    """
    heading, lead = _TITLES.get(content["kind"], (content["kind"], ""))
    first = [metric for metric in numbers(result) if metric.value is not None][:_TOLD]
    told = "; ".join(f"{metric.label} {estimate(metric)}" for metric in first)
    return f"Figure: {heading} of {_name(content)}. {lead}" + (f" {told}." if told else "")


def _section(content: Mapping[str, Any], result: Any, place: int) -> _Section:
    kind = content["kind"]
    title, lead = _TITLES.get(kind, (kind.replace("_", " ").capitalize(), ""))
    heading = f"{title}: {_name(content)}"
    body = content["result"]
    return _Section(
        anchor=f"result-{place}",
        heading=heading,
        lead=lead,
        stem=f"{place}-{kind}",
        findings=(*(body.get("flags") or ()), *(body.get("findings") or ())),
        tables=tuple(tables(body, result)),
        figure=_figure(content, result),
        data=_data_uri("application/json", dump_json(content).encode()),
        facts=tuple(
            fact for part in ("model", "data", "provenance") for fact in _facts(content.get(part) or {}, part)
        ),
    )


def _figure(content: Mapping[str, Any], result: Any) -> _Figure | None:
    try:
        drawn = draw(result, title=_name(content))
    except DataError:
        return None  # nothing of it has a shape
    file = io.BytesIO()
    save(drawn, file, suffix=".svg")
    return _Figure(
        source=_data_uri("image/svg+xml", file.getvalue()),
        alt=alternative_text(content, result),
        caption=_TITLES.get(content["kind"], (content["kind"], ""))[0] + ".",
    )


def _name(content: Mapping[str, Any]) -> str:
    models = content.get("model") or {}
    if "file" in models:
        return str(models["file"])
    listed = content["result"].get("models") or []
    return ", ".join(str(m.get("file", m) if isinstance(m, Mapping) else m) for m in listed) or "results"


def _facts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Leaves of nested mappings, under dotted names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _facts(inner, f"{name}.{key}")
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value)
    elif value is not None:
        yield name, str(value)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _harmless(content: Any) -> str:
    """JSON that ends no element and opens no comment, whatever it holds."""
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _markup(text: str) -> Any:
    """Text that is put in as it is: our own script, or what cannot leave its element."""
    import markupsafe

    return markupsafe.Markup(text)


def _asset(name: str) -> Any:
    return _markup(files("specprobe.report").joinpath("templates", name).read_text(encoding="utf-8"))


@cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(str(_asset("page.html.j2")))
