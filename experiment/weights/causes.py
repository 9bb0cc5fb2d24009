"""The likely cause when a file's tensors are not the network's, from their names and shapes."""

import re
from collections.abc import Mapping, Sequence

Shapes = Mapping[str, tuple[int, ...]]
MARKS = (  # of names that a network here never has: a pattern, what it tells
    (r"weight_[gv]$|parametrizations\.", "saved with weight normalization; remove the parametrization before saving"),
    (r"weight_(orig|mask)$", "saved while pruned; call torch.nn.utils.prune.remove before saving"),
    (r"\blora_", "these are LoRA adapters; merge them into the network before saving"),
    (r"_packed_params|zero_point$", "a quantized network; save the one from before quantization"),
    (r"(^|/)(Dense|Conv|BatchNorm|LayerNorm)_\d+/", "written by a Flax module with automatic names, not one of these"),
)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "mean", "var")


def likely_cause(
    missing: Sequence[str], extra: Shapes, different: Mapping[str, tuple[Sequence[int], ...]], count: int
) -> str:
    """Return the likely cause in words, or "".

    Args:
        missing: the network's tensors that the file has not.
        extra: the file's that the network has not.
        different: the shapes in the file and in the network of those whose shapes differ.
        count: how many tensors the network has.
    """
    for pattern, cause in MARKS:
        if any(re.search(pattern, name) for name in extra):
            return cause
    if len(missing) == count:
        return "another network, or another library's names for this one"
    if missing and not extra:
        if all(re.split(r"[./]", name)[-1] in STATISTICS for name in missing):
            return "saved without BatchNorm's statistics; save the whole state_dict, or params and batch_stats"
        return f"only a part of the network, {count - len(missing)} of {count} tensors"
    if extra and not missing:
        return "a larger network, or one with further layers"
    if missing:
        return "another variant of the network"
    if different:
        return "the same layers in other sizes: another width, other inputs or another number of classes"
    return ""
