"""Proof that a PyTorch and a Flax network are the same network, and train the same way.

`to_flax` and `to_torch` copy weights by name and need numpy alone; `check`, `match`, `check_training` and the
others need both frameworks; those of records need one. All load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from parity.hidden_packages import check_packages

check_packages("data", "experiment", "jaxnets", "torchnets")

if TYPE_CHECKING:
    from parity.copy import CopyError, to_flax, to_torch
    from parity.pairs import check
    from parity.ports import assert_port, match
    from parity.records.check_training import check_training_record
    from parity.records.either import check_record, record, record_training
    from parity.report import Failure, Report
    from parity.training.check_training import assert_training, check_training

__all__ = [
    "CopyError",
    "Failure",
    "Report",
    "assert_port",
    "assert_training",
    "check",
    "check_record",
    "check_training",
    "check_training_record",
    "match",
    "record",
    "record_training",
    "to_flax",
    "to_torch",
]

MODULES = {
    "CopyError": "parity.copy",
    "Failure": "parity.report",
    "Report": "parity.report",
    "assert_port": "parity.ports",
    "assert_training": "parity.training.check_training",
    "check": "parity.pairs",
    "check_record": "parity.records.either",
    "check_training": "parity.training.check_training",
    "check_training_record": "parity.records.check_training",
    "match": "parity.ports",
    "record": "parity.records.either",
    "record_training": "parity.records.either",
    "to_flax": "parity.copy",
    "to_torch": "parity.copy",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(MODULES[name]), name)
    raise AttributeError(f"module 'parity' has no attribute '{name}'")
