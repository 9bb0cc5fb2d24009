"""Files of figures, and what is said of where they come from."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data import UserError
from parity.records.versions import versions

# Of a checkout; absent where the package alone is installed.
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch")

Figures = dict[str, Any]


def about() -> Figures:
    """Return what is said of figures that are made now: date, machine and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(*PACKAGES),
    }


def read_json(path: Path) -> Any:
    """Read a file of figures.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def source(path: Path, found: Any) -> Figures:
    """Return what a file says of its origin: its name, and its command, date, machine and versions if it has them."""
    found = found if isinstance(found, dict) else {}
    said = {name: found[name] for name in ("command", "date", "machine", "versions") if found.get(name)}
    if isinstance(hardware := found.get("hardware"), dict):
        said["machine"] = machine_words(hardware)
    return {"file": shown(path), **said}


def shown(path: Path) -> str:
    """Return a file's name: of a result of this project without the folder of the checkout."""
    try:
        return path.resolve().relative_to(RESULTS.parents[1]).as_posix()
    except ValueError:
        return str(path)


def machine_words(hardware: Figures) -> str:
    """Return a machine in words, from the fields of `parity bench`."""
    cores = f"{hardware['cores']} cores" if "cores" in hardware else ""
    devices = dict.fromkeys(str(hardware.get(name, "")).partition(": ")[2] for name in ("jaxnets", "torchnets"))
    gpus = "" if str(hardware.get("jaxnets", "")).startswith("cpu") else "; ".join(devices)
    return ", ".join(filter(None, [gpus, hardware.get("cpu"), hardware.get("machine"), cores]))
