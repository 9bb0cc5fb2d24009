"""The network of square matrices in Flax NNX; some kept in PyTorch's orientation, some that start as the identity."""

import jax
import jax.numpy as jnp
from flax import nnx


class Highway(nnx.Module):
    def __init__(self, width, *, rngs):
        normal = jax.nn.initializers.lecun_normal()
        self.w_transform = nnx.Param(normal(rngs.params(), (width, width)))  # (out, in)
        self.b_transform = nnx.Param(jnp.zeros(width))
        self.gate = nnx.Linear(width, width, rngs=rngs)
        self.mix = nnx.Param(jnp.eye(width))

    def __call__(self, x):
        gate = nnx.sigmoid(self.gate(x))
        y = jnp.einsum("oi,...i->...o", self.w_transform[...], x)
        y = jnp.tanh(y + self.b_transform[...])
        y = gate * y + (1 - gate) * x
        return y @ self.mix[...]


class Network(nnx.Module):
    def __init__(self, width=8, depth=3, *, rngs):
        self.enter = nnx.Param(jnp.eye(width))  # (out, in)
        self.layers = nnx.List([Highway(width, rngs=rngs) for _ in range(depth)])
        self.leave = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x):
        x = (self.enter[...] @ x.T).T
        for layer in self.layers:
            x = layer(x)
        x = jnp.tanh(self.leave(x))
        return x @ self.enter[...]


def make():
    return Network(rngs=nnx.Rngs(0))


def weights(state):
    leaves = {
        "enter": state["first.weight"],
        "leave/kernel": state["last.weight"].T,
        "leave/bias": state["last.bias"],
    }
    for i in range(3):
        old, new = f"layers.{i}.", f"layers/{i}/"
        leaves[new + "w_transform"] = state[old + "transform.weight"]
        leaves[new + "b_transform"] = state[old + "transform.bias"]
        leaves[new + "gate/kernel"] = state[old + "gate.weight"].T
        leaves[new + "gate/bias"] = state[old + "gate.bias"]
        leaves[new + "mix"] = state[old + "mix"]
    return leaves
