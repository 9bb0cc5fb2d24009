"""Check every registered network and measure its layers: `python -m benchmarks.networks`, half an hour on two cores.

The figures are those of `python -m parity report --networks all`. They are written after each network, and one that is
in the file already is not measured again: what was interrupted goes on. `--seconds 200` measures one after another and
starts none after that time.
"""

import argparse
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from parity.commands.pool import DEVICE, each, set_defaults
from parity.overview.measure import measure_network
from parity.overview.sources import about
from parity.report.console import load_module

RESULTS = Path(__file__).parent / "results" / "parity-cpu.json"
COMMAND = "python -m benchmarks.networks"
INNER = re.compile(r"\{[^{}\[\]]*\}|\[[^{}\[\]]*\]")


def main() -> None:
    """Read the command line, measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: those that the file lacks)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="(default: the committed file)")
    parser.add_argument("--seconds", type=float, metavar="S", help="start no network after S seconds (default: none)")
    arguments = parser.parse_args()
    with set_defaults(DEVICE):  # before JAX is imported
        run(arguments.names, arguments.json, arguments.seconds)


def run(names: Sequence[str], file: Path, seconds: float | None = None) -> None:
    """Measure networks, by default those without layers in the file, and write the file after each."""
    found = json.loads(file.read_text()) if file.exists() else {"reports": [], "layers": {}}
    known = load_module("suite").names()
    chosen = list(names) or [name for name in known if name not in found["layers"]]
    reports = {report["name"]: report for report in found["reports"]}
    for name, (report, layers) in measured(chosen, seconds):
        reports[name] = report
        if layers:
            found["layers"][name] = layers
        machine = f"{about()['machine']}, load {os.getloadavg()[1]:.0f}"
        in_order = {name: found["layers"][name] for name in known if name in found["layers"]}
        said = {"command": COMMAND, **about(), "machine": machine, "networks": known}
        text = to_text({**said, "reports": [reports[name] for name in known if name in reports], "layers": in_order})
        file.write_text(text, encoding="utf-8")
        print(name, report["verdict"], flush=True)
    missing = [name for name in known if name not in found["layers"]]
    print("missing: " + " ".join(missing) if missing else "all networks are measured")


def measured(names: Sequence[str], seconds: float | None) -> Iterator[tuple[str, Any]]:
    """Yield names and measurements: a process for each core, or, with a limit, one after the other."""
    if seconds is None:
        yield from zip(names, each(measure_network, names), strict=True)
        return
    end = monotonic() + seconds
    for name in names:
        if monotonic() > end:
            return
        yield name, measure_network(name)


def to_text(figures: Any) -> str:
    """Return JSON in which each check, each layer's figure and each list of numbers is one line."""
    text = json.dumps(figures, indent=1)
    return INNER.sub(lambda inner: re.sub(r"\s*\n\s*", " ", inner[0]), text) + "\n"


if __name__ == "__main__":
    main()
