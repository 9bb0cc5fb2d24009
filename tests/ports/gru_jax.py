"""The tagger in Equinox: `GRUCell` under `lax.scan`, one sentence at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

ONE_EXAMPLE = True


def run(cell, xs, reverse=False):
    def step(hidden, x):
        hidden = cell(x, hidden)
        return hidden, hidden

    start = jnp.zeros(cell.hidden_size, xs.dtype)
    _, states = jax.lax.scan(step, start, xs, reverse=reverse)
    return states


class Tagger(eqx.Module):
    embedding: eqx.nn.Embedding
    forward_cell: eqx.nn.GRUCell
    backward_cell: eqx.nn.GRUCell
    scores: eqx.nn.Linear

    def __init__(self, words=20, width=6, hidden=10, tags=5, *, key):
        keys = jax.random.split(key, 4)
        self.embedding = eqx.nn.Embedding(words, width, key=keys[0])
        self.forward_cell = eqx.nn.GRUCell(width, hidden, key=keys[1])
        self.backward_cell = eqx.nn.GRUCell(width, hidden, key=keys[2])
        self.scores = eqx.nn.Linear(2 * hidden, tags, key=keys[3])

    def __call__(self, words):
        xs = jax.vmap(self.embedding)(words)
        ahead = run(self.forward_cell, xs)
        back = run(self.backward_cell, xs, reverse=True)
        both = jnp.concatenate([ahead, back], axis=-1)
        return jax.vmap(self.scores)(both)


def make():
    return Tagger(key=jax.random.key(0, impl="unsafe_rbg"))  # compiles in a third of the time


def weights(state):
    leaves = {
        "embedding/weight": state["embedding.weight"],
        "scores/weight": state["scores.weight"],
        "scores/bias": state["scores.bias"],
    }
    for name, suffix in (("forward_cell", ""), ("backward_cell", "_reverse")):
        leaves[name + "/weight_ih"] = state["gru.weight_ih_l0" + suffix]
        leaves[name + "/weight_hh"] = state["gru.weight_hh_l0" + suffix]
        reset, update, new = np.split(state["gru.bias_hh_l0" + suffix], 3)
        carried = np.concatenate([reset, update, np.zeros_like(new)])
        leaves[name + "/bias"] = state["gru.bias_ih_l0" + suffix] + carried
        leaves[name + "/bias_n"] = new
    return leaves
