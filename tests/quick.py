"""What makes tests quick: little compiling; most cases of some tests, most examples of some properties are slow."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import hypothesis
import pytest

from parity.sides.compilation import QUICK_COMPILATION as CHECKS_COMPILATION

# Tests spend most of their time in XLA's compiler, and next to none in its programs. A program that is compiled in one
# piece takes an eighth less than in 32, on which several cores could work. jaxlib 0.10 has a second way to make code
# of fused operations: a program of one operation takes 15 ms instead of 45 (with the other flags alone: 35).
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_parallel_codegen_split_count=1"
)
if "xla_cpu_use_fusion_emitters" in CHECKS_COMPILATION:
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false"
ALL = "JAXNETS_ALL_TESTS"  # is in the environment if --slow was given
# One network of each kind of layers, and so of names, layouts and ways to draw initial weights.
FAMILIES = ("airbench", "alexnet_cifar", "ann", "googlenet", "inception", "m5", "resnet18_cifar", "vgg11_bn")


def slow_unless(is_quick: Callable[..., bool], cases: Iterable[Any]) -> list[Any]:
    """Return the cases for `parametrize`, marked slow but those for which `is_quick`, given a case's values, holds."""
    found = []
    for case in cases:
        values = case if type(case) is tuple else (case,)  # a named tuple is one value
        found.append(pytest.param(*values, marks=() if is_quick(*values) else pytest.mark.slow))
    return found


def costly(max_examples: int, quick: int = 8) -> hypothesis.settings:
    """Return settings for a property of which each example compiles a program or trains a network."""
    return hypothesis.settings(max_examples=max_examples if ALL in os.environ else quick)
