"""The random numbers of a pass in training mode, for both sides: the same, where both ask for the same (trap 20).

How they are drawn is a detail, see `parity.sides.laws`; how many there are is none: one mask for all examples, or one
key for two masks, is another training.
"""

from collections.abc import Collection, Sequence

import numpy as np

from parity.report import Failure, Result
from parity.sides.laws import Shared, laws, rates_differ
from parity.sides.random_draws import MASK, OTHER, Draw, counts, dependent, own_numbers, unlike

ACCEPTED = "trap-20"
ADVICE = f"give --accept {ACCEPTED} (accept=['{ACCEPTED}']) if other masks, or fewer, are meant"


def shared_draws(
    ours: Sequence[Draw],
    theirs: Sequence[Draw],
    accept: Collection[str],
    numbers: Sequence[np.ndarray] | None,
    *,
    switched: bool,
) -> tuple[list[Shared], Result | None]:
    """Return numbers for both sides, or why they cannot be the same.

    Args:
        ours: what PyTorch draws.
        theirs: what JAX draws; of numbers that it draws twice with one key, one.
        accept: conventions that are no fault here.
        numbers: PyTorch's, of a record; None: they are drawn.
        switched: whether the JAX side has a training mode.
    """
    if any(draw.kind == OTHER for draw in [*ours, *theirs]):
        return [], not_compared("a side draws random numbers that the other cannot be given")
    if not theirs and ours and not switched:
        return [], not_compared(f"{counts(ours, theirs)}: it has no training mode")
    words = dependent(theirs) or (counts(ours, theirs) if len(ours) != len(theirs) else "")
    if words and numbers is not None and any(draw.kind != MASK for draw in [*ours, *theirs]):
        return [], not_compared(words)  # what a record has drawn for nothing is not known
    if words and ACCEPTED in accept:
        return [], not_compared(f"{words}, accepted by name: {ACCEPTED}")
    if words:
        mine = next((d.line for d in ours if d.line), None)
        drawn = next((d for d in theirs if d.again), next((d for d in theirs if d.line), None))
        return [], _failed(f"{words} (trap 20)", mine, drawn and drawn.line)
    found = []
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        drawn = np.random.default_rng([20, number]) if numbers is None else numbers[number]
        shared, words = _shared(mine, other, drawn, repeated=ACCEPTED in accept)
        if shared is None:
            return [], _failed(f"{words} (trap 20)", mine.line, other.line)
        found.append(shared)
    return found, None


def not_compared(why: str) -> Result:
    """Return that training mode is not compared, which is no fault."""
    return Result("training mode", 0.0, 0, "", f"not compared: {why}")


def other_laws(shared: Sequence[Shared]) -> Result | None:
    """Return the fault of draws of different kinds, for which no numbers let both sides agree."""
    for pair in shared:
        mine, other = pair.ours, pair.theirs
        if mine.kind != other.kind:
            words = f"PyTorch draws {mine.words} at {mine.line}, JAX {other.words} at {other.line}"
            words = f"{words}: no numbers of one law let both agree (trap 20)"
            return _failed(words, mine.line, other.line, "")
    return None


def _failed(words: str, mine: object, other: object, advice: str = ADVICE) -> Result:
    failure = Failure("dropout", "forward", "dropout", np.inf, 0, words)
    return Result(
        "dropout", np.inf, 0, "dropout", "", failure._replace(torch_line=mine, jax_line=other, advice=advice)
    )


def _shared(
    ours: Draw, theirs: Draw, drawn: np.random.Generator | np.ndarray, *, repeated: bool
) -> tuple[Shared | None, str]:
    """Return numbers for one draw of each side; or what is wrong with it, in words."""
    if rates_differ(ours, theirs):
        rates = f"PyTorch drops {1 - (ours.keep or 0):.3g} at {ours.line}, JAX {1 - (theirs.keep or 0):.3g}"
        return None, f"{rates} at {theirs.line}: the rates differ"
    if ours.size == theirs.size:
        return Shared(ours, theirs, tuple(laws(ours, theirs, drawn))), ""
    words = unlike(ours, theirs)
    pairs = list(zip(ours.shape, theirs.shape, strict=False))
    fits = len(ours.shape) == len(theirs.shape) and all(a == b or 1 in (a, b) for a, b in pairs)
    if not repeated or not fits or ours.kind != theirs.kind:
        return None, words
    shape = tuple(min(a, b) for a, b in pairs)
    if isinstance(drawn, np.random.Generator):
        small = own_numbers(ours._replace(shape=shape), drawn)
        both = (np.broadcast_to(small, ours.shape), np.broadcast_to(small, theirs.shape))
    elif shape == ours.shape:
        both = (drawn, np.broadcast_to(drawn, theirs.shape))
    else:
        return None, f"{words}, which a record of the JAX side may tell"
    return Shared(ours, theirs, (both,), f"{words}, accepted by name: {ACCEPTED}"), ""
