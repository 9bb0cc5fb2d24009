"""What environment variables decide: the device, the meaning of a seed, and the rounding."""

import os

import jax

from data import UserError

DEVICE = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
# A seed means the same numbers, and the same promotions, whatever JAX_DEFAULT_PRNG_IMPL and the like say.
FIXED = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
}
# What runs once is not worth optimising: measured, weights are there after 1 to 2 s, not 2 to 6.
ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# What else changes numbers, in their last bits at least: a run keeps those that are set.
RECORDED = (
    "XLA_FLAGS",
    "JAX_DISABLE_JIT",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "JAX_OPTIMIZATION_LEVEL",
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT",
    "JAX_SOFTMAX_CUSTOM_JVP",
    "NVIDIA_TF32_OVERRIDE",
    "NPY_DISABLE_CPU_FEATURES",
)


def start_device() -> None:
    """Start the device.

    Raises:
        UserError: it cannot be started; says what was asked for and what there is.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError, ValueError) as error:  # a missing plugin is an AssertionError without words
        asked = " and ".join(f"{name} is '{os.environ[name]}'" for name in DEVICE if os.environ.get(name))
        reason = f" ({' '.join(str(error).split())[:200]})" if str(error) and not asked else ""
        wanted = f"{asked}, but there is no such device here" if asked else f"JAX cannot start{reason}"
        raise UserError(f"{wanted}: JAX finds {_found()}{'; set another, or none' if asked else ''}") from None


def fix_settings() -> None:
    """Set everything that decides what a seed means."""
    for name, value in FIXED.items():
        jax.config.update(name, value)


def settings() -> dict[str, str]:
    """Return the environment variables, of those that change numbers, that are set."""
    return {name: os.environ[name] for name in RECORDED if name in os.environ}


def _found() -> str:
    """Return the platform that JAX would choose by itself."""
    try:
        jax.config.update("jax_platforms", None)
        jax.config.update("jax_platform_name", "")
        return jax.default_backend()
    except (RuntimeError, AssertionError, ValueError):
        return "nothing"
