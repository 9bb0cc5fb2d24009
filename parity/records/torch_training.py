"""Recording a PyTorch training: all that `parity.records.training_sides` gives back. JAX is not needed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data.errors import UserError
from parity.records import file
from parity.records.encode import Arrays, named_header, trace_header, tree_header
from parity.records.steps import draws_header, precision_header, step_header
from parity.records.versions import versions
from parity.records.written import LIMIT, MOST, WrittenTraining, shortened
from parity.sides.faults import explained
from parity.training.batches import drawn, fewer
from parity.training.supply import OwnSupply, refuse_random
from parity.training.torch_live import LiveTorch


def record_torch_training(
    make: Callable[[], Any],
    batches: Callable[[], Any] | Iterable[Any],
    path: Path | str,
    steps: int = 20,
    *,
    limit: int = LIMIT,
    most: float = MOST,
    name: str = "",
    seed: int = 0,
) -> WrittenTraining:
    """Record what a PyTorch training computes, for a machine that has JAX alone.

    Args:
        make: returns (module, step), as for `parity.check_training`; called three times.
        batches: likewise.
        path: of the new file.
        steps: how many.
        limit: numbers of a value of the forward pass; of what has more, a fingerprint is kept.
        most: bytes; steps that do not fit are left out.
        name: what the record is called.
        seed: of the random numbers that the steps draw.

    Raises:
        UserError: the training cannot be called so, or the file cannot be written.
    """
    path = Path(path)
    file.check_new(path)
    pairs = drawn(batches, steps)
    ours, kept = LiveTorch(make, [batch for batch, _ in pairs]), Arrays(limit)
    try:
        first = ours.first(OwnSupply(seed, 0))
        refuse_random(first.step)
        header: dict[str, Any] = {
            "first": {
                "outputs": first.outputs,
                "roots": first.roots,
                "arrays": named_header(first.arrays, kept.add, "first"),
            },
            "trace": trace_header(first.trace, kept),
            "steps": [],
            "draws": [],
            "batches": [],
        }
        training = ours.training()
        for number, (batch, theirs) in enumerate(pairs):
            supply = OwnSupply(seed, number)
            step = step_header(ours.step(training, batch, supply), kept, number)
            if kept.bytes > most and number:
                break
            if kept.bytes > most:
                raise UserError(f"one step takes {kept.bytes / 1e9:.2g} GB, more than --max-size: {most / 1e9:g}")
            header["steps"].append(step)
            header["draws"].append(draws_header(supply.drawn, kept.add, f"draws/{number}"))
            header["batches"].append(tree_header(theirs, kept.add, f"batches/{number}"))
        header |= {"shares": dict(ours.shares), "precision": precision_header(ours.precision())}
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the PyTorch training cannot be recorded: {explained(error)}") from error
    count = len(header["steps"])
    notes = [*fewer(pairs, steps), *shortened(count, len(pairs), most)]
    header |= {"side": "torch training", "name": name or "training", "seed": seed, "notes": notes}
    header["versions"] = versions("torch")
    file.write(path, header, _used(header, kept))
    return WrittenTraining(path, file.size(path), count, notes)


def _used(header: Any, kept: Arrays) -> dict[str, Any]:
    """Return the arrays without those of a step that was left out."""
    arrays, count = kept.all(), len(header["steps"])
    names = set[str]()

    def seen(value: Any) -> None:
        if isinstance(value, dict):
            for child in value.values():
                seen(child)
        elif isinstance(value, list):
            if value and isinstance(value[0], str) and value[0] in arrays:
                names.add(value[0])
            for child in value:
                seen(child)

    if not any(name.startswith(f"steps/{count}/") for name in arrays):
        return arrays
    seen(header)
    return {name: array for name, array in arrays.items() if name in names or name.startswith("fingerprints/")}
