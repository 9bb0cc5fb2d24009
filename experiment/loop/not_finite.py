"""Steps with a loss, gradients or a result that are NaN or infinite: the training stops, and saves nothing of them.

With --on-nan skip the framework's step leaves out such steps itself, and the monitor counts them; the training stops
after an epoch in which no step was taken.
"""

import json
from typing import NoReturn

from data import Loader, UserError
from experiment.loop.metrics import finite
from experiment.loop.monitor import StepMetrics
from experiment.loop.session import Session
from experiment.loop.task import training_loader
from experiment.runs import checkpoint
from experiment.runs.atomic import write
from experiment.weights.safetensors_file import pack

BAD_JSON, BAD_BATCH = "not-finite.json", "not-finite.safetensors"


def stop_at(session: Session, loader: Loader, epoch: int, bad: StepMetrics) -> NoReturn:
    """Save the batch of a bad step and end the command; the last checkpoint was saved before that step.

    Raises:
        UserError: always; it names the step, its examples and what to try.
    """
    name = _report(session, loader, epoch, bad, [])
    numbers = f"loss {bad.loss}, norm of the gradients {bad.grad_norm}"
    raise UserError(f"{name} is not finite: {numbers}. {_rest(session)}")


def stop_after(session: Session, loader: Loader, epoch: int, step: StepMetrics, tensors: list[str]) -> NoReturn:
    """Save the batch of the last step, after which `tensors` of the training's state are not finite; end the command.

    Raises:
        UserError: always; it names the step, its examples, the tensors and what to try.
    """
    name = _report(session, loader, epoch, step, tensors)
    few = ", ".join(tensors[:3]) + (f" and {len(tensors) - 3} more" if len(tensors) > 3 else "")
    raise UserError(f"{name} leaves a state that is not finite: {few}. {_rest(session)}")


def stop_without_steps(session: Session, epoch: int, steps: int) -> NoReturn:
    """End the command after an epoch in which every step was skipped: the epochs after it would be no better.

    Raises:
        UserError: always; it names the epoch, the last checkpoint and what to try.
    """
    number = "its only step was" if steps == 1 else f"its {steps} steps were all"
    raise UserError(
        f"epoch {epoch + 1} trained nothing: {number} skipped, because the loss, the gradients or the result was not"
        f" finite; {_last(session)}. Try a smaller --lr or --clip-norm; --on-nan stop names the first such step"
    )


def _report(session: Session, loader: Loader, epoch: int, step: StepMetrics, tensors: list[str]) -> str:
    """Write a step's numbers and its batch into the run folder; return the step and its examples in words."""
    indices = loader.indices(epoch, step.number)
    number = epoch * len(loader) + step.number + 1
    whole = training_loader(session.config, session.task)  # `loader` may yield only one process's share of each batch
    batch = next(iter(whole.epoch(epoch, step.number)))
    report = {"step": number, "epoch": epoch, "batch": step.number, "examples": indices.tolist()}
    report |= {"loss": finite(step.loss), "grad_norm": finite(step.grad_norm), "tensors": tensors}
    write(session.folder / BAD_JSON, (json.dumps(report) + "\n").encode())
    write(session.folder / BAD_BATCH, pack({"inputs": batch.inputs, "labels": batch.labels}))
    few = ", ".join(map(str, indices[:8])) + ("..." if len(indices) > 8 else "")
    return f"step {number} (epoch {epoch + 1}, batch {step.number + 1}, training examples {few})"


def _rest(session: Session) -> str:
    place = f"The batch is in {session.folder / BAD_BATCH}; {_last(session)}."
    return f"{place} Try a smaller --lr, --clip-norm or --on-nan skip"


def _last(session: Session) -> str:
    last = next(iter(checkpoint.folders(session.folder)), None)
    return f"the last good checkpoint is {last}" if last else "no checkpoint was due before it"
