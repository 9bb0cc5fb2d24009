"""Bugs planted in `bert_torch.py` and `bert_jax.py`."""

from tests.ports.bugs.bug import Bug, jax_bug

BUGS = (
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
