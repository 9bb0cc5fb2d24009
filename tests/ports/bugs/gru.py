"""Bugs planted in `gru_torch.py` and `gru_jax.py`."""

from tests.ports.bugs.bug import backward, jax_bug

BUGS = (
    jax_bug(
        "gru-backward-not-reversed",
        "run(self.backward_cell, xs, reverse=True)",
        "run(self.backward_cell, xs)",
        "states, _ = self.gru(self.embedding(words))",
        (
            "back = run(self.backward_cell, xs)",
            "hidden = cell(x, hidden)",
            "jax.lax.scan(step, start, xs, reverse=reverse)",
        ),
        "revers",
    ),
    jax_bug(
        "gru-backward-not-turned-back",
        "run(self.backward_cell, xs, reverse=True)",
        "run(self.backward_cell, xs[::-1])",
        ("states, _ = self.gru(self.embedding(words))", "return self.scores(states)"),
        ("back = run(self.backward_cell, xs[::-1])", "both = jnp.concatenate([ahead, back], axis=-1)"),
        "revers",
    ),
    jax_bug(
        "gru-state-not-carried",
        "return hidden, hidden",
        "return jnp.zeros_like(hidden), hidden",
        "states, _ = self.gru(self.embedding(words))",
        ("return jnp.zeros_like(hidden), hidden", "hidden = cell(x, hidden)"),
        "carr",
    ),
    jax_bug(
        "gru-reset-inside-the-product",
        "        hidden = cell(x, hidden)\n",
        "        a, b, c = jnp.split(cell.weight_ih @ x + cell.bias, 3)\n"
        "        d, e, _ = jnp.split(cell.weight_hh @ hidden, 3)\n"
        "        reset, update = jax.nn.sigmoid(a + d), jax.nn.sigmoid(b + e)\n"
        "        inner = jnp.split(cell.weight_hh, 3)[2] @ (reset * hidden) + cell.bias_n\n"
        "        hidden = update * hidden + (1 - update) * jnp.tanh(c + inner)\n",
        "states, _ = self.gru(self.embedding(words))",
        (
            "inner = jnp.split(cell.weight_hh, 3)[2] @ (reset * hidden) + cell.bias_n",
            "hidden = update * hidden + (1 - update) * jnp.tanh(c + inner)",
        ),
        "reset",
    ),
    jax_bug(
        "gru-update-gate-inverted",
        "        hidden = cell(x, hidden)\n",
        "        a, b, c = jnp.split(cell.weight_ih @ x + cell.bias, 3)\n"
        "        d, e, f = jnp.split(cell.weight_hh @ hidden, 3)\n"
        "        reset, update = jax.nn.sigmoid(a + d), jax.nn.sigmoid(b + e)\n"
        "        new = jnp.tanh(c + reset * (f + cell.bias_n))\n"
        "        hidden = update * new + (1 - update) * hidden\n",
        "states, _ = self.gru(self.embedding(words))",
        "hidden = update * new + (1 - update) * hidden",
        "gate",
    ),
    backward(
        jax_bug(
            "gru-state-stopped",
            "hidden = cell(x, hidden)",
            "hidden = cell(x, jax.lax.stop_gradient(hidden))",
            "states, _ = self.gru(self.embedding(words))",
            "hidden = cell(x, jax.lax.stop_gradient(hidden))",
            "stop_gradient",
        )
    ),
)
