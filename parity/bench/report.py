"""What is printed and drawn of the figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from parity.bench.network import DATA_LOADER, LOADER
from parity.bench.plan import FRAMEWORKS, TASKS, Variant

Row = Mapping[str, Any]
NAMES = {"training": "training", "inference": "inference", LOADER: "end to end", DATA_LOADER: "eager, DataLoader"}
MIB = 2**20


def introduction(sides: Mapping[str, Row], peaks: Mapping[str, Row]) -> str:
    """Return the line that says what is measured on; `peaks` are empty where nothing is."""
    parts = [f"{name} on {side['device']}" for name, side in sides.items()]
    figures = [f"{peak['flops'] / 1e9:,.0f} GFLOP/s, {peak['bandwidth'] / 1e9:,.0f} GB/s" for peak in peaks.values()]
    return "; ".join(": ".join(words) for words in zip(parts, figures, strict=True)) if figures else "; ".join(parts)


def line(row: Row) -> str:
    """Return the line that is printed when a network is done: its ratios, or why it has none."""
    if not row["ok"]:
        return f"{row['name']}: no figure: {row['why']}"
    found = ", ".join(f"{NAMES[name]} {_ratio(table['ratio'])}" for name, table in row["tables"].items())
    return f"{row['name']}: Flax over PyTorch: {found}"


def print_tables(console: Console, found: Row) -> None:
    """Print the tables of all networks, the geometric means, and what was not possible."""
    rows = [row for row in found["networks"] if row["ok"]]
    if rows:
        console.print(_on_device(rows), _end_to_end(rows), _beginnings(rows), sep="\n")
    for name, mean in found["geometric_means"].items():
        networks = "1 network" if len(rows) == 1 else f"{len(rows)} networks"
        words = f"{NAMES[name]}: {mean:.2f}, geometric mean of the ratios of {networks}"
        console.print(words, highlight=False, soft_wrap=True)
    for words in not_possible(found["networks"]):
        console.print(words, highlight=False, markup=False, soft_wrap=True)


def _on_device(rows: Sequence[Row]) -> Table:
    """Return the table of batches that lie on the device."""
    columns = ("network, batch", "", "Flax", "PyTorch", "ratio", "of the roofline", "limited by")
    table = _table("batches on the device: examples a second, median (lowest to highest round)", columns)
    for row in rows:
        for task in TASKS:
            one = row["tables"][task]
            name = f"{row['name']}, {row['batch_size']}" if task == TASKS[0] else ""
            series = [_series(one[side]) for side in FRAMEWORKS]
            shares = ", ".join(f"{one['roofline']['share'][side]:.1%}" for side in FRAMEWORKS)
            table.add_row(name, task, *series, _ratio(one["ratio"]), shares, one["roofline"]["limited_by"])
    return table


def _end_to_end(rows: Sequence[Row]) -> Table:
    """Return the table of trainings that are fed by a loader."""
    columns = ("network", "Flax", "PyTorch", "ratio", "of on-device", "PyTorch eager, DataLoader", "ratio")
    table = _table("training from end to end, with the loader: examples a second", columns)
    for row in rows:
        one, usual = row["tables"][LOADER], row["tables"].get(DATA_LOADER)
        stall = ", ".join(f"{one['stall'][side]:.0%}" for side in FRAMEWORKS)
        others = (_series(usual["torchnets"]), _ratio(usual["ratio"])) if usual else ("not tried", "")
        series = [_series(one[side]) for side in FRAMEWORKS]
        table.add_row(row["name"], *series, _ratio(one["ratio"]), stall, *others)
    return table


def _beginnings(rows: Sequence[Row]) -> Table:
    """Return the table of what there is before the first figure: compiling, the first step; and the memory."""
    columns = (
        "network",
        "",
        "Flax's best",
        "s to the first step",
        "PyTorch's best",
        "s to the first step",
        "peak MiB",
    )
    table = _table("until the first step is done, compiling included (compiling alone); memory of training", columns)
    for row in rows:
        for task in TASKS:
            ours, theirs = (row["tables"][task][side] for side in FRAMEWORKS)
            first = task == TASKS[0]
            cells = (ours["variant"], _first(ours), theirs["variant"], _first(theirs))
            table.add_row(row["name"] if first else "", task, *cells, _memory(row["memory"]) if first else "")
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _series(series: Row) -> str:
    return f"{series['median']:,.0f} ({series['low']:,.0f} to {series['high']:,.0f})"


def _ratio(ratio: Row) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _first(side: Row) -> str:
    return f"{side['first_seconds']:.1f} ({side['compile_seconds']:.1f})"


def _memory(memory: Row) -> str:
    if memory["ratio"] is not None:
        sizes = ", ".join(f"{memory[side]['peak_bytes'] / MIB:,.0f}" for side in FRAMEWORKS)
        return f"{sizes}: {memory['ratio']:.2f}"
    compiled = memory["jaxnets"]["compiled_bytes"]
    return f"{compiled / MIB:,.1f}, -" if compiled is not None else "-"


def not_possible(networks: Sequence[Row]) -> list[str]:
    """Return a line for each mode that could not be run, and why: once, with the networks it concerns."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in networks:
        for trial in row.get("trials", ()):
            if "error" in trial:
                variant = Variant(*(trial[field] for field in Variant._fields))
                networks_of = found.setdefault((variant.framework, variant.mode, trial["error"]), [])
                networks_of.append(row["name"])
    lines = []
    for (framework, mode, error), names in found.items():
        what = f"torch.compile ({mode})" if framework == "torchnets" and mode != "eager" else f"{framework}, {mode}"
        lines.append(f"{what}: not possible here for {', '.join(dict.fromkeys(names))}: {error}")
    return lines


def title(found: Row) -> str:
    """Return the title of the picture."""
    device = found["hardware"]["jaxnets"] if found["device"] == "gpu" else f"{found['hardware']['cores']} CPU cores"
    precision = f"{found['precision']}{' (TF32)' if found['tf32'] else ''}"
    return f"Flax over PyTorch's best, examples a second, {device}, {precision}"


def bars(found: Row) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Return what is drawn: by table, by network the ratio's median, lowest and highest."""
    rows = [row for row in found["networks"] if row["ok"]]
    return {
        words: {
            row["name"]: tuple(row["tables"][name]["ratio"][key] for key in ("median", "low", "high"))
            for row in rows
            if name in row["tables"]
        }
        for name, words in NAMES.items()
    }
