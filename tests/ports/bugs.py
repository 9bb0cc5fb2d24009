"""Bugs planted in the pairs of this folder: edits of one file, and the two lines at which the sides part.

`torch_lines` and `jax_lines` are texts, each on one line of the file after the edit. The first is the line
at fault; the others are as good: where a wrong table meets the data, or the next line, where something
is left out. `word` (in any case) is to be in the diagnosis; "" asks for none. `backward`: only gradients are wrong.
"""

from pathlib import Path
from typing import NamedTuple

from tests.ports import FOLDER


class Bug(NamedTuple):
    """One planted bug."""

    name: str
    pair: str
    side: str  # "torch" or "jax"
    edits: tuple[tuple[str, str], ...]  # (old, new); each old text occurs once
    torch_lines: tuple[str, ...]
    jax_lines: tuple[str, ...]
    word: str = ""
    backward: bool = False

    def write(self, folder: Path) -> None:
        """Write both files of the pair, one of them edited."""
        for side in ("torch", "jax"):
            text = (FOLDER / f"{self.pair}_{side}.py").read_text()
            for old, new in self.edits if side == self.side else ():
                assert text.count(old) == 1, f"{self.name}: {text.count(old)} times {old!r}"
                text = text.replace(old, new)
            for snippet in self.torch_lines if side == "torch" else self.jax_lines:
                assert "\n" not in snippet
                assert text.count(snippet) == 1, f"{self.name}: {text.count(snippet)} times {snippet!r} in {side}"
            (folder / f"{self.pair}_{side}.py").write_text(text)


def jax_bug(
    name: str, old: str, new: str, torch_lines: str | tuple[str, ...], jax_lines: str | tuple[str, ...], word: str = ""
) -> Bug:
    """An edit of the JAX file; the pair is the first word of the name."""
    return Bug(name, name.split("-")[0], "jax", ((old, new),), _lines(torch_lines), _lines(jax_lines), word)


def torch_bug(
    name: str, old: str, new: str, torch_lines: str | tuple[str, ...], jax_lines: str | tuple[str, ...], word: str = ""
) -> Bug:
    """An edit of the PyTorch file."""
    return jax_bug(name, old, new, torch_lines, jax_lines, word)._replace(side="torch")


def _lines(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


GPT = (
    jax_bug(
        "gpt-attention-scale-missing",
        "        query = query / jnp.sqrt(head_dim)\n",
        "",
        "scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])",
        ('logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)', "logits = jnp.where(causal, logits, -1e30)"),
        "scale",
    ),
    jax_bug(
        "gpt-attention-scale-twice",
        "weights = jax.nn.softmax(logits, axis=-1)",
        "weights = jax.nn.softmax(logits / jnp.sqrt(head_dim), axis=-1)",
        "attention = F.softmax(scores, dim=-1)",
        "weights = jax.nn.softmax(logits / jnp.sqrt(head_dim), axis=-1)",
        "scale",
    ),
    jax_bug(
        "gpt-softmax-axis",
        "weights = jax.nn.softmax(logits, axis=-1)",
        "weights = jax.nn.softmax(logits, axis=-2)",
        "attention = F.softmax(scores, dim=-1)",
        "weights = jax.nn.softmax(logits, axis=-2)",
        "axis",
    ),
    jax_bug(
        "gpt-not-causal",
        "causal = jnp.tril(jnp.ones((length, length), dtype=bool))",
        "causal = jnp.ones((length, length), dtype=bool)",
        ('scores = scores.masked_fill(~self.mask[:, :, :length, :length], float("-inf"))', "attention = F.softmax("),
        (
            "causal = jnp.ones((length, length), dtype=bool)",
            "logits = jnp.where(causal, logits, -1e30)",
            "weights = jax.nn.softmax(logits, axis=-1)",
        ),
        "causal",
    ),
    jax_bug(
        "gpt-exact-gelu",
        "y = nn.gelu(y)",
        "y = nn.gelu(y, approximate=False)",
        'hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")',
        "y = nn.gelu(y, approximate=False)",
        "tanh",
    ),
    jax_bug(
        "gpt-layer-norm-epsilon",
        'y = nn.LayerNorm(epsilon=1e-5, name="norm_mlp")(x)',
        'y = nn.LayerNorm(name="norm_mlp")(x)',
        'hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")',
        'y = nn.LayerNorm(name="norm_mlp")(x)',
        "epsilon",
    ),
    jax_bug(
        "gpt-residual-left-out",
        'y = nn.Dense(x.shape[-1], name="down")(y)\n        return x + y',
        'y = nn.Dense(x.shape[-1], name="down")(y)\n        return y',
        "return x + self.c_proj(hidden)",
        (
            "return y",
            'y = nn.Dense(x.shape[-1], name="down")(y)',
            'x = TransformerBlock(self.num_heads, name=f"block_{i}")(x)',
        ),
        "residual",
    ),
    jax_bug(
        "gpt-positions-from-one",
        "positions = jnp.arange(tokens.shape[1])",
        "positions = jnp.arange(tokens.shape[1]) + 1",
        ("x = self.wte(idx) + self.wpe(positions)", "positions = torch.arange(idx.shape[1], device=idx.device)"),
        (
            "positions = jnp.arange(tokens.shape[1]) + 1",
            'nn.Embed(self.max_length, self.dim, name="positions")(positions)',
        ),
        "position",
    ),
    torch_bug(
        "gpt-head-not-tied",
        "        self.lm_head.weight = self.wte.weight\n",
        "",
        "return self.lm_head(self.ln_f(x))",
        "return embed.attend(x)",
        "tied",
    ),
)

LLAMA = (
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
)

VIT = (
    jax_bug(
        "vit-mean-for-class-token",
        "x = x[:, 0]",
        "x = x.mean(axis=1)",
        "return self.head(x[:, 0])",
        "x = x.mean(axis=1)",
        "mean",
    ),
    jax_bug(
        "vit-class-token-last",
        "x = jnp.concatenate([cls, x], axis=1)",
        "x = jnp.concatenate([x, cls], axis=1)",
        ("x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)", "x = x + self.pos_embedding"),
        ("x = jnp.concatenate([x, cls], axis=1)", 'x = x + self.param("pos"'),
        "order",
    ),
    jax_bug(
        "vit-patches-by-columns",
        "x = x.reshape(x.shape[0], -1, self.dim)",
        "x = x.swapaxes(1, 2).reshape(x.shape[0], -1, self.dim)",
        ("x = x.flatten(2).transpose(1, 2)", "x = torch.cat([self.class_token", "x = x + self.pos_embedding"),
        (
            "x = x.swapaxes(1, 2).reshape(x.shape[0], -1, self.dim)",
            "x = jnp.concatenate([cls, x], axis=1)",
            'x = x + self.param("pos"',
        ),
    ),
    jax_bug(
        "vit-tanh-gelu",
        "y = nn.gelu(y, approximate=False)",
        "y = nn.gelu(y)",
        "return x + self.mlp(self.ln_2(x))",
        "y = nn.gelu(y)",
        "tanh",
    ),
    jax_bug(
        "vit-last-norm-epsilon",
        'x = nn.LayerNorm(name="encoder_norm")(x)',
        'x = nn.LayerNorm(epsilon=1e-5, name="encoder_norm")(x)',
        "x = self.ln(x)",
        'x = nn.LayerNorm(epsilon=1e-5, name="encoder_norm")(x)',
        "epsilon",
    ),
    jax_bug(
        "vit-positions-twice",
        'x = x + self.param("pos", nn.initializers.normal(0.02), (1, x.shape[1], self.dim))',
        'x = x + 2 * self.param("pos", nn.initializers.normal(0.02), (1, x.shape[1], self.dim))',
        "x = x + self.pos_embedding",
        'x = x + 2 * self.param("pos"',
    ),
    torch_bug(
        "vit-keys-not-normed",
        "y, _ = self.self_attention(y, y, y, need_weights=False)",
        "y, _ = self.self_attention(y, x, y, need_weights=False)",
        "y, _ = self.self_attention(y, x, y, need_weights=False)",
        "y = nn.MultiHeadDotProductAttention(num_heads=self.num_heads)(y, y)",
    ),
)

BERT = (
    jax_bug(
        "bert-mask-inverted",
        "attention_mask > 0)",
        "attention_mask == 0)",
        ("scores = scores + mask", "probs = self.dropout(F.softmax(scores, dim=-1))"),
        (
            "mask = nn.make_attention_mask(jnp.ones_like(attention_mask), attention_mask == 0)",
            ")(x, x, mask=mask)",
            "y = nn.MultiHeadDotProductAttention(",
        ),
        "mask",
    ),
    jax_bug(
        "bert-mask-ignored",
        ")(x, x, mask=mask)",
        ")(x, x)",
        ("scores = scores + mask", "probs = self.dropout(F.softmax(scores, dim=-1))"),
        (")(x, x)", "y = nn.MultiHeadDotProductAttention("),
        "mask",
    ),
    jax_bug(
        "bert-token-types-of-ones",
        'name="kinds")(token_type_ids)',
        'name="kinds")(jnp.ones_like(token_type_ids))',
        "x = x + self.token_type_embeddings(token_type_ids)",
        ('name="kinds")(jnp.ones_like(token_type_ids))', "x = tokens + places + kinds"),
    ),
    jax_bug(
        "bert-norm-before-the-sum",
        'x = nn.LayerNorm(epsilon=1e-12, name="norm1")(x + drop(y))',
        'x = x + nn.LayerNorm(epsilon=1e-12, name="norm1")(drop(y))',
        "hidden = self.attention_norm(attended + hidden)",
        'x = x + nn.LayerNorm(epsilon=1e-12, name="norm1")(drop(y))',
        "norm",
    ),
    jax_bug(
        "bert-layer-norm-epsilon",
        'return nn.LayerNorm(epsilon=1e-12, name="norm2")(x + drop(y))',
        'return nn.LayerNorm(epsilon=1e-5, name="norm2")(x + drop(y))',
        "return self.output_norm(self.dropout(self.output(grown)) + hidden)",
        'return nn.LayerNorm(epsilon=1e-5, name="norm2")(x + drop(y))',
        "epsilon",
    ),
    jax_bug(
        "bert-pooler-sigmoid",
        "pooled = nn.tanh(self.pool(x[:, 0]))",
        "pooled = nn.sigmoid(self.pool(x[:, 0]))",
        "pooled = torch.tanh(self.pooler(hidden[:, 0]))",
        "pooled = nn.sigmoid(self.pool(x[:, 0]))",
    ),
    jax_bug(
        "bert-pools-the-last-token",
        "pooled = nn.tanh(self.pool(x[:, 0]))",
        "pooled = nn.tanh(self.pool(x[:, -1]))",
        "pooled = torch.tanh(self.pooler(hidden[:, 0]))",
        "pooled = nn.tanh(self.pool(x[:, -1]))",
        "token",
    ),
    Bug(
        "bert-pooler-detached",
        "bert",
        "torch",
        (("self.pooler(hidden[:, 0])", "self.pooler(hidden[:, 0].detach())"),),
        ("pooled = torch.tanh(self.pooler(hidden[:, 0].detach()))",),
        ("pooled = nn.tanh(self.pool(x[:, 0]))",),
        "detach",
        backward=True,
    ),
)

UNET = (
    jax_bug(
        "unet-cosine-first",
        "[jnp.sin(angles), jnp.cos(angles)]",
        "[jnp.cos(angles), jnp.sin(angles)]",
        ("return torch.cat([torch.sin(args), torch.cos(args)], dim=-1)", "emb = self.time_embed(timestep_embedding(t"),
        ("return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)", 'name="time1")(emb)'),
        "order",
    ),
    jax_bug(
        "unet-half-minus-one",
        "jnp.arange(half) / half)",
        "jnp.arange(half) / (half - 1))",
        (
            "freqs = torch.exp(-math.log(max_period) * steps / half)",
            "args = t[:, None] * freqs[None]",
        ),
        (
            "frequencies = jnp.exp(-np.log(10000.0) * jnp.arange(half) / (half - 1))",
            "angles = time[:, None] * frequencies",
        ),
    ),
    jax_bug(
        "unet-groups",
        "groups: int = 4",
        "groups: int = 2",
        "h = self.conv1(F.silu(self.norm1(x)))",
        'h = nn.GroupNorm(self.groups, epsilon=1e-5, name="in_norm")(x)',
        "group",
    ),
    jax_bug(
        "unet-group-norm-epsilon",
        'h = nn.GroupNorm(self.groups, epsilon=1e-5, name="out_norm")(h)',
        'h = nn.GroupNorm(self.groups, name="out_norm")(h)',
        "h = self.conv2(F.silu(self.norm2(h)))",
        'h = nn.GroupNorm(self.groups, name="out_norm")(h)',
        "epsilon",
    ),
    jax_bug(
        "unet-same-with-stride",
        "padding=1, name=name)",
        'padding="SAME", name=name)',
        "h = self.mid_block(self.downsample(skip), emb)",
        (
            'return nn.Conv(features, (3, 3), strides=(stride, stride), padding="SAME", name=name)',
            'x = conv3x3(2 * self.features, stride=2, name="downsample")(x)',
        ),
        "padding",
    ),
    jax_bug(
        "unet-skip-first",
        "x = jnp.concatenate([x, skip], axis=-1)",
        "x = jnp.concatenate([skip, x], axis=-1)",
        ("h = torch.cat([self.upsample(h), skip], dim=1)", "h = self.conv1(F.silu(self.norm1(x)))"),
        ("x = jnp.concatenate([skip, x], axis=-1)", 'h = nn.GroupNorm(self.groups, epsilon=1e-5, name="in_norm")(x)'),
        "order",
    ),
    jax_bug(
        "unet-transposed-padding",
        'strides=(2, 2), padding="SAME", name="upsample"',
        'strides=(2, 2), padding=((1, 3), (1, 3)), name="upsample"',
        "h = torch.cat([self.upsample(h), skip], dim=1)",
        'x = nn.ConvTranspose(self.features, (4, 4), strides=(2, 2), padding=((1, 3), (1, 3)), name="upsample")(x)',
        "padding",
    ),
    jax_bug(
        "unet-attention-scale-missing",
        "jnp.swapaxes(k, 1, 2) / jnp.sqrt(channels)",
        "jnp.swapaxes(k, 1, 2)",
        'scores = torch.einsum("bct,bcs->bts", q, k) * channels**-0.5',
        ("logits = q @ jnp.swapaxes(k, 1, 2)", "out = jax.nn.softmax(logits) @ v"),
        "scale",
    ),
    jax_bug(
        "unet-time-without-swish",
        'name="emb_proj")(nn.swish(emb))',
        'name="emb_proj")(emb)',
        "h = h + self.time_proj(F.silu(emb))[:, :, None, None]",
        'shift = nn.Dense(self.features, name="emb_proj")(emb)',
        "silu",
    ),
    jax_bug(
        "unet-attention-rows-and-columns",
        "return x + out.reshape(x.shape)",
        "return x + out.reshape(batch, width, height, channels).swapaxes(1, 2)",
        "return x + self.proj_out(out).reshape(x.shape)",
        "return x + out.reshape(batch, width, height, channels).swapaxes(1, 2)",
    ),
    Bug(
        "unet-skip-detached",
        "unet",
        "jax",
        (("jnp.concatenate([x, skip], axis=-1)", "jnp.concatenate([x, jax.lax.stop_gradient(skip)], axis=-1)"),),
        ("h = torch.cat([self.upsample(h), skip], dim=1)",),
        ("x = jnp.concatenate([x, jax.lax.stop_gradient(skip)], axis=-1)",),
        "stop_gradient",
        backward=True,
    ),
)

RECURRENT = (
    jax_bug(
        "lstm-output-for-memory",
        "(memory, _), y = self.second(y)",
        "(_, memory), y = self.second(y)",
        ("return self.fc(last), c[-1]", "out, (_, c) = self.lstm(x)"),
        ("return self.classifier(y), memory", "(_, memory), y = self.second(y)"),
    ),
    jax_bug(
        "lstm-first-step",
        "y = y[:, -1]",
        "y = y[:, 0]",
        ("last = out[:, -1]", "return self.fc(last), c[-1]"),
        ("y = y[:, 0]", "return self.classifier(y), memory"),
        "last",
    ),
    jax_bug(
        "lstm-second-layer-reversed",
        "self.second = nn.RNN(nn.OptimizedLSTMCell(self.hidden), return_carry=True)",
        "self.second = nn.RNN(nn.OptimizedLSTMCell(self.hidden), return_carry=True, reverse=True, keep_order=True)",
        "out, (_, c) = self.lstm(x)",
        ("(memory, _), y = self.second(y)", "reverse=True, keep_order=True)"),
        "revers",
    ),
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
)

CONVNEXT = (
    jax_bug(
        "convnext-layer-scale-left-out",
        "        y = y * scale\n",
        "",
        "x = self.gamma * x",
        ("return x + y", 'scale = self.param("layer_scale"', 'y = nn.Conv(self.dim, (1, 1), name="project")(y)'),
        "scale",
    ),
    jax_bug(
        "convnext-norm-over-pixels",
        'x = nn.LayerNorm(epsilon=1e-6, name="stem_norm")(x)',
        'x = nn.LayerNorm(epsilon=1e-6, reduction_axes=(1, 2, 3), name="stem_norm")(x)',
        "x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)",
        'x = nn.LayerNorm(epsilon=1e-6, reduction_axes=(1, 2, 3), name="stem_norm")(x)',
        "axis",
    ),
    jax_bug(
        "convnext-circular",
        "(7, 7), padding=3,",
        '(7, 7), padding="CIRCULAR",',
        "x = self.dwconv(x)",
        'y = nn.Conv(self.dim, (7, 7), padding="CIRCULAR", feature_group_count=self.dim, name="depthwise")(x)',
        "padding",
    ),
    jax_bug(
        "convnext-max-over-pixels",
        "x = jnp.mean(x, axis=(1, 2))",
        "x = jnp.max(x, axis=(1, 2))",
        "x = self.norm(x.mean(dim=(-2, -1)))",
        "x = jnp.max(x, axis=(1, 2))",
        "mean",
    ),
    jax_bug(
        "convnext-scale-before-the-activation",
        '        y = nn.gelu(y, approximate=False)\n        y = nn.Conv(self.dim, (1, 1), name="project")(y)\n',
        '        y = nn.Conv(self.dim, (1, 1), name="project")(y)\n        y = nn.gelu(y, approximate=False)\n',
        ("x = self.act(self.pwconv1(x))", "x = self.pwconv2(x)"),
        ('y = nn.Conv(self.dim, (1, 1), name="project")(y)', "y = nn.gelu(y, approximate=False)"),
    )._replace(name="convnext-gelu-after-the-projection"),
)

WAV = (
    jax_bug(
        "wav-biased-deviation",
        "jnp.std(x, axis=1, ddof=1)",
        "jnp.std(x, axis=1)",
        ("mean, std = x.mean(dim=2), x.std(dim=2)",),
        "pooled = jnp.concatenate([jnp.mean(x, axis=1), jnp.std(x, axis=1)], axis=-1)",
        "biased",
    ),
    jax_bug(
        "wav-leaky-slope",
        "negative_slope=0.1",
        "negative_slope=0.01",
        "return x + F.leaky_relu(self.norm(y), 0.1)",
        "return x + nn.leaky_relu(y, negative_slope=0.01)",
        "slope",
    ),
    jax_bug(
        "wav-stride-offset",
        "padding=[(1, 1)]",
        "padding=[(0, 2)]",
        "return F.gelu(self.conv1(x))",
        "padding=[(0, 2)]",
        "padding",
    ),
    jax_bug(
        "wav-even-kernel",
        "padding=[(half, half - 1)],",
        "padding=[(half - 1, half)],",
        "y = self.conv(x)[:, :, :-1]",
        ("x = jax.lax.conv_general_dilated(", "padding=[(half - 1, half)],"),
        "padding",
    ),
    jax_bug(
        "wav-one-group",
        "num_groups=self.channels",
        "num_groups=1",
        "x = F.gelu(self.norm(self.conv0(x)))",
        'x = nn.GroupNorm(num_groups=1, epsilon=1e-5, name="norm")(x)',
        "group",
    ),
    jax_bug(
        "wav-kernel-flipped",
        "wave = wave[:, 1:] - 0.875 * wave[:, :-1]",
        "wave = wave[:, :-1] - 0.875 * wave[:, 1:]",
        "wave = F.conv1d(wave, self.emphasis)",
        "wave = wave[:, :-1] - 0.875 * wave[:, 1:]",
        "flip",
    ),
    jax_bug(
        "wav-gelu-of-the-sum",
        'x = x + nn.gelu(NormedConv(6, 3, name="where")(x), approximate=False)',
        'x = nn.gelu(x + NormedConv(6, 3, name="where")(x), approximate=False)',
        "return x + F.gelu(y)",
        'x = nn.gelu(x + NormedConv(6, 3, name="where")(x), approximate=False)',
    ),
    jax_bug(
        "wav-not-dilated",
        "            kernel_dilation=self.dilation,\n",
        "",
        "y = self.pointwise(self.depthwise(x))",
        ("y = nn.Conv(", 'name="depthwise",'),
        "dilation",
    ),
    jax_bug(
        "wav-weight-norm-of-channels",
        "jnp.sum(direction**2, axis=(1, 2), keepdims=True)",
        "jnp.sum(direction**2, axis=(0, 1), keepdims=True)",
        "y = self.conv(x)[:, :, :-1]",
        (
            "length = jnp.sqrt(jnp.sum(direction**2, axis=(0, 1), keepdims=True))",
            "kernel = scale * direction / length",
            "x = jax.lax.conv_general_dilated(",
        ),
        "axis",
    ),
)

VAE = (
    jax_bug(
        "vae-divergence-sign",
        "divergence = 0.5 * jnp.sum(",
        "divergence = -0.5 * jnp.sum(",
        "kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)",
        "divergence = -0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "sign",
    ),
    jax_bug(
        "vae-variance-for-deviation",
        "jnp.exp(logvar / 2) * noise",
        "jnp.exp(logvar) * noise",
        ("std = torch.exp(0.5 * logvar)", "z = mu + noise * std"),
        "z = mean + jnp.exp(logvar) * noise",
    ),
    jax_bug(
        "vae-selu",
        'x = nn.elu(nn.Dense(4 * 6 * 8, name="dense")(z))',
        'x = nn.selu(nn.Dense(4 * 6 * 8, name="dense")(z))',
        "x = F.elu(self.fc(z)).view(-1, 8, 4, 6)",
        'x = nn.selu(nn.Dense(4 * 6 * 8, name="dense")(z))',
        "elu",
    ),
    jax_bug(
        "vae-divergence-mean",
        "jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "jnp.mean(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)",
        "divergence = 0.5 * jnp.mean(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "mean",
    ),
    Bug(
        "vae-transposed-padding",
        "vae",
        "torch",
        (
            ("stride=2, padding=1, output_padding=1)", "stride=2)"),
            ("F.elu(self.deconv(x))", "F.elu(self.deconv(x)[..., :8, :12])"),
        ),
        ("x = F.elu(self.deconv(x)[..., :8, :12])",),
        ("x = nn.ConvTranspose(", 'transpose_kernel=True, name="deconv"'),
        "padding",
    ),
)

BARE = (
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

DQN = (
    jax_bug(
        "dqn-pool-without-padding",
        "return total / (size * size)",
        "ones = jnp.ones_like(x)\n"
        "    return total / lax.reduce_window(\n"
        "        ones, 0.0, lax.add, (1, size, size, 1), (1, stride, stride, 1), padding\n    )",
        "x = self.pool1(x)",
        ("return total / lax.reduce_window(", "x = avg_pool(x, 3, 2, 1)"),
        "pad",
    ),
    jax_bug(
        "dqn-leaky-slope",
        "x = jax.nn.leaky_relu(x)\n    x = max_pool(x, 2)",
        "x = jax.nn.leaky_relu(x, 0.2)\n    x = max_pool(x, 2)",
        "x = F.leaky_relu(self.conv2(x), 0.01)",
        "x = jax.nn.leaky_relu(x, 0.2)",
        "slope",
    ),
    jax_bug(
        "dqn-dropout-not-scaled",
        "    if is_training:\n",
        "    x = x * 0.8\n    if is_training:\n",
        ("x = F.softplus(self.body(x))", "advantage = self.advantage(x)"),
        ("x = x * 0.8", 'advantage = linear(params["dqn/~/advantage"], x)'),
        "0.8",
    ),
    jax_bug(
        "dqn-mean-of-the-batch",
        "jnp.mean(advantage, axis=-1, keepdims=True)",
        "jnp.mean(advantage, axis=0, keepdims=True)",
        "centred = advantage - advantage.mean(dim=1, keepdim=True)",
        "q = value + advantage - jnp.mean(advantage, axis=0, keepdims=True)",
        "axis",
    ),
    jax_bug(
        "dqn-outputs-exchanged",
        '{"policy": jax.nn.log_softmax(advantage), "q": q}',
        '{"policy": q, "q": jax.nn.log_softmax(advantage)}',
        'return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}',
        'return {"policy": q, "q": jax.nn.log_softmax(advantage)}',
        "order",
    ),
    jax_bug(
        "dqn-softmax-for-its-logarithm",
        "jax.nn.log_softmax(advantage)",
        "jax.nn.softmax(advantage)",
        'return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}',
        'return {"policy": jax.nn.softmax(advantage), "q": q}',
        "log",
    ),
    Bug(
        "dqn-custom-gradient",
        "dqn",
        "jax",
        (
            ("x = jax.nn.softplus(linear(", "x = softplus(linear("),
            (
                "def apply(params, rng",
                "@jax.custom_jvp\ndef softplus(x):\n    return jax.nn.softplus(x)\n\n\n"
                "@softplus.defjvp\ndef softplus_jvp(primals, tangents):\n"
                "    return softplus(*primals), jnp.tanh(primals[0]) * tangents[0]\n\n\ndef apply(params, rng",
            ),
        ),
        ("x = F.softplus(self.body(x))",),
        (
            "return softplus(*primals), jnp.tanh(primals[0]) * tangents[0]",
            'x = softplus(linear(params["dqn/~/torso"], x))',
        ),
        "gradient",
        backward=True,
    ),
)

GEMMA = (
    jax_bug(
        "gemma-embedding-not-scaled",
        "        x = x * jnp.sqrt(self.dim).astype(x.dtype)\n",
        "",
        ("x = x * x.shape[-1] ** 0.5",),
        ("x = table[tokens]", "wide = x.astype(jnp.float32)", 'y = RMSNorm(name="pre_attention_norm")(x)'),
        "sqrt",
    ),
    jax_bug(
        "gemma-logits-not-capped",
        "return jnp.tanh(logits / 30.0) * 30.0",
        "return logits",
        "return 30.0 * torch.tanh(logits / 30.0)",
        ("return logits", "logits = jnp.dot(x, table.T)"),
    ),
    jax_bug(
        "gemma-bfloat16-softmax",
        "jax.nn.softmax(logits.astype(jnp.float32), axis=-1)",
        "jax.nn.softmax(logits.astype(jnp.bfloat16), axis=-1)",
        "weights = F.softmax(scores.float(), dim=-1).type_as(q)",
        "probs = jax.nn.softmax(logits.astype(jnp.bfloat16), axis=-1).astype(x.dtype)",
        "bfloat16",
    ),
    jax_bug(
        "gemma-cap-before-the-scale",
        "logits = jnp.tanh(logits / self.softcap) * self.softcap",
        "logits = jnp.tanh(logits / (2 * self.softcap)) * self.softcap",
        "scores = self.softcap * torch.tanh(scores / self.softcap)",
        "logits = jnp.tanh(logits / (2 * self.softcap)) * self.softcap",
    )._replace(name="gemma-cap-of-the-scores"),
    jax_bug(
        "gemma-exact-gelu",
        "gate = jax.nn.gelu(jnp.dot(x, gating[0]))",
        "gate = jax.nn.gelu(jnp.dot(x, gating[0]), approximate=False)",
        'y = F.gelu(self.gate_proj(y), approximate="tanh") * self.up_proj(y)',
        "gate = jax.nn.gelu(jnp.dot(x, gating[0]), approximate=False)",
        "tanh",
    ),
    jax_bug(
        "gemma-rms-epsilon",
        "normed = wide * jax.lax.rsqrt(var + 1e-6)",
        "normed = wide * jax.lax.rsqrt(var + 1e-4)",
        "normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)",
        "normed = wide * jax.lax.rsqrt(var + 1e-4)",
        "epsilon",
    ),
)

SEQ2SEQ = (
    jax_bug(
        "seq2seq-distance-off-by-one",
        "jnp.clip(offsets, -reach, reach) + reach",
        "jnp.clip(offsets + 1, -reach, reach) + reach",
        ("return self.table(bucket).permute(2, 0, 1)[None]", "scores = scores + bias", "bucket = distance.clamp("),
        (
            "index = jnp.clip(offsets + 1, -reach, reach) + reach",
            "return jnp.moveaxis(table[index], -1, 0)",
            "logits = logits + bias",
        ),
        "position",
    ),
    jax_bug(
        "seq2seq-padding-seen-by-the-decoder",
        "self.cross(self.cross_norm(x), memory, memory_mask)",
        "self.cross(self.cross_norm(x), memory)",
        (
            "scores = scores.masked_fill(~mask, -1e9)",
            "out = scores.softmax(-1) @ v",
            "x = x + self.cross(self.norm2(x), memory, memory_mask)",
        ),
        ("probs = jax.nn.softmax(logits, axis=-1)", "x = x + self.cross(self.cross_norm(x), memory)"),
        "mask",
    ),
    jax_bug(
        "seq2seq-attention-scaled",
        "probs = jax.nn.softmax(logits, axis=-1)",
        "probs = jax.nn.softmax(logits / jnp.sqrt(q.shape[-1]), axis=-1)",
        "out = scores.softmax(-1) @ v",
        "probs = jax.nn.softmax(logits / jnp.sqrt(q.shape[-1]), axis=-1)",
        "scale",
    ),
    jax_bug(
        "seq2seq-logits-not-scaled",
        "        x = x / jnp.sqrt(x.shape[-1])\n",
        "",
        ("y = self.decoder_norm(y) * y.shape[-1] ** -0.5", "return y @ self.shared.weight.t(), memory"),
        ("return x @ self.embedding[...].T", "x = self.decoder_norm(x)"),
        "scale",
    ),
    jax_bug(
        "seq2seq-residual-from-the-norm",
        "x = x + self.attention(y, y, mask, bias)",
        "x = y + self.attention(y, y, mask, bias)",
        (
            "x = x + self.attention(y, y, mask, bias)",
            "x = self.encoder(self.shared(source), mask, self.encoder_bias(source.shape[1]))",
        ),
        "x = y + self.attention(y, y, mask, bias)",
        "residual",
    ),
    torch_bug(
        "seq2seq-decoder-not-causal",
        "device=target.device).tril()",
        "device=target.device)",
        ("scores = scores.masked_fill(~mask, -1e9)", "out = scores.softmax(-1) @ v", "device=target.device)"),
        ("logits = jnp.where(mask, logits, -1e9)", "probs = jax.nn.softmax(logits, axis=-1)"),
        "causal",
    ),
)

OTHERS = (
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
    jax_bug(
        "mixer-pool-before-the-norm",
        "        x = jax.vmap(self.norm)(x)\n        return self.head(jnp.mean(x, axis=0))",
        "        x = self.norm(jnp.mean(x, axis=0))\n        return self.head(x)",
        "return self.head(self.norm(x).mean(dim=1))",
        "x = self.norm(jnp.mean(x, axis=0))",
        "norm",
    ),
    jax_bug(
        "mixer-patches-by-columns",
        "x = x.reshape(x.shape[0], -1).T",
        "x = x.swapaxes(1, 2).reshape(x.shape[0], -1).T",
        (
            "y = self.token_mix(y).transpose(1, 2)",
            "x = self.blocks(self.to_patches(x))",
            "y = self.norm1(x).transpose(1, 2)",
        ),
        ("x = x.swapaxes(1, 2).reshape(x.shape[0], -1).T", "y = jax.vmap(self.token_in)(y.T)"),
    ),
    torch_bug(
        "mixer-tanh-gelu",
        "nn.GELU()",
        'nn.GELU(approximate="tanh")',
        ("y = self.token_mix(y).transpose(1, 2)",),
        "y = jax.nn.gelu(y, approximate=False)",
        "tanh",
    ),
    jax_bug(
        "scanned-scale-of-all-heads",
        "/ np.sqrt(dim // self.heads)",
        "/ np.sqrt(dim)",
        "x = self.encoder(self.project(x))",
        (
            'scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(dim)',
            'y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)',
        ),
        "scale",
    ),
    jax_bug(
        "scanned-tanh-gelu",
        "y = jax.nn.gelu(y, approximate=False)",
        "y = jax.nn.gelu(y)",
        "x = self.encoder(self.project(x))",
        "y = jax.nn.gelu(y)",
        "tanh",
    ),
    jax_bug(
        "scanned-layer-norm-epsilon",
        'y = nn.LayerNorm(epsilon=1e-5, name="ln2")(x)',
        'y = nn.LayerNorm(name="ln2")(x)',
        "x = self.encoder(self.project(x))",
        'y = nn.LayerNorm(name="ln2")(x)',
        "epsilon",
    ),
    torch_bug(
        "scanned-norm-after",
        "norm_first=True",
        "norm_first=False",
        "x = self.encoder(self.project(x))",
        (
            'y = nn.LayerNorm(epsilon=1e-5, name="ln1")(x)',
            'qkv = nn.DenseGeneral((3, self.heads, dim // self.heads), name="qkv")(y)',
        ),
        "norm",
    ),
    jax_bug(
        "scanned-last-step",
        "pooled = jnp.mean(x, axis=1)",
        "pooled = x[:, -1]",
        "return self.head(x.mean(dim=1))",
        ("pooled = x[:, -1]", 'return nn.Dense(self.classes, name="classify")(pooled)'),
        "mean",
    ),
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
    ),
)

SOFTPLUS = (
    "class Softplus(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
    "        ctx.save_for_backward(x)\n        return F.softplus(x)\n\n    @staticmethod\n"
    "    def backward(ctx, grad):\n        (x,) = ctx.saved_tensors\n        return grad * torch.tanh(x)\n\n\n"
)
HALVED = (
    "@jax.custom_vjp\ndef halved(x):\n    return x\n\n\n"
    "halved.defvjp(lambda x: (x, None), lambda _, grad: (0.5 * grad,))\n\n\n"
)
NO_BIAS = (
    "@jax.custom_vjp\ndef dense(x, w, b):\n    return x @ w + b\n\n\n"
    "def dense_fwd(x, w, b):\n    return dense(x, w, b), (x, w, b)\n\n\n"
    "def dense_bwd(kept, grad):\n    x, w, b = kept\n    return grad @ w.T, x.T @ grad, 0 * b\n\n\n"
    "dense.defvjp(dense_fwd, dense_bwd)\n\n\n"
)
# The forward pass is right, the gradient is not.
BACKWARD = tuple(
    bug._replace(backward=True)
    for bug in (
        torch_bug(
            "square-carry-detached",
            "x * (1 - gate)",
            "x.detach() * (1 - gate)",
            "y = y * gate + x.detach() * (1 - gate)",
            "y = gate * y + (1 - gate) * x",
            "detach",
        ),
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
        ),
        jax_bug(
            "square-tied-weight-stopped",
            "return x @ self.enter[...]",
            "return x @ jax.lax.stop_gradient(self.enter[...])",
            "return x @ self.first.weight  # tied, the other way round",
            "return x @ jax.lax.stop_gradient(self.enter[...])",
            "stop_gradient",
        ),
        Bug(
            "dqn-function",
            "dqn",
            "torch",
            (
                ("x = F.softplus(self.body(x))", "x = Softplus.apply(self.body(x))"),
                ("class DuelingDQN(nn.Module):", SOFTPLUS + "class DuelingDQN(nn.Module):"),
            ),
            ("x = Softplus.apply(self.body(x))", "return grad * torch.tanh(x)"),
            ('x = jax.nn.softplus(linear(params["dqn/~/torso"], x))',),
            "function",
        ),
        torch_bug(
            "dqn-hook",
            "        x = self.pool1(x)\n",
            "        x = self.pool1(x)\n        x.register_hook(lambda grad: 0.1 * grad)\n",
            ("x.register_hook(lambda grad: 0.1 * grad)", "x = self.pool1(x)"),
            ("x = avg_pool(x, 3, 2, 1)", "return total / (size * size)"),
            "hook",
        ),
        Bug(
            "dqn-bias-without-gradient",
            "dqn",
            "jax",
            (
                (
                    '    value = linear(params["dqn/~/value"], x)\n',
                    '    value = dense(x, *map(params["dqn/~/value"].get, "wb"))\n',
                ),
                ("def avg_pool(", NO_BIAS + "def avg_pool("),
            ),
            ('return {"q": self.value(x) + centred, "policy": F.log_softmax(advantage, dim=1)}',),
            ('value = dense(x, *map(params["dqn/~/value"].get, "wb"))', "return grad @ w.T, x.T @ grad, 0 * b"),
            "rule",
        ),
        jax_bug(
            "dqn-mean-stopped",
            "jnp.mean(advantage, axis=-1, keepdims=True)",
            "jax.lax.stop_gradient(jnp.mean(advantage, axis=-1, keepdims=True))",
            "centred = advantage - advantage.mean(dim=1, keepdim=True)",
            "q = value + advantage - jax.lax.stop_gradient(jnp.mean(advantage, axis=-1, keepdims=True))",
            "stop_gradient",
        ),
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
        ),
        torch_bug(
            "gpt-positions-under-no-grad",
            "        x = self.wte(idx) + self.wpe(positions)\n",
            "        with torch.no_grad():\n            places = self.wpe(positions)\n"
            "        x = self.wte(idx) + places\n",
            ("places = self.wpe(positions)", "x = self.wte(idx) + places"),
            'nn.Embed(self.max_length, self.dim, name="positions")(positions)',
            "no_grad",
        ),
        torch_bug(
            "gpt-head-detached",
            "return self.lm_head(self.ln_f(x))",
            "return F.linear(self.ln_f(x), self.lm_head.weight.detach())",
            "return F.linear(self.ln_f(x), self.lm_head.weight.detach())",
            "return embed.attend(x)",
            "detach",
        ),
        jax_bug(
            "vit-class-token-stopped",
            "cls = jnp.broadcast_to(cls, (x.shape[0], 1, self.dim))",
            "cls = jax.lax.stop_gradient(jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)))",
            "x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)",
            "cls = jax.lax.stop_gradient(jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)))",
            "stop_gradient",
        )._replace(
            edits=(
                (
                    "cls = jnp.broadcast_to(cls, (x.shape[0], 1, self.dim))",
                    "cls = jax.lax.stop_gradient(jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)))",
                ),
                ("import flax.linen as nn\n", "import flax.linen as nn\nimport jax\n"),
            )
        ),
        jax_bug(
            "gru-state-stopped",
            "hidden = cell(x, hidden)",
            "hidden = cell(x, jax.lax.stop_gradient(hidden))",
            "states, _ = self.gru(self.embedding(words))",
            "hidden = cell(x, jax.lax.stop_gradient(hidden))",
            "stop_gradient",
        ),
        torch_bug(
            "seq2seq-memory-detached",
            "y = self.decoder(self.shared(target), memory, mask,",
            "y = self.decoder(self.shared(target), memory.detach(), mask,",
            "y = self.decoder(self.shared(target), memory.detach(), mask, causal, self.decoder_bias(length))",
            (
                "return self.decode(target, memory, mask), memory",
                "x = x + self.cross(self.cross_norm(x), memory, memory_mask)",
                "x = self.decoder(self.embedding[...][target], causal, bias, memory, memory_mask)",
            ),
            "detach",
        ),
        torch_bug(
            "unet-time-under-no-grad",
            "        emb = self.time_embed(timestep_embedding(t, self.channels))\n",
            "        with torch.no_grad():\n            emb = self.time_embed(timestep_embedding(t, self.channels))\n",
            "emb = self.time_embed(timestep_embedding(t, self.channels))",
            ('emb = nn.Dense(self.time_features, name="time2")(nn.swish(emb))',),
            "no_grad",
        ),
        jax_bug(
            "convnext-scale-stopped",
            "y = y * scale\n",
            "y = y * jax.lax.stop_gradient(scale)\n",
            "x = self.gamma * x",
            "y = y * jax.lax.stop_gradient(scale)",
            "stop_gradient",
        )._replace(
            edits=(
                ("y = y * scale\n", "y = y * jax.lax.stop_gradient(scale)\n"),
                ("import flax.linen as nn\n", "import flax.linen as nn\nimport jax\n"),
            )
        ),
    )
)

BUGS = (
    GPT
    + LLAMA
    + VIT
    + BERT
    + UNET
    + RECURRENT
    + CONVNEXT
    + WAV
    + VAE
    + BARE
    + DQN
    + GEMMA
    + SEQ2SEQ
    + OTHERS
    + BACKWARD
)

# Right again if whole blocks or rows of some weights were put in another order, which no usual conversion does: a
# checker whose rules permute has to name the permutation.
PERMUTED = frozenset(
    {
        "llama-rotary-pairs",
        "llama-groups-tiled",
        "bare-rotary-halves",
        "vit-patches-by-columns",
        "mixer-patches-by-columns",
        "unet-cosine-first",
        "unet-skip-first",
        "dit-sine-first",
    }
)
