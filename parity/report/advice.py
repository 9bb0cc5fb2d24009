"""What to try when two sides differ: one line for a person or a program that mends the port."""

from typing import Any

# By stage, where neither the cause nor the lines are known.
OF_STAGE = {
    "structure": "give both sides the same weights in the same shapes; or say how a weight is made: --mapping FILE",
    "copy": "say how the weight is made, so that it can be made back: --mapping FILE",
    "forward": "compare what both sides do at this layer, in evaluation mode and with the same input",
    "backward": "the forward pass agrees: look for a stopped gradient or a rule of differentiation",
    "statistics": "compare momentum, variance and mode of the norm layer in a training step",
    "optimizer": "compare the update rule: rate, decay, momentum, epsilon, and in which order they are applied",
    "compiler": "the port is right: --save-script FILE writes a script for a report; see docs/compiler.md",
}


def advice(failure: Any) -> str:
    """Return what to try first."""
    if failure.advice or failure.fault:
        return failure.advice or OF_STAGE["compiler"]
    place = failure.jax_line.place if failure.jax_line else f"{failure.layer} of the JAX side"
    if failure.cause:
        return f"mend {place}: {failure.cause}"
    if failure.torch_line and failure.jax_line:
        return f"let {place} compute what {failure.torch_line.place} computes"
    return OF_STAGE.get(failure.stage, "")
