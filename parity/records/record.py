"""Recording a PyTorch module: all that `parity.records.module` gives back. JAX is not needed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.errors import UserError
from parity.checks.torch_training import TorchTrainingMode
from parity.records import file
from parity.records.encode import Arrays, named_header, trace_header, tree_header
from parity.records.steps import draws_header
from parity.records.training_mode import no_pass, without_training
from parity.records.versions import versions
from parity.records.written import LIMIT, Written
from parity.sides.draw import Inputs
from parity.sides.faults import described, explained
from parity.sides.given import (
    BOTH,
    LAST,
    SAME,
    arrays,
    channels_first,
    choices,
    fitted,
    moved,
    normalised,
)
from parity.sides.numbers import is_float, to_numpy, tree_map
from parity.sides.random_draws import OTHER
from parity.sides.reference import Statistics
from parity.sides.signatures import parameters
from parity.sides.torch_module import TorchModule
from parity.training.supply import Drawn, own_numbers

WEIGHTS = 1_048_576  # numbers of a gradient, likewise
CONVOLVES_FIRST = (torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.BatchNorm1d, torch.nn.InstanceNorm1d)


def record(
    torch_module: Any,
    inputs: Any,
    path: Path | str,
    *,
    layout: str | None = None,
    limit: int = LIMIT,
    name: str = "",
    seed: int = 0,
) -> Written:
    """Record what a PyTorch module computes, for a machine that has JAX alone.

    Args:
        torch_module: the reference; it stays as it is.
        inputs: as for `parity.check`.
        path: of the new file.
        layout: how the inputs are given; None: what the module takes, channels last before channels first.
        limit: numbers of a value; of what has more, a fingerprint is kept.
        name: what the record is called.
        seed: of the random weights.

    Raises:
        UserError: the module cannot be called so, or the file cannot be written.
    """
    path = Path(path)
    file.check_new(path)
    module = TorchModule(torch_module)
    given = normalised(tree_map(_wide, inputs))
    ours, ways, notes = _inputs(module, given, layout)
    module.randomise(seed, *ours)
    _rounded(module)
    kept, header = Arrays(limit), {"side": "torch", "name": name or type(torch_module).__name__, "seed": seed}
    header |= {"versions": versions("torch"), "limit": limit, "layouts": ways, "notes": [*module.notes, *notes]}
    try:
        header |= _weights(module, kept) | _recorded(module, given, ours, kept)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the PyTorch side cannot be recorded: {explained(error)}") from error
    warning = without_training("PyTorch", header["training"])
    header["notes"] = [*header["notes"], *filter(None, (warning,))]
    file.write(path, header, kept.all())
    trace = header["trace"]
    return Written(
        path, file.size(path), len(trace["ops"]), len(trace["values"]), len(kept.prints), "; ".join(notes), warning
    )


def _inputs(module: TorchModule, given: Inputs, layout: str | None) -> tuple[Inputs, dict[str, str], list[str]]:
    """Return the inputs in the first layout that the module takes, whether each is moved, and what is said of it."""
    names, errors = parameters(module.module.forward), list[str]()
    layers = (m for m in module.module.modules() if any(True for _ in m.parameters(recurse=False)))
    first = isinstance(next(layers, None), CONVOLVES_FIRST)
    seen = set[tuple[str, ...]]()
    for chosen in choices(arrays(given), first, layout):
        turned = tuple(name for name, way in chosen.items() if way in (LAST, BOTH))
        if turned in seen:
            continue
        seen.add(turned)
        ours, notes = fitted(moved(given, chosen, (LAST, BOTH), channels_first), names, "PyTorch")
        try:
            with module.kept(), torch.no_grad():
                module.call(*ours, train=False)
        except Exception as error:
            errors.append(f"the PyTorch side cannot be called: {explained(error)}; "
                          f"{described(module.module.forward, *ours)}")  # fmt: skip
            continue
        ways = {name: LAST if name in turned else SAME for name in chosen}
        return ours, ways, notes
    raise UserError(errors[0])


def _rounded(module: TorchModule) -> None:
    """Round the random weights to float32, which takes half of the space; they are random in any case."""
    with torch.no_grad():
        for name, tensor in module.tensors.items():
            if name in module.trained and tensor.dtype == torch.float64:
                tensor.copy_(tensor.float().double())


def _weights(module: TorchModule, kept: Arrays) -> dict[str, Any]:
    return {
        "weights": named_header(module.parameters, kept.add, "weights"),
        "trained": sorted(module.trained),
        "saved": sorted(module.saved),
        "tied": module.tied,
    }


def _recorded(module: TorchModule, given: Inputs, ours: Inputs, kept: Arrays) -> dict[str, Any]:
    """Return what the module computes, as data; the arrays are added to `kept`."""
    header = {
        name: {"args": tree_header(i.args, kept.add, name), "kwargs": tree_header(dict(i.kwargs), kept.add, name)}
        for name, i in (("given", given), ("inputs", ours))
    }
    trace, outputs, numbers = module.recorded(ours)
    single = module.float32()
    outputs32 = module.float32_outputs(ours, single)
    gradients, cotangents = module.gradients(ours)
    errors = module.float32_errors(ours, gradients, cotangents, single)
    del single
    step = _statistics(module, ours)
    header |= {
        "outputs": {
            name: [numbers.get(name), kept.add(f"outputs/{name}", to_numpy(array))] for name, array in outputs.items()
        },
        "float32": {"outputs": named_header(outputs32, kept.add, "float32"), "gradients": errors},
        "cotangents": named_header(cotangents, kept.add, "cotangents"),
        "statistics": {
            "layers": step.layers,
            "noisy": step.noisy,
            "after": named_header(step.after, kept.add, "after"),
            "shares": dict(step.shares),
        },
        "trace": trace_header(trace, kept),
    }
    kept.limit = max(kept.limit, WEIGHTS)
    training = _training_mode(module, ours, kept)
    return header | {"gradients": named_header(gradients, kept.sketch, "gradients"), "training": training}


def _statistics(module: TorchModule, ours: Inputs) -> Statistics:
    """Return what a training step makes of running statistics; nothing if it raises, which `_training_mode` says."""
    try:
        return module.statistics(ours)
    except Exception:
        module.module.eval()
        return Statistics(0, 0, {}, {})


def _training_mode(module: TorchModule, ours: Inputs, kept: Arrays) -> dict[str, Any]:
    """Return a pass in training mode with the random numbers that it draws, or why there is none."""
    mode, rng = TorchTrainingMode(module, ours), np.random.default_rng(20)
    try:
        draws = mode.draws()
        numbers = [own_numbers(draw, rng) for draw in draws]
        header: dict[str, Any] = {
            "draws": draws_header(list(map(Drawn, draws, numbers)), kept.add, "draws"),
            "moving": mode.moving,
        }
        if any(draw.kind == OTHER for draw in draws) or not (draws or mode.moving or not mode.as_evaluation):
            return header
        found = mode.passed(numbers)
        errors = mode.float32_errors(numbers, found)
    except Exception as error:  # a module may have no training mode
        return {"moving": mode.moving, **no_pass(error, mode.crash())}
    buffers = {name: array for name, array in found.after.items() if name not in module.trained}
    return header | {
        "outputs": named_header(found.outputs, kept.add, "training/outputs"),
        "gradients": named_header(found.gradients, kept.sketch, "training/gradients"),
        "cotangents": named_header(found.cotangents, kept.add, "training/cotangents"),
        "after": named_header(buffers, kept.add, "training/after"),
        "float32": [{n: e for n, e in part.items() if math.isfinite(e)} for part in errors],
        "shares": {name: mode.share(name) for name in buffers if "running_" in name},
    }


def _wide(array: Any) -> Any:
    return array.astype(np.float64) if isinstance(array, np.ndarray) and is_float(array) else array
