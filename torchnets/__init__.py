"""Classic networks as plain PyTorch modules: the reference that `parity` holds the others against.

`torchnets.MODELS` maps a name to its `Entry`; it is filled on first use, so that `--help` waits for no framework.
"""

from typing import Any

from torchnets.hidden_packages import check_packages

check_packages("data", "experiment")


def __getattr__(name: str) -> Any:
    if name == "MODELS":
        from experiment.registry import find_models

        globals()["MODELS"] = find_models("torchnets")
        return globals()["MODELS"]
    raise AttributeError(f"module 'torchnets' has no attribute '{name}'")
