"""How the checks let XLA compile their programs."""

from typing import Any

import jax

from jaxnets.compiler_guard import OWN_CODE

# Compiling takes four fifths of a check's time, running next to none, so the compiler is told to optimise less. The
# part of XLA that is known to be wrong is turned off: a fault of XLA is no fault of the port, and the check `compiled`
# finds it. From 0.11 on, jaxlib no longer has the last option.
QUICK_COMPILATION: dict[str, Any] = {"xla_backend_optimization_level": 1, **OWN_CODE}
if tuple(map(int, jax.__version__.split(".")[:2])) < (0, 11):
    QUICK_COMPILATION["xla_cpu_use_fusion_emitters"] = False
