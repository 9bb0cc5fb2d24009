"""Bugs planted in `llama_torch.py` and `llama_jax.py`."""

from tests.ports.bugs.bug import Bug, backward, jax_bug, permuted, torch_bug

BUGS = (
    permuted(
        jax_bug(
            "llama-rotary-pairs",
            "x1, x2 = jnp.split(x, 2, axis=-1)\n"
            "    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)",
            "x1, x2 = x[..., ::2], x[..., 1::2]\n"
            "    turned = jnp.stack([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)\n"
            "    return turned.reshape(x.shape)",
            (
                "return x * angles.cos() + rotate_half(x) * angles.sin()",
                "first, second = x.chunk(2, dim=-1)",
                "return torch.cat((-second, first), dim=-1)",
            ),
            (
                "x1, x2 = x[..., ::2], x[..., 1::2]",
                "turned = jnp.stack([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)",
            ),
            "rotary",
        )
    ),
    jax_bug(
        "llama-rotary-base",
        "hidden=44, theta=500.0, *, rngs",
        "hidden=44, theta=10000.0, *, rngs",
        (
            "return x * angles.cos() + rotate_half(x) * angles.sin()",
            "inv_freq = 1.0 / base ** (steps / dim)",
            "angles = torch.outer(positions, inv_freq)",
        ),
        (
            "frequencies = theta**-exponents",
            "return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)",
            "angles = jnp.arange(length)[:, None] * frequencies[None, :]",
            "return jnp.sin(angles)[:, None, :], jnp.cos(angles)[:, None, :]",
        ),
        "base",
    ),
    jax_bug(
        "llama-rotary-backwards",
        "[x1 * cos - x2 * sin, x2 * cos + x1 * sin]",
        "[x1 * cos + x2 * sin, x2 * cos - x1 * sin]",
        ("return x * angles.cos() + rotate_half(x) * angles.sin()", "return torch.cat((-second, first), dim=-1)"),
        "return jnp.concatenate([x1 * cos + x2 * sin, x2 * cos - x1 * sin], axis=-1)",
        "rotary",
    ),
    jax_bug(
        "llama-rotary-not-on-keys",
        "        k = rotate(k, sin, cos)\n",
        "",
        ("k = apply_rope(k, self.rope_theta)", "return x * angles.cos() + rotate_half(x) * angles.sin()"),
        ("scores = jnp.einsum(", "q = rotate(q, sin, cos)", "q = q.reshape(batch, length, self.kv_heads"),
        "rotary",
    ),
    permuted(
        torch_bug(
            "llama-groups-tiled",
            "        k = k.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)\n"
            "        v = v.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)\n",
            "        k = k.repeat(1, self.n_heads // self.n_kv_heads, 1, 1)\n"
            "        v = v.repeat(1, self.n_heads // self.n_kv_heads, 1, 1)\n",
            (
                "k = k.repeat(1, self.n_heads // self.n_kv_heads, 1, 1)",
                "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)",
            ),
            (
                'scores = jnp.einsum("bqkgd,bskd->bkgqs", q, k) * self.head_dim**-0.5',
                "q = q.reshape(batch, length, self.kv_heads",
            ),
            "group",
        )
    ),
    jax_bug(
        "llama-rms-epsilon",
        "*, eps=1e-5",
        "*, eps=1e-6",
        "return self.weight * (x * torch.rsqrt(variance + self.eps))",
        "return x * jax.lax.rsqrt(mean_square + self.eps) * self.scale[...]",
        "epsilon",
    ),
    jax_bug(
        "llama-gelu-for-silu",
        "nnx.silu(gate)",
        "nnx.gelu(gate)",
        "gate = F.silu(self.gate_proj(x))",
        "return self.w_out(nnx.gelu(gate) * up)",
        "silu",
    ),
    jax_bug(
        "llama-mask-off-by-one",
        "mask = jnp.arange(length)[:, None] >= jnp.arange(length)[None, :]",
        "mask = jnp.arange(length)[:, None] > jnp.arange(length)[None, :]",
        "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        (
            "mask = jnp.arange(length)[:, None] > jnp.arange(length)[None, :]",
            "scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)",
            "probs = jax.nn.softmax(scores, axis=-1)",
        ),
        "mask",
    ),
    jax_bug(
        "llama-scale-of-all-heads",
        "self.head_dim**-0.5",
        "x.shape[-1]**-0.5",
        "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        ('scores = jnp.einsum("bqkgd,bskd->bkgqs", q, k) * x.shape[-1]**-0.5', "scores = jnp.where(mask, scores"),
        "scale",
    ),
    jax_bug(
        "llama-residual-from-the-norm",
        "        x = x + self.attention(self.norm1(x))\n",
        "        x = self.norm1(x)\n        x = x + self.attention(x)\n",
        "x = x + self.self_attn(self.input_layernorm(x))",
        "x = x + self.attention(x)",
        "residual",
    ),
    jax_bug(
        "llama-norm-after",
        "return x + self.ffn(self.norm2(x))",
        "return self.norm2(x + self.ffn(x))",
        (
            "return x + self.mlp(self.post_attention_layernorm(x))",
            "variance = x.pow(2).mean(-1, keepdim=True)",
            "gate = F.silu(self.gate_proj(x))",
        ),
        ("return self.norm2(x + self.ffn(x))", "gate, up = jnp.split(self.w_in(x), 2, axis=-1)"),
        "norm",
    ),
    Bug(
        "llama-silu-detached",
        "llama",
        "jax",
        (("nnx.silu(gate) * up", "jax.lax.stop_gradient(nnx.silu(gate)) * up"),),
        ("gate = F.silu(self.gate_proj(x))", "return self.down_proj(gate * self.up_proj(x))"),
        ("return self.w_out(jax.lax.stop_gradient(nnx.silu(gate)) * up)",),
        "stop_gradient",
        backward=True,
    ),
    backward(
        torch_bug(
            "llama-norm-statistics-detached",
            "variance = x.pow(2).mean(-1, keepdim=True)",
            "variance = x.pow(2).mean(-1, keepdim=True).detach()",
            "variance = x.pow(2).mean(-1, keepdim=True).detach()",
            (
                "mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)",
                "return x * jax.lax.rsqrt(mean_square + self.eps) * self.scale[...]",
            ),
            "detach",
        )
    ),
)
