"""Transformer in transformer. JAX side: transformer_in_transformer_flax, a port by others."""

from transformer_in_transformer_flax import TNTConfig, TransformerInTransformer

LAYOUT = "channels last"


def make():
    """A Linen module."""
    return TransformerInTransformer(
        TNTConfig(
            num_classes=5,
            depth=2,
            image_size=16,
            patch_size=8,
            transformed_patch_size=4,
            inner_dim=8,
            inner_heads=2,
            inner_dim_head=4,
            outer_dim=24,
            outer_heads=2,
            outer_dim_head=4,
        )
    )
