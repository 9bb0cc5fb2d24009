"""Bugs planted in `bare_torch.py` and `bare_jax.py`."""

from tests.ports.bugs.bug import jax_bug, permuted, torch_bug

BUGS = (
    jax_bug(
        "bare-window-one-more",
        "distance < WINDOW)",
        "distance <= WINDOW)",
        (
            "out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)",
            "return (columns <= rows) & (columns > rows - window)",
        ),
        (
            "visible = (distance >= 0) & (distance <= WINDOW)",
            "scores = jnp.where(visible, scores, -jnp.inf)",
            'out = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), v)',
        ),
        "mask",
    ),
    permuted(
        jax_bug(
            "bare-rotary-halves",
            "even, odd = x[..., ::2], x[..., 1::2]",
            "even, odd = jnp.split(x, 2, axis=-1)",
            (
                "turned = pairs * freqs_cis[None, :, None, :]",
                "return torch.view_as_real(turned).flatten(3)",
                "pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))",
            ),
            (
                "even, odd = jnp.split(x, 2, axis=-1)",
                "even * jnp.cos(angles) - odd * jnp.sin(angles)",
                "turned = jnp.stack(",
            ),
            "rotary",
        )
    ),
    jax_bug(
        "bare-mask-after-softmax",
        "    scores = jnp.where(visible, scores, -jnp.inf)\n"
        '    out = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), v)\n',
        "    probs = jnp.where(visible, jax.nn.softmax(scores, axis=-1), 0.0)\n"
        '    out = jnp.einsum("bhts,bshd->bthd", probs, v)\n',
        "out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)",
        (
            "probs = jnp.where(visible, jax.nn.softmax(scores, axis=-1), 0.0)",
            'out = jnp.einsum("bhts,bshd->bthd", probs, v)',
        ),
        "mask",
    ),
    jax_bug(
        "bare-epsilon-outside-the-root",
        "jnp.sqrt(variance + eps)",
        "(jnp.sqrt(variance) + eps)",
        ("x = x + self.attention(self.attention_norm(x))",),
        "return (x - mean) / (jnp.sqrt(variance) + eps) * scale",
        "epsilon",
    ),
    jax_bug(
        "bare-unbiased-variance",
        "x.var(-1, keepdims=True)",
        "x.var(-1, keepdims=True, ddof=1)",
        ("x = x + self.attention(self.attention_norm(x))",),
        ("variance = x.var(-1, keepdims=True, ddof=1)", "return (x - mean) / jnp.sqrt(variance + eps) * scale"),
        "biased",
    ),
    jax_bug(
        "bare-float16",
        'hidden = jnp.square(jax.nn.relu(linear(p["up"], x)))',
        'hidden = jnp.square(jax.nn.relu(linear(p["up"], x)).astype(jnp.float16)).astype(x.dtype)',
        "hidden = F.relu(self.mlp_in(self.mlp_norm(x))).square()",
        'hidden = jnp.square(jax.nn.relu(linear(p["up"], x)).astype(jnp.float16)).astype(x.dtype)',
        "float16",
    ),
    jax_bug(
        "bare-relu-not-squared",
        'hidden = jnp.square(jax.nn.relu(linear(p["up"], x)))',
        'hidden = jax.nn.relu(linear(p["up"], x))',
        "hidden = F.relu(self.mlp_in(self.mlp_norm(x))).square()",
        ('hidden = jax.nn.relu(linear(p["up"], x))', 'return linear(p["down"], hidden)'),
        "square",
    ),
    torch_bug(
        "bare-complex-conjugate",
        "torch.polar(torch.ones_like(angles), angles)",
        "torch.polar(torch.ones_like(angles), -angles)",
        (
            "turned = pairs * freqs_cis[None, :, None, :]",
            "return torch.view_as_real(turned).flatten(3)",
            "return torch.polar(torch.ones_like(angles), -angles)",
        ),
        (
            "even * jnp.cos(angles) - odd * jnp.sin(angles),",
            "turned = jnp.stack(",
            "even * jnp.sin(angles) + odd * jnp.cos(angles),",
        ),
        "rotary",
    ),
)
