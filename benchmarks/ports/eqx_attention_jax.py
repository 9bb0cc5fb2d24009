"""Attention of an encoder on a decoder's states. JAX side: Equinox's, one example (jax.vmap makes a batch)."""

import equinox as eqx
import jax

ONE_EXAMPLE = True


def make():
    """An Equinox module."""
    return eqx.nn.MultiheadAttention(
        4,
        24,
        key_size=16,
        value_size=20,
        output_size=24,
        use_query_bias=True,
        use_key_bias=True,
        use_value_bias=True,
        use_output_bias=True,
        qk_size=6,
        vo_size=6,
        key=jax.random.key(0),
    )
