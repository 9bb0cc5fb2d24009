"""The throughput of both frameworks, from the JSON of `parity bench`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data import UserError
from parity.overview.sources import RESULTS, Figures, read_json, source

SIDES = ("jaxnets", "torchnets")
TASKS = {  # as in the command's own tables
    "training": "training, batches on the device",
    "inference": "inference, batches on the device",
    "loader": "training with the loader",
    "DataLoader": "the same, against PyTorch eager with DataLoader",
}
SERIES = ("median", "low", "high")


def read_throughput(files: Sequence[Path]) -> tuple[list[Figures], list[str]]:
    """Return what each file measured, and a line if there is no file."""
    found = [read_bench(path) for path in files or sorted(RESULTS.glob("bench-*.json"))]
    return found, [] if found else ["throughput: no file of parity bench --json; give one with --bench FILE"]


def read_bench(path: Path) -> Figures:
    """Return a file's medians and ranges, in examples a second.

    Raises:
        UserError: it is not a file of `parity bench --json`.
    """
    found = read_json(path)
    try:
        rows = [_row(network, task) for network in found["networks"] for task in TASKS if task in _tables(network)]
        failed = [f"{one['name']}: {one.get('why', 'not measured')}" for one in found["networks"] if not one["ok"]]
        about = {name: found[name] for name in ("precision", "tf32", "device", "rounds", "seconds")}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not what parity bench --json writes") from None
    return {"source": source(path, found), **about, "rows": rows, "failed": failed}


def _tables(network: Mapping[str, Any]) -> Mapping[str, Any]:
    return network.get("tables", {}) if network["ok"] else {}


def _row(network: Mapping[str, Any], task: str) -> Figures:
    table = network["tables"][task]
    sides = {side: {name: table[side][name] for name in (*SERIES, "variant")} for side in SIDES}
    ratio = {name: table["ratio"][name] for name in SERIES}
    return {"network": network["name"], "batch_size": network["batch_size"], "task": task, **sides, "ratio": ratio}
