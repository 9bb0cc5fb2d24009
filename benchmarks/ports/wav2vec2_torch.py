"""wav2vec 2.0, raw sound. PyTorch side: transformers' own.

Truth: right, 8e-16; weight norm on both sides; the JAX side gives a tuple. **Wrong** in training: `deterministic` is
not handed to the encoder's layers on the JAX side, so that their dropout never acts, and no layer is left out.
"""

import numpy as np
import torch
import transformers

CONFIG = transformers.Wav2Vec2Config(
    vocab_size=20,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    conv_dim=(16, 16, 16),
    conv_kernel=(10, 3, 3),
    conv_stride=(5, 2, 2),
    num_feat_extract_layers=3,
    num_conv_pos_embeddings=6,
    num_conv_pos_embedding_groups=3,
    do_stable_layer_norm=True,
    feat_extract_norm="layer",
)


def make() -> torch.nn.Module:
    """A small network with random weights."""
    torch.manual_seed(0)
    return transformers.Wav2Vec2ForCTC(CONFIG).eval()


def inputs():
    """What the PyTorch side is given."""
    return {"input_values": np.random.default_rng(0).normal(size=(2, 400)).astype(np.float32)}
