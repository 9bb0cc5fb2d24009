"""Bugs planted in `dit_torch.py` and `dit_jax.py`."""

from tests.ports.bugs.bug import jax_bug, permuted

BUGS = (
    jax_bug(
        "dit-scale-without-one",
        "h = plain_norm(x) * (1 + scale_m) + shift_m",
        "h = plain_norm(x) * scale_m + shift_m",
        ("return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)",),
        "h = plain_norm(x) * scale_m + shift_m",
    ),
    jax_bug(
        "dit-gate-left-out",
        "x = x + gate_a * self.to_out(h)",
        "x = x + self.to_out(h)",
        "x = x + gate1.unsqueeze(1) * self.attend(modulate(self.norm1(x), shift1, scale1))",
        "x = x + self.to_out(h)",
        "gate",
    ),
    jax_bug(
        "dit-pixels-not-put-back",
        "return x.swapaxes(2, 3).reshape(batch, height, width, channels)",
        "return x.reshape(batch, height, width, channels)",
        (
            "return x.reshape(x.shape[0], self.channels, height, width)",
            'x = torch.einsum("nhwpqc->nchpwq", x)',
            "return self.unpatchify(x, height, width)",
        ),
        (
            "return x.reshape(batch, height, width, channels)",
            "x = self.pixels(x).reshape(batch, rows, columns, p, p, channels)",
        ),
    ),
    jax_bug(
        "dit-norm-epsilon",
        "keepdims=True) + 1e-6)",
        "keepdims=True) + 1e-5)",
        (
            "x = x + gate1.unsqueeze(1) * self.attend(modulate(self.norm1(x), shift1, scale1))",
            'h = F.gelu(self.fc1(modulate(self.norm2(x), shift2, scale2)), approximate="tanh")',
        ),
        "return centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)",
        "epsilon",
    ),
    permuted(
        jax_bug(
            "dit-sine-first",
            "[jnp.cos(phase), jnp.sin(phase)]",
            "[jnp.sin(phase), jnp.cos(phase)]",
            ("return self.mlp(torch.cat([torch.cos(args), torch.sin(args)], dim=-1))",),
            (
                "features = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=1)",
                "return self.fc2(nnx.silu(self.fc1(features)))",
            ),
            "order",
        )
    ),
)
