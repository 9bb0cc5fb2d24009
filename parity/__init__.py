"""Proof that a PyTorch and a Flax network are the same network, and train the same way.

`to_flax` and `to_torch` copy weights and need numpy alone; `check` needs both frameworks. All load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from parity.hidden_packages import check_packages

check_packages("data", "experiment", "jaxnets", "torchnets")

if TYPE_CHECKING:
    from parity.checks import check
    from parity.copy import CopyError, to_flax, to_torch
    from parity.report import Failure, Report

__all__ = ["CopyError", "Failure", "Report", "check", "to_flax", "to_torch"]

MODULES = {
    "CopyError": "parity.copy",
    "Failure": "parity.report",
    "Report": "parity.report",
    "check": "parity.checks",
    "to_flax": "parity.copy",
    "to_torch": "parity.copy",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(MODULES[name]), name)
    raise AttributeError(f"module 'parity' has no attribute '{name}'")
