"""The row of padding of a table: `padding_idx` keeps its gradient at zero, Flax's Embed trains it (trap 36)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

ACCEPTED = "trap-36"
WORDS = "nn.Embedding(padding_idx={row}) lets no gradient through to that row, JAX's table trains it (trap 36)"
ADVICE = "stop the gradient of that row in JAX, or give --accept trap-36 (accept=['trap-36']) if it may be trained"


def padding_rows(side: Any) -> dict[str, int]:
    """Return the row of padding of each table of a PyTorch module, by key; of a record, none."""
    layers = side.module.named_modules() if hasattr(side, "module") else ()
    found = {f"{name}.weight" if name else "weight": getattr(layer, "padding_idx", None) for name, layer in layers}
    return {key: row for key, row in found.items() if row is not None}


def without_padding(rows: Mapping[str, int], key: str, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray | None:
    """Return JAX's gradient of a table without that of the row of padding; None if PyTorch has one there, too."""
    row = rows.get(key)
    if row is None or ours.shape != theirs.shape or np.any(ours[row]) or not np.any(theirs[row]):
        return None
    kept = np.array(theirs)
    kept[row] = 0
    return kept
