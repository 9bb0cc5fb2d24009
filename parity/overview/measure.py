"""The checks and the layers of networks, measured now: a process for each core."""

from collections.abc import Sequence
from typing import Any

from data.registry import lookup
from parity.commands.pool import DEVICE, each, set_defaults
from parity.overview.sources import Figures, about
from parity.report.console import load_module

ALL = "all"


def measure(names: Sequence[str]) -> Figures:
    """Return the reports and the errors of the layers of registered networks.

    Raises:
        UserError: no such network.
    """
    with set_defaults(DEVICE):  # before JAX is imported
        known = load_module("suite").names()
        for name in names:
            if name != ALL:
                lookup("model", name, dict.fromkeys(known))
        chosen = known if ALL in names else list(dict.fromkeys(names))
        found = []
        for report, layers in each(measure_network, chosen):
            print(f"{report['name']}: {report['verdict']}", flush=True)
            found.append((report, layers))
    return {
        "source": about(),
        "reports": [report for report, _ in found],
        "layers": {name: layers for name, (_, layers) in zip(chosen, found, strict=True) if layers},
    }


def measure_network(name: str) -> tuple[Figures, Any]:
    """Return the report of a network, and the errors of its layers; None if it has no twin to compare them with."""
    from parity import suite  # here: each worker imports the frameworks for itself
    from parity.checks.layer_errors import measure as measure_layers

    report = suite.check_model(name).to_json()
    comparable = not any(failure["stage"] in ("structure", "copy") for failure in report["failures"])
    return report, measure_layers(name).to_json() if comparable else None
