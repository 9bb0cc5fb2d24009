"""Proof that a PyTorch and a Flax network are the same network, and train the same way.

`to_flax` and `to_torch` copy weights and need numpy alone; `check` needs both frameworks, and loads them on first use.
"""

from typing import TYPE_CHECKING, Any

from jaxnets.hidden_packages import check_packages
from parity.copy import CopyError, to_flax, to_torch

check_packages("torchnets")  # importing `jaxnets` has checked the others

if TYPE_CHECKING:
    from parity.checks import check
    from parity.report import Failure, Report

__all__ = ["CopyError", "Failure", "Report", "check", "to_flax", "to_torch"]


def __getattr__(name: str) -> Any:
    if name == "check":
        from parity.checks import check

        return check
    if name in ("Failure", "Report"):
        from parity import report

        return getattr(report, name)
    raise AttributeError(f"module 'parity' has no attribute '{name}'")
