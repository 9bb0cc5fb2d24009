"""Solutions of lesson 6."""

import jax
import jax.numpy as jnp
import numpy as np
from exercises import Exercise

import torchnets.models.resnet


def block_parameters(c_in, c_out):
    """Return the number of parameters of a basic block."""
    count = 9 * c_in * c_out + 2 * c_out + 9 * c_out * c_out + 2 * c_out
    return count + (c_in * c_out + 2 * c_out if c_in != c_out else 0)


def block_parameters_without_shortcut(c_in, c_out):
    """Leave the shortcut's convolution out: a mistake."""
    return 9 * c_in * c_out + 9 * c_out * c_out + 4 * c_out


def check_block_parameters(answer):
    """Check against the real block."""
    for c_in, c_out in ((64, 64), (64, 128)):
        block = torchnets.models.resnet.BasicBlock(c_in, c_out, 1 if c_in == c_out else 2, 2)
        expected, found = sum(p.numel() for p in block.parameters()), answer(c_in, c_out)
        assert found == expected, f"{c_in} to {c_out} channels: {expected:,} parameters, found {found:,}"


def densely(units, x):
    """Return the output of the last unit; each is given the sum of all before it."""
    total = y = x
    for unit in units:
        y = unit(total)
        total = total + y
    return y


def densely_with_the_last_two(units, x):
    """Add only the input and the output of the unit before: a mistake."""
    y = units[0](x)
    for unit in units[1:]:
        y = unit(x + y)
    return y


def check_densely(answer):
    """Check numbers that can be computed in the head."""
    double = [lambda x: 2 * x] * 3
    assert answer(double[:1], 1.0) == 2, "one unit is given x itself"
    assert answer(double[:2], 1.0) == 6, "the second unit is given 1 + 2"
    found = answer(double, 1.0)
    assert found == 18, f"the third unit is given 1 + 2 + 6, so the result is 18; found {found}"


def rezero(f):
    """Return f with a shortcut, its output scaled by a learned number."""
    return lambda params, x: x + params["a"] * f(params["f"], x)


def rezero_cut_off(f):
    """Stop the gradient at the scaled output, so that `a` never leaves 0: a mistake."""
    return lambda params, x: x + jax.lax.stop_gradient(params["a"] * f(params["f"], x))


def check_rezero(answer):
    """Check the identity at a = 0, a value, and both gradients."""
    layer = answer(lambda w, x: jnp.tanh(x * w))
    x = jnp.array([0.5, -1.0, 2.0])
    zero, half = ({"f": jnp.array(1.5), "a": jnp.array(a)} for a in (0.0, 0.5))
    assert np.allclose(layer(zero, x), x), "at a = 0 the layer must return x"
    assert np.allclose(layer(half, x), x + 0.5 * np.tanh(1.5 * np.asarray(x))), "at a = 0.5 it returns x + f(x) / 2"
    gradient = jax.grad(lambda params: layer(params, x).sum())(zero)
    assert np.allclose(gradient["a"], np.tanh(1.5 * np.asarray(x)).sum()), "at a = 0 the gradient of a is the sum of f"
    assert gradient["f"] == 0, "at a = 0 nothing depends on the weights of f"


EXERCISES = [
    Exercise(block_parameters, check_block_parameters, block_parameters_without_shortcut),
    Exercise(densely, check_densely, densely_with_the_last_two),
    Exercise(rezero, check_rezero, rezero_cut_off),
]
