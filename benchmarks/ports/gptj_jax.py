"""GPT-J, rotary in pairs, parallel blocks. JAX side: transformers' own Flax port."""

import jax.numpy as jnp
import transformers

CONFIG = transformers.GPTJConfig(
    vocab_size=50,
    n_positions=16,
    n_embd=32,
    n_layer=2,
    n_head=4,
    rotary_dim=4,
    bos_token_id=0,
    eos_token_id=0,
    use_cache=False,
)


def make():
    """The inner Linen module; it computes in float64 where x64 is on."""
    return transformers.FlaxGPTJForCausalLM(CONFIG, dtype=jnp.float64, _do_init=False).module
