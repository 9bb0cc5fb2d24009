"""The other sections of a report: planted bugs, training curves, throughput, and where the figures come from."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity.overview.chart import Line, chart
from parity.overview.throughput import TASKS
from parity.overview.trainings import SPLITS
from parity.pages.table import Cell, Column, table

NAMES = {"jaxnets": "Flax", "torchnets": "PyTorch"}
KINDS = {"jaxnets": "flax", "torchnets": "torch"}
MARKS = {"jaxnets": "round", "torchnets": "square"}
DASHES = {"train": "1.5 3", "validation": "6 3", "test": ""}
QUANTITIES = {"loss": ("loss", 1), "accuracy": ("accuracy in %", 100)}
CODE = re.compile(r"`([^`]+)`")

Figures = Mapping[str, Any]


def planted(tables: Sequence[Figures]) -> str:
    """Return a table of bugs for each kind, with what its file says of it."""
    return "".join(_planted(number, one) for number, one in enumerate(tables))


def _planted(number: int, one: Figures) -> str:
    about = "".join(f"<p>{marked_up(paragraph)}</p>" for paragraph in one["about"])
    columns = [Column(title, numeric=title in ("s", "CPU s", "causes")) for title in one["columns"]]
    about += f"<p>{from_words(one['source'])}</p>"
    return f"<h3>{html.escape(one['title'])}</h3>{about}{table(f'planted-{number}', columns, one['rows'])}"


def marked_up(text: str) -> str:
    """Return a paragraph of Markdown as HTML: `code` alone is marked."""
    return CODE.sub(r"<code>\1</code>", html.escape(text))


def trainings(found: Figures) -> str:
    """Return the curves of each training, both frameworks in one picture."""
    groups: dict[str, list[Figures]] = {}
    for run in found["runs"]:
        groups.setdefault(run["what"], []).append(run)
    if any("folder" in run for run in found["runs"]):
        return "".join(
            f'<h3>{html.escape(what)}</h3>{_folders(runs)}<div class="charts">{_charts(what, runs)}</div>'
            for what, runs in groups.items()
        )
    return f'<div class="charts">{"".join(_charts(what, runs) for what, runs in groups.items())}</div>'


def _charts(what: str, runs: Sequence[Figures]) -> str:
    """Return a picture of the losses, if they are known, and one of the accuracies."""
    charts = []
    for quantity, (words, scale) in QUANTITIES.items():
        lines = [
            _curve(run, split, quantity, scale, alone=_alone(run, runs))
            for split in SPLITS
            for run in runs
            if quantity in run["splits"].get(split, {})
        ]
        if lines:
            charts.append(chart(f"{what}: {quantity}", lines, "epoch", words, notes=list(_options(runs))))
    return "".join(charts)


def _options(runs: Sequence[Figures]) -> Iterator[str]:
    """Yield a line for each training whose options are not the recipe's."""
    for run in runs:
        if options := run.get("options"):
            said = ", ".join(f"{name} {value}" for name, value in options.items())
            yield f"{NAMES.get(run['framework'], run['framework'])} with {said}"


def _alone(run: Figures, runs: Sequence[Figures]) -> bool:
    return sum(other["framework"] == run["framework"] for other in runs) == 1


def _curve(run: Figures, split: str, quantity: str, scale: int, *, alone: bool) -> Line:
    """Return a line: colour and mark are the framework's, dashes the split's; the label ends with the last value."""
    of_split, framework = run["splits"][split], run["framework"]
    pairs = zip(of_split["epoch"], of_split[quantity], strict=True)
    points = [(x, None if y is None else scale * y) for x, y in pairs]
    label = NAMES.get(framework, framework) if alone else f"{NAMES.get(framework, framework)} {run.get('folder', '')}"
    last = points[-1][1] if points else None
    end = " not finite" if last is None else f" {last:.2f}%" if scale == 100 else f" {last:.4f}"
    kind = KINDS.get(framework, "first")
    return Line(f"{label}, {split}:{end}", kind, points, DASHES[split], MARKS.get(framework, "large"))


def _folders(runs: Sequence[Figures]) -> str:
    lines = "<br>".join(map(_folder, [run for run in runs if "folder" in run]))
    return f'<p class="dim">{lines}</p>' if lines else ""


def _folder(run: Figures) -> str:
    """Return where a run is and what it ran on, as HTML."""
    rate = run.get("examples_per_second")
    words = [str(run.get("device") or ""), f"{rate:,.0f} examples/s" if rate else ""]
    words.append(versions_words(run.get("versions") or {}))
    said = html.escape(", ".join(filter(None, words)))
    return f"{NAMES.get(run['framework'], run['framework'])}: <code>{html.escape(run['folder'])}</code>, {said}"


def throughput(files: Sequence[Figures]) -> str:
    """Return a table for each file, with its machine."""
    return "".join(_throughput(number, one) for number, one in enumerate(files))


def _throughput(number: int, found: Figures) -> str:
    of = found["source"]
    columns = [
        Column("network"),
        Column("batch", numeric=True),
        Column("task"),
        Column("Flax", numeric=True, hint="examples a second: median, lowest and highest round"),
        Column("PyTorch", numeric=True, hint="examples a second: median, lowest and highest round"),
        Column("Flax over PyTorch", numeric=True),
    ]
    rows = [
        (
            row["network"],
            row["batch_size"],
            TASKS[row["task"]],
            _rate(row["jaxnets"]),
            _rate(row["torchnets"]),
            _ratio(row),
        )
        for row in found["rows"]
    ]
    precision = found["precision"] + (" with TF32" if found["tf32"] else "")
    said = f"{precision}, examples a second: the median of {found['rounds']} rounds of {found['seconds']:g} s"
    failed = "".join(f'<p class="bad">{html.escape(line)}</p>' for line in found["failed"])
    title = f"{'GPU' if found['device'] == 'gpu' else 'CPU'}: {of.get('machine', 'machine not named')}"
    return (
        f"<h3>{html.escape(title)}</h3><p>{html.escape(said)}, the lowest and highest below it. {from_words(of)}</p>"
        f"{failed}"
        f"{table(f'throughput-{number}', columns, rows, searchable=len(rows) > 8)}"
    )


def _rate(series: Figures) -> Cell:
    ends = f"{series['low']:,.0f} to {series['high']:,.0f}"
    return Cell(f"{series['median']:,.0f}<small>{ends}</small>", series["median"])


def _ratio(row: Figures) -> Cell:
    ratio = row["ratio"]
    faster = "Flax" if ratio["low"] > 1 else "PyTorch" if ratio["high"] < 1 else "neither"
    ends = f"{ratio['low']:.2f} to {ratio['high']:.2f}, {faster} is faster"
    return Cell(f"{ratio['median']:.2f}<small>{ends}</small>", ratio["median"])


def versions_words(versions: Mapping[str, str]) -> str:
    """Return versions in one line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def from_words(of: Figures) -> str:
    """Return where figures come from, as a phrase of HTML."""
    parts = [f"From <code>{html.escape(of['file'])}</code>" if "file" in of else "Measured now"]
    if "command" in of:
        parts.append(f"made by <code>{html.escape(str(of['command']))}</code>")
    if "date" in of:
        parts.append(f"on {html.escape(str(of['date']))}")
    if "machine" in of:
        parts.append(html.escape(str(of["machine"])))
    if "versions" in of:
        parts.append(html.escape(versions_words(of["versions"])))
    return f'<span class="dim">{", ".join(parts)}.</span>'
