"""A step whose loss or gradients are NaN or infinite: the batch is saved and the training stops (--on-nan stop).

With --on-nan skip the step changes nothing instead; that is done by the framework's step and counted by the monitor.
"""

import json
from typing import NoReturn

from data import Loader, UserError
from experiment.loop.metrics import finite
from experiment.loop.monitor import BadStep
from experiment.loop.session import Session
from experiment.loop.task import training_loader
from experiment.runs import checkpoint
from experiment.runs.atomic import write
from experiment.weights.safetensors_file import pack

BAD_JSON, BAD_BATCH = "not-finite.json", "not-finite.safetensors"


def stop_at(session: Session, loader: Loader, epoch: int, bad: BadStep) -> NoReturn:
    """Save the batch of a bad step and end the command; the last checkpoint was saved before that step.

    Raises:
        UserError: always; it names the step, its examples and what to try.
    """
    indices = loader.indices(epoch, bad.number)
    step = epoch * len(loader) + bad.number + 1
    whole = training_loader(session.config, session.task)  # `loader` may yield only one process's share of each batch
    batch = next(iter(whole.epoch(epoch, bad.number)))
    report = {"step": step, "epoch": epoch, "batch": bad.number, "examples": indices.tolist()}
    report |= {"loss": finite(bad.loss), "grad_norm": finite(bad.grad_norm)}
    write(session.folder / BAD_JSON, (json.dumps(report) + "\n").encode())
    write(session.folder / BAD_BATCH, pack({"inputs": batch.inputs, "labels": batch.labels}))
    last = next(iter(checkpoint.folders(session.folder)), None)
    rest = f"the last good checkpoint is {last}" if last else "no checkpoint was due before it"
    numbers = f"loss {bad.loss}, norm of the gradients {bad.grad_norm}"
    few = ", ".join(map(str, indices[:8])) + ("..." if len(indices) > 8 else "")
    raise UserError(
        f"step {step} (epoch {epoch + 1}, batch {bad.number + 1}, training examples {few}) is not finite:"
        f" {numbers}. The batch is in {session.folder / BAD_BATCH}; {rest}."
        " Try a smaller --lr, --clip-norm or --on-nan skip"
    )
