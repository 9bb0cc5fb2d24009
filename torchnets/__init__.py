"""Classic networks as plain PyTorch modules: the reference that `parity` holds the others against.

`torchnets.MODELS` maps a name to its `Entry`; it is filled on first use, so that `--help` waits for no framework.
`build`, `fit` and `load` are for Python programs: docs/library.md.
"""

from importlib import import_module
from typing import Any

from torchnets.hidden_packages import check_packages

check_packages("data", "experiment")

LIBRARY = ("Result", "build", "fit", "load")  # from the module `library`; docs/library.md


def __dir__() -> list[str]:
    return sorted({*globals(), "MODELS", *LIBRARY})


def __getattr__(name: str) -> Any:
    if name in LIBRARY:
        return getattr(import_module("torchnets.program"), name)
    if name == "MODELS":
        from experiment.registry import find_models

        globals()["MODELS"] = find_models("torchnets")
        return globals()["MODELS"]
    raise AttributeError(f"module 'torchnets' has no attribute '{name}'")
