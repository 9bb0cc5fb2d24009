"""Finding a framework's best variant on this device: short trials, of which the report shows all."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from parity.bench.plan import TASKS, Choices, Variant, first_trials, flax_trials, later_trials
from parity.bench.process import Worker, WorkerError

Open = Callable[[Variant], Worker]  # starts a worker, which is ended with the network's measurements at the latest


class Candidate(NamedTuple):
    """A variant that runs, and what is known of it."""

    variant: Variant
    worker: Worker
    prepared: dict[str, Any]  # what compiling and the first steps took
    rates: dict[str, float]  # of its trial, by task: examples a second


class Search(NamedTuple):
    """What the trials of one framework have come to."""

    best: dict[str, Candidate]  # by task; none if nothing runs
    trials: list[dict[str, Any]]  # for JSON


def search_flax(choices: Choices, start: Open, ready: dict[str, Any], seconds: float) -> Search:
    """Try all of Flax's variants; see `search_torch`."""
    return _try(flax_trials(choices), start, ready, seconds, Search({}, []))


def search_torch(choices: Choices, start: Open, ready: dict[str, Any], seconds: float, *, images: bool) -> Search:
    """Try PyTorch's variants: not compiled in every layout and thread count, compiled in the best of these.

    Args:
        choices: what may be tried.
        start: makes a worker.
        ready: all of a `plan.Setting` but what the variant says.
        seconds: of a trial.
        images: the network convolves over images, so the layout is a choice.
    """
    found = _try(first_trials(choices, images=images), start, ready, seconds, Search({}, []))
    return _try(later_trials(choices, [one.variant for one in found.best.values()]), start, ready, seconds, found)


def prepare(variant: Variant, start: Open, ready: dict[str, Any], seconds: float) -> Candidate | str:
    """Start a variant and give it a trial; return it, or why it does not run here."""
    worker = start(variant)
    try:
        setting = {**ready, "mode": variant.mode, "threads": variant.threads, "layout": variant.layout}
        prepared = worker.ask("prepare", setting=setting)
        rates = {task: worker.ask("trial", task=task, feed="device", seconds=seconds)["rate"] for task in TASKS}
    except WorkerError as error:
        worker.close()
        return str(error)
    return Candidate(variant, worker, prepared, rates)


def _try(variants: Sequence[Variant], start: Open, ready: dict[str, Any], seconds: float, found: Search) -> Search:
    """Return the search after a few more trials. A worker that is the best at nothing is ended."""
    best, trials = dict(found.best), list(found.trials)
    for variant in variants:
        tried = prepare(variant, start, ready, seconds)
        if isinstance(tried, str):
            trials.append({**variant._asdict(), "error": tried})
            continue
        trials.append({**variant._asdict(), **tried.prepared, "rates": tried.rates})
        before = list(best.values())
        best |= {task: tried for task in TASKS if task not in best or tried.rates[task] > best[task].rates[task]}
        for one in (*before, tried):
            if all(one is not kept for kept in best.values()):
                one.worker.close()
    return Search(best, trials)
