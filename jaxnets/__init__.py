"""Classic networks as Flax Linen modules, trained by pure, jit-compiled optax steps.

`jaxnets.MODELS` maps a name to its `Entry`; it is filled on first use, so that `--help` waits for no framework.
"""

from typing import Any

from jaxnets.compiler_guard import guard
from jaxnets.hidden_packages import check_packages

check_packages("data", "experiment")
guard()


def __getattr__(name: str) -> Any:
    if name == "MODELS":
        from experiment.registry import find_models

        globals()["MODELS"] = find_models("jaxnets")
        return globals()["MODELS"]
    raise AttributeError(f"module 'jaxnets' has no attribute '{name}'")
