"""Recording a JAX training: its steps as equations, each with its line. PyTorch is not needed."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from parity.records import file
from parity.records.encode import Arrays, line_header, named_header, tree_header
from parity.records.programs import Writer
from parity.records.steps import draws_header, precision_header
from parity.records.versions import versions
from parity.records.written import LIMIT, WrittenTraining
from parity.sides.arrays import x64
from parity.sides.faults import explained
from parity.trace.low import restored
from parity.training.backward import program_backward
from parity.training.batches import Batch, drawn, fewer
from parity.training.draws import DrawingTape, drawing_tapes
from parity.training.jax_live import LiveJax
from parity.training.lifted import filled, lifted
from parity.training.program import Given, equations
from parity.training.tape import Tape


def record_jax_training(
    make: Callable[[], Any],
    batches: Callable[[], Any] | Iterable[Any],
    path: Path | str,
    steps: int = 20,
    *,
    name: str = "",
) -> WrittenTraining:
    """Record a JAX training, for a machine that has PyTorch alone.

    Args:
        make: returns (state, step), as for `parity.check_training`.
        batches: likewise.
        path: of the new file.
        steps: how many.
        name: what the record is called.

    Raises:
        UserError: the training cannot be called so, or the file cannot be written.
    """
    path = Path(path)
    file.check_new(path)
    pairs = drawn(batches, steps)
    theirs, kept = LiveJax(make), Arrays(LIMIT)
    try:
        with x64():
            header = _recorded(theirs, pairs, kept)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the JAX training cannot be recorded: {explained(error)}") from error
    notes = fewer(pairs, steps)
    header |= {"side": "jax training", "name": name or "training", "notes": notes, "versions": versions("jax")}
    file.write(path, header, kept.all())
    return WrittenTraining(path, file.size(path), len(pairs), notes)


def _recorded(theirs: LiveJax, pairs: Sequence[tuple[Batch, Batch]], kept: Arrays) -> dict[str, Any]:
    plain = [batch for _, batch in pairs]
    tapes = drawing_tapes(theirs.training, plain)
    writer, programs, headers = Writer(kept, restored), dict[int, Any](), list[Any]()
    steps, first = [], None
    for number, (batch, tape) in enumerate(zip(plain, tapes, strict=True)):
        program = theirs.program(batch)
        if id(program) not in programs:
            programs[id(program)] = (len(headers), *(lifted(program) if tape is not None else (program, [])))
            headers.append(_program(programs[id(program)][1], writer))
        at, whole, slots = programs[id(program)]
        given = Given(batch, filled(slots, _by_equation(tape)))
        if first is None:
            first = Tape(whole).run(theirs.leaves, given)
        arrays = [kept.add(f"steps/{number}/given/{i}", np.asarray(a)) for i, a in enumerate(whole.flat(given))]
        draws = draws_header(tape.drawn if tape is not None else [], kept.add, f"draws/{number}")
        steps.append({"program": at, "given": arrays, "draws": draws})
    assert first is not None
    after = {leaf: np.asarray(node.array) for leaf, node in first.outputs.items()}
    batches = [[tree_header(b, kept.add, f"batches/{i}/{side}") for side, b in enumerate(pair)]
               for i, pair in enumerate(pairs)]  # fmt: skip
    return {
        "leaves": named_header(theirs.leaves, kept.add, "leaves"),
        "programs": headers,
        "steps": steps,
        "batches": batches,
        "after": named_header(after, kept.add, "after"),
        "loss": kept.add("loss", np.asarray(first.loss.array, np.float64)),
        "precision": precision_header(theirs.precision(plain[0])),
        "lines": [line_header(line) for line in writer.lines],
    }


def _program(program: Any, writer: Writer) -> dict[str, Any]:
    back = program_backward(program)
    header = {key: getattr(program, key) for key in ("names", "outputs", "loss", "count")}
    numbers = [i for i, equation in enumerate(equations(program.closed.jaxpr)) if id(equation) in back]
    return {**header, "single": bool(program.single), "backward": numbers, "closed": writer.closed(program.closed)}


def _by_equation(tape: DrawingTape | None) -> dict[int, list[np.ndarray]]:
    found: dict[int, list[np.ndarray]] = {}
    for call in tape.calls if tape is not None else ():
        found.setdefault(call.equation, []).append(call.array)
    return found
