"""Results as tables. Names out of a model file are put in as text, never as markup."""

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from specprobe_cli.output import console, interval, number, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

__all__ = ["filter_table", "findings_lines", "inspection_tables"]

SHOWN_LAYERS = 12
_NUMBERS_WIDTH = 66  # all columns but the first
_STYLES = {"note": "dim", "warning": "yellow", "error": "bold red"}


def filter_table(result: "Mapping[str, Any]", title: str, /, *, every_layer: bool) -> "RenderableType":
    """Filter statistics, a row a layer, and the aggregates.

    Parameters
    ----------
    result : mapping
        ``result`` of a document of kind ``filter_statistics``.
    title : str
        Above the table.
    every_layer : bool
        All rows, or the first and last few.

    Returns
    -------
    rich renderable
        A table and a line on BatchNormalization.
    """
    layers = result["layers"]
    if not layers:
        return Text(f"{title}: no convolutions with constant kernels", style="dim")
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    names = max(12, min(44, console().width - _NUMBERS_WIDTH))
    table.add_column("layer", overflow="ellipsis", max_width=names, no_wrap=True)
    for name in ("kernel", "in→out", "groups", "sparsity", "entropy", "ratio", "orthog.", "centre"):
        table.add_column(name, justify="right", no_wrap=True)
    hidden = 0 if every_layer else max(0, len(layers) - SHOWN_LAYERS)
    head = SHOWN_LAYERS * 2 // 3
    for i, layer in enumerate(layers):
        if hidden and head <= i < head + hidden:
            if i == head:
                table.add_row(Text(f"… {hidden} more (-v shows all)", style="dim"))
            continue
        shape = f"{layer['in_channels']}→{layer['out_channels']}"
        table.add_row(
            Text(_tail(layer["name"], names)),
            _kernel(layer["kernel"]),
            shape,
            str(layer["groups"]),
            *_metrics(layer),
        )
    for aggregate in (*result["by_kernel"], result["overall"]):
        kernels = aggregate["kernels"]
        if aggregate is not result["overall"] or len(result["by_kernel"]) > 1:
            label = f"all {_kernel(kernels[0])}" if aggregate is not result["overall"] else "all kernels"
            label += f", {aggregate['filters']} filters"
            table.add_row(Text(label, style="bold"), "", "", "", *_metrics(aggregate))
    folded = {True: "folded", False: "kept as nodes", None: "none found, or folding unknown"}
    note = f"BatchNormalization: {folded[result['batch_norm_folded']]}. Ratio: entropy over that of random filters."
    return Group(table, Text(note, style="dim"))


def inspection_tables(content: "Mapping[str, Any]", /, *, every_layer: bool) -> "RenderableType":
    """An inspection.

    Parameters
    ----------
    content : mapping
        Document of kind ``inspection``.
    every_layer : bool
        Whether to show all layers and findings.

    Returns
    -------
    rich renderable
        Tables one below the other.
    """
    result, model = content["result"], content["model"]
    filters = {**result["filters"], "layers": result["convolutions"]}
    parts: list[RenderableType] = [_facts(result, model), Text("")]
    parts += [filter_table(filters, "Convolution filters", every_layer=every_layer), Text("")]
    if result["accuracy"] is not None:
        parts.append(_accuracy(result, content["data"]))
    parts += _measured(content)
    parts += findings_lines(result["findings"], everything=every_layer)
    return Group(*parts)


def _facts(result: "Mapping[str, Any]", model: "Mapping[str, Any]") -> "RenderableType":
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    operators = sorted(result["operators"].items(), key=lambda item: (-item[1], item[0]))
    functions = f", {result['functions']} local functions inlined" if result["functions"] else ""
    rows = [
        ("model", f"{model['file']}  sha256 {model['sha256'][:12]}…  {size(model['bytes'], 'B', base=1024)}"),
        (
            "format",
            f"opset {result['opset']}, IR {result['ir_version']}, {result['producer'] or 'producer unknown'}",
        ),
        *(("input" if i == 0 else "", _port(port)) for i, port in enumerate(result["inputs"])),
        *(("output" if i == 0 else "", _port(port)) for i, port in enumerate(result["outputs"])),
        ("parameters", size(result["parameters"])),
        ("multiply-adds", f"{size(result['multiply_adds'])} per image"),
        ("operators", ", ".join(f"{name} {count}" for name, count in operators) + functions),
    ]
    if result["quantisation"]:
        rows.append(("quantisation", result["quantisation"]))
    if result["trailing_activation"]:
        rows.append(("logits", f"before the final {result['trailing_activation']}"))
    rows.append(("gradient", _gradient(result["gradient"])))
    for label, text in rows:
        table.add_row(label, Text(text))
    return table


def _tail(name: str, width: int) -> str:
    """The end of a name, which tells layers apart."""
    return name if len(name) <= width else f"…{name[1 - width :]}"


def _gradient(support: "Mapping[str, Any]") -> str:
    if support["supported"] is None:
        return "unknown"
    missing = sorted({entry["operator"] for entry in support["missing"]})
    text = "supported" if support["supported"] else "not supported"
    if missing:
        text += f": no rule for {', '.join(missing)}"
    if support["masking"]:
        text += f", masked by {len(support['masking'])} nodes of zero gradient"
    return text


def _accuracy(result: "Mapping[str, Any]", data: "Mapping[str, Any]") -> "RenderableType":
    detail = result["accuracy_detail"]
    line = Text("accuracy  ", style="bold")
    line.append(interval(result["accuracy"], result["accuracy_interval"]), style="")
    percent = f"{100 * detail['confidence']:g} % interval"
    source = data.get("name", "the data")
    line.append(f"  ({percent}; {detail['correct']} of {detail['images']} images of {source}; ", style="dim")
    line.append(f"chance {detail['chance']:.3f})", style="dim")
    return line


def _measured(content: "Mapping[str, Any]") -> "list[RenderableType]":
    """Tables of the analyses within an inspection."""
    from specprobe_cli.band_table import band_curves, radius_95
    from specprobe_cli.sensitivity_table import sensitivity_profile

    result = content["result"]
    parts: list[RenderableType] = []
    if result["sensitivity"] is not None:
        parts += [
            Text(""),
            sensitivity_profile(result["sensitivity"], "Sensitivity: power of the input gradient"),
        ]
    if result["bands"] is not None:
        parts += [Text(""), *band_curves(result["bands"], "Bands: accuracy on filtered images")]
        parts += radius_95(result["bands"])
    return [*parts, Text("")] if parts else []


def findings_lines(findings: "Sequence[Mapping[str, Any]]", /, *, everything: bool) -> "list[RenderableType]":
    """Findings, a line each.

    Parameters
    ----------
    findings : sequence of mapping
        As in a document.
    everything : bool
        All of them, or the first of each code with the number of its like.

    Returns
    -------
    list of rich renderable
        To be put below a table.
    """
    shown = list(findings) if everything else _grouped(findings)
    lines: list[RenderableType] = []
    for finding in shown:
        line = Text(f"{finding['level']}: ", style=_STYLES[finding["level"]])
        where = f" ({finding['node']})" if finding["node"] else ""
        line.append(f"{finding['message']}{where}", style="")
        lines.append(line)
    return lines


def _grouped(findings: "Sequence[Mapping[str, Any]]") -> "list[Mapping[str, Any]]":
    """The first finding of each code, with the number of its like."""
    first: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for finding in findings:
        code = finding["code"]
        counts[code] = counts.get(code, 0) + 1
        first.setdefault(code, dict(finding))
    for code, finding in first.items():
        if counts[code] > 1:
            finding["message"] += f", and {counts[code] - 1} more like it"
    return list(first.values())


def _metrics(entry: "Mapping[str, Any]") -> list[str]:
    names = ("sparsity", "variance_entropy", "variance_entropy_ratio", "orthogonality", "centre_energy")
    return [number(entry[name]) for name in names]


def _kernel(kernel: "Sequence[int]") -> str:
    return "×".join(map(str, kernel))


def _port(port: "Mapping[str, Any]") -> str:
    shape = (
        "unknown rank"
        if port["shape"] is None
        else "×".join("?" if d is None else str(d) for d in port["shape"])
    )
    return f"{port['name']}  {port['dtype']}  {shape}"
