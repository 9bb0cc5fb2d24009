"""Bugs planted in `square_torch.py` and `square_jax.py`."""

from tests.ports.bugs.bug import Bug, backward, jax_bug, torch_bug

HALVED = (
    "@jax.custom_vjp\ndef halved(x):\n    return x\n\n\n"
    "halved.defvjp(lambda x: (x, None), lambda _, grad: (0.5 * grad,))\n\n\n"
)

BUGS = (
    jax_bug(
        "square-tied-matrix-transposed",
        "return x @ self.enter[...]",
        "return x @ self.enter[...].T",
        "return x @ self.first.weight",
        "return x @ self.enter[...].T",
        "transpos",
    ),
    jax_bug(
        "square-gate-inverted",
        "y = gate * y + (1 - gate) * x",
        "y = (1 - gate) * y + gate * x",
        "y = y * gate + x * (1 - gate)",
        "y = (1 - gate) * y + gate * x",
        "gate",
    ),
    backward(
        torch_bug(
            "square-carry-detached",
            "x * (1 - gate)",
            "x.detach() * (1 - gate)",
            "y = y * gate + x.detach() * (1 - gate)",
            "y = gate * y + (1 - gate) * x",
            "detach",
        )
    ),
    backward(
        Bug(
            "square-gate-halved",
            "square",
            "jax",
            (
                ("gate = nnx.sigmoid(self.gate(x))", "gate = halved(nnx.sigmoid(self.gate(x)))"),
                ("class Highway(nnx.Module):", HALVED + "class Highway(nnx.Module):"),
            ),
            ("gate = torch.sigmoid(self.gate(x))", "y = y * gate + x * (1 - gate)"),
            ("gate = halved(nnx.sigmoid(self.gate(x)))",),
            "rule",
        )
    ),
    backward(
        jax_bug(
            "square-tied-weight-stopped",
            "return x @ self.enter[...]",
            "return x @ jax.lax.stop_gradient(self.enter[...])",
            "return x @ self.first.weight  # tied, the other way round",
            "return x @ jax.lax.stop_gradient(self.enter[...])",
            "stop_gradient",
        )
    ),
)
