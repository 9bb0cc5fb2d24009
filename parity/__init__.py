"""Proof that a PyTorch and a Flax network are the same network, and train the same way.

`to_flax` and `to_torch` copy weights by name and need numpy alone; `check`, `match` and `assert_port` need both
frameworks; `record` and `check_record` need one. All load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from parity.hidden_packages import check_packages

check_packages("data", "experiment", "jaxnets", "torchnets")

if TYPE_CHECKING:
    from parity.copy import CopyError, to_flax, to_torch
    from parity.ports import assert_port, check, match
    from parity.records.either import check_record, record
    from parity.report import Failure, Report

__all__ = [
    "CopyError",
    "Failure",
    "Report",
    "assert_port",
    "check",
    "check_record",
    "match",
    "record",
    "to_flax",
    "to_torch",
]

MODULES = {
    "CopyError": "parity.copy",
    "Failure": "parity.report",
    "Report": "parity.report",
    "assert_port": "parity.ports",
    "check": "parity.ports",
    "check_record": "parity.records.either",
    "match": "parity.ports",
    "record": "parity.records.either",
    "to_flax": "parity.copy",
    "to_torch": "parity.copy",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(MODULES[name]), name)
    raise AttributeError(f"module 'parity' has no attribute '{name}'")
