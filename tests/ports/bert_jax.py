"""BERT in Flax Linen: a boolean mask, `nn.make_attention_mask`, dropout that is off unless asked for."""

import flax.linen as nn
import jax.numpy as jnp


class BertEmbed(nn.Module):
    vocab_size: int
    max_positions: int
    width: int
    dropout: float

    @nn.compact
    def __call__(self, input_ids, token_type_ids, deterministic):
        tokens = nn.Embed(self.vocab_size, self.width, name="tokens")(input_ids)
        kinds = nn.Embed(2, self.width, name="kinds")(token_type_ids)
        places = nn.Embed(self.max_positions, self.width, name="places")(jnp.arange(input_ids.shape[-1])[None])
        x = tokens + places + kinds
        x = nn.LayerNorm(epsilon=1e-12, name="norm")(x)
        return nn.Dropout(self.dropout)(x, deterministic=deterministic)


class BertBlock(nn.Module):
    heads: int
    intermediate: int
    dropout: float

    @nn.compact
    def __call__(self, x, mask, deterministic):
        width = x.shape[-1]
        drop = nn.Dropout(self.dropout, deterministic=deterministic)
        y = nn.MultiHeadDotProductAttention(
            num_heads=self.heads,
            dropout_rate=self.dropout,
            broadcast_dropout=False,  # Flax's default is one mask for all heads and examples (trap 20)
            deterministic=deterministic,
            name="attention",
        )(x, x, mask=mask)
        x = nn.LayerNorm(epsilon=1e-12, name="norm1")(x + drop(y))
        y = nn.Dense(self.intermediate, name="ffn1")(x)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(width, name="ffn2")(y)
        return nn.LayerNorm(epsilon=1e-12, name="norm2")(x + drop(y))


class Bert(nn.Module):
    vocab_size: int = 50
    max_positions: int = 12
    width: int = 32
    depth: int = 2
    heads: int = 4
    intermediate: int = 40
    dropout: float = 0.1

    def setup(self):
        self.embed = BertEmbed(self.vocab_size, self.max_positions, self.width, self.dropout)
        self.blocks = [BertBlock(self.heads, self.intermediate, self.dropout) for _ in range(self.depth)]
        self.pool = nn.Dense(self.width)

    def __call__(self, input_ids, attention_mask, token_type_ids, deterministic=True):
        x = self.embed(input_ids, token_type_ids, deterministic)
        mask = nn.make_attention_mask(jnp.ones_like(attention_mask), attention_mask > 0)
        for block in self.blocks:
            x = block(x, mask, deterministic)
        pooled = nn.tanh(self.pool(x[:, 0]))
        return {"last_hidden_state": x, "pooler_output": pooled}


def make():
    return Bert()


def weights(state):
    leaves = {
        "params/embed/tokens/embedding": state["embeddings.word_embeddings.weight"],
        "params/embed/places/embedding": state["embeddings.position_embeddings.weight"],
        "params/embed/kinds/embedding": state["embeddings.token_type_embeddings.weight"],
        "params/embed/norm/scale": state["embeddings.LayerNorm.weight"],
        "params/embed/norm/bias": state["embeddings.LayerNorm.bias"],
        "params/pool/kernel": state["pooler.weight"].T,
        "params/pool/bias": state["pooler.bias"],
    }
    for i in range(2):
        old, new = f"layer.{i}.", f"params/blocks_{i}/"
        for name in ("query", "key", "value"):
            leaves[f"{new}attention/{name}/kernel"] = state[f"{old}attention.{name}.weight"].T.reshape(32, 4, 8)
            leaves[f"{new}attention/{name}/bias"] = state[f"{old}attention.{name}.bias"].reshape(4, 8)
        leaves[new + "attention/out/kernel"] = state[old + "attention.dense.weight"].T.reshape(4, 8, 32)
        leaves[new + "attention/out/bias"] = state[old + "attention.dense.bias"]
        for ours, theirs in (("norm1", "attention_norm"), ("norm2", "output_norm")):
            leaves[f"{new}{ours}/scale"] = state[f"{old}{theirs}.weight"]
            leaves[f"{new}{ours}/bias"] = state[f"{old}{theirs}.bias"]
        for ours, theirs in (("ffn1", "intermediate"), ("ffn2", "output")):
            leaves[f"{new}{ours}/kernel"] = state[f"{old}{theirs}.weight"].T
            leaves[f"{new}{ours}/bias"] = state[f"{old}{theirs}.bias"]
    return leaves
