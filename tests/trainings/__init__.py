"""Pairs of trainings that are the same, NAME_torch.py and NAME_jax.py, and bugs planted in them."""

from pathlib import Path

FOLDER = Path(__file__).parent
# What each pair is trained on, a function of `batches`.
PAIRS = {
    "sgd": "vectors",
    "adamw": "images",
    "l2": "vectors",
    "bce": "labels",
    "ema": "images",
    "accumulate": "vectors",
    "mixed": "vectors",
    "dropout": "vectors",
    "haiku": "images",
    "gpt": "tokens",
    "pieces": "images",
    "lightning": "vectors",
    "gan": "vectors",
    "rnn": "vectors",
}
