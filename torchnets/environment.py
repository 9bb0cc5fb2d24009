"""What environment variables decide: the device, the meaning of a seed, and the rounding."""

import os

import torch

from data import UserError
from torchnets.input_pipeline import DEVICE

# What changes numbers, in their last bits at least: a run keeps those that are set.
RECORDED = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "CUBLAS_WORKSPACE_CONFIG",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "NVIDIA_TF32_OVERRIDE",
    "NPY_DISABLE_CPU_FEATURES",
)


def start_device() -> None:
    """Start the device.

    Raises:
        UserError: it cannot be started.
    """
    try:
        torch.zeros(1, device=DEVICE)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"PyTorch cannot use the GPU ({reason}); CUDA_VISIBLE_DEVICES= leaves it the CPU") from None


def fix_settings() -> None:
    """Set everything that decides what a seed means: nothing, since no environment variable does."""


def settings() -> dict[str, str]:
    """Return the environment variables, of those that change numbers, that are set."""
    return {name: os.environ[name] for name in RECORDED if name in os.environ}
