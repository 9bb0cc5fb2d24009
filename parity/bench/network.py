"""One network measured: its best variants found, shown to compute the same, and then timed in turns."""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiment.runs.folder import WEIGHTS
from experiment.weights.safetensors_file import read_weights
from parity.bench import agreement, roofline
from parity.bench.agreement import Agreement, Change, First
from parity.bench.figures import Series, ratio
from parity.bench.plan import EAGER, FEEDS, FRAMEWORKS, TASKS, Choices, Variant, batch_size, turns
from parity.bench.process import Worker, WorkerError
from parity.bench.roofline import Peak, Size
from parity.bench.search import Candidate, Search, prepare, search_flax, search_torch

LOADER, DATA_LOADER = "loader", "DataLoader"  # the tables from end to end
FEW_WORKERS = 4  # processes of a DataLoader, if there are as many cores


class Session(NamedTuple):
    """What all networks are measured with."""

    device: str
    cores: int
    peak: Peak
    choices: Choices
    rounds: int
    seconds: float  # of a round
    batch_size: int | None
    common: dict[str, Any]  # of each `plan.Setting`: precision, tf32, optimizer, dataset, data_dir

    @property
    def trial_seconds(self) -> float:
        """Return the length of a trial."""
        return self.seconds / 2

    @property
    def bound_name(self) -> str:
        """Return the name of the precision in `agreement.BOUNDS`."""
        tf32 = self.common["tf32"] and self.device == "gpu" and self.common["precision"] == "float32"
        return "tf32" if tf32 else self.common["precision"]


class Source(NamedTuple):
    """What a series of rounds is of: a worker that does a task with batches from somewhere."""

    candidate: Candidate
    task: str
    feed: str


def measure(name: str, known: dict[str, Any], session: Session) -> dict[str, Any]:
    """Return all figures of a network for JSON; `ok` is false, and there are none, where something does not hold.

    Args:
        name: of the network; `parity check` has passed.
        known: what `sizes.about` says of it.
        session: what it is measured with.
    """
    size = Size(**known["size"])
    batch = batch_size(session.batch_size, session.device, size.flops)
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="jaxnets-bench-") as folder:
        start = partial(_start, stack, session.device)
        ready = {"name": name, "batch_size": batch, "weights": folder, **session.common}
        ours = search_flax(session.choices, start, ready, session.trial_seconds)
        found: dict[str, Any] = {"batch_size": batch, "trials": ours.trials}
        if not ours.best:
            return found | _failed(f"Flax runs in no mode: {ours.trials[-1]['error']}")
        theirs = search_torch(session.choices, start, ready, session.trial_seconds, images=known["images"])
        found["trials"] += theirs.trials
        if not theirs.best:
            return found | _failed(f"PyTorch runs in no mode: {theirs.trials[-1]['error']}")
        try:
            eager = _eager(theirs, start, ready, session)
            return found | _measured(ours, theirs, eager, known, session, batch, Path(folder))
        except WorkerError as error:
            return found | _failed(str(error))


def _measured(
    ours: Search, theirs: Search, eager: Candidate | None, known: Any, session: Session, batch: int, folder: Path
) -> dict[str, Any]:
    """Return what the best variants come to, once they are seen to do the same."""
    agreed = _agree(ours, theirs, folder, known["dropout"], session)
    found: dict[str, Any] = {"agreement": agreed._asdict()}
    if not agreed.ok:
        return found | _failed(f"the first steps are not the same: {_in_words(agreed)}")
    tables = {task: _on_device(task, ours, theirs, session) for task in TASKS}
    tables |= _end_to_end(ours, theirs, eager, session, tables["training"])
    works = {
        "training": roofline.training(
            Size(**known["size"]), batch, session.common["precision"], session.common["optimizer"]
        ),
        "inference": roofline.inference(Size(**known["size"]), batch, session.common["precision"]),
    }
    for task, work in works.items():
        tables[task]["roofline"] = _roofline(work, tables[task], session.peak, batch)
    trained = [search.best["training"] for search in (ours, theirs)] + ([eager] if eager else [])
    changes = {str(one.variant): _change(one.worker, folder, known["trained"]) for one in trained}
    found["changes"] = {name: change._asdict() for name, change in changes.items()}
    if bad := [f"{name}: {change}" for name, change in changes.items() if not change.ok]:
        return found | _failed(f"the steps have not changed the weights as they should: {'; '.join(bad)}")
    return found | {"ok": True, "tables": tables, "memory": _memory(ours, theirs)}


def _start(stack: ExitStack, device: str, variant: Variant) -> Worker:
    return stack.enter_context(Worker(variant.framework, device, variant.threads))


def _failed(why: str) -> dict[str, Any]:
    return {"ok": False, "why": why}


def _eager(theirs: Search, start: Any, ready: dict[str, Any], session: Session) -> Candidate | None:
    """Return PyTorch as most people run it: not compiled, in its best layout and thread count; None if not tried."""
    tried = [trial for trial in theirs.trials if trial["mode"] == EAGER and "error" not in trial]
    if not tried:
        return None
    fastest = max(tried, key=lambda trial: trial["rates"]["training"])
    variant = Variant(*(fastest[field] for field in Variant._fields))
    running = [one for one in theirs.best.values() if one.variant == variant]
    found = running[0] if running else prepare(variant, start, ready, session.trial_seconds)
    if isinstance(found, str):
        raise WorkerError(found)
    return found


def _agree(ours: Search, theirs: Search, folder: Path, dropout: bool, session: Session) -> Agreement:
    """Compare both sides' first steps; where they are far apart, with PyTorch's in float64, too."""
    first, second = (_first(side, folder, dropout=dropout) for side in (theirs, ours))
    found = agreement.compare_first(first, second, session.bound_name, session.common["optimizer"])
    if found.ok:
        return found
    exact = _first(theirs, folder, dropout=dropout, exact=True)
    return agreement.judge(found, first, second, exact, session.bound_name)


def _first(side: Search, folder: Path, **options: bool) -> First:
    """Return a side's first steps, by its best variant of training, and logits by its best of inference."""
    workers = {task: side.best[task].worker for task in TASKS}
    answers: dict[str, Any] = {}
    for task, worker in workers.items():
        if answers and worker is workers["training"]:
            answers[task] = answers["training"]
            continue
        answers[task] = worker.ask("first_steps", folder=str(_after(worker, task, options)), **options)
    before, now = (read_weights(one / WEIGHTS) for one in (folder, _after(workers["training"], "training", options)))
    return agreement.first_of(answers["training"]["steps"], answers["inference"]["logits"], before, now)


def _after(worker: Worker, task: str, options: dict[str, bool]) -> Path:
    return worker.folder / f"first-{task}{'-exact' if options.get('exact') else ''}"


def _change(worker: Worker, folder: Path, trained: list[str]) -> Change:
    after = worker.folder / "after"
    after.mkdir(exist_ok=True)
    worker.ask("export", folder=str(after))
    before, now = (agreement.by_path(read_weights(one / WEIGHTS)) for one in (folder, after))
    return agreement.change(before, now, trained)


def _on_device(task: str, ours: Search, theirs: Search, session: Session) -> dict[str, Any]:
    """Return a table's row of batches that lie on the device."""
    sources = {
        side: Source(search.best[task], task, "device")
        for side, search in zip(FRAMEWORKS, (ours, theirs), strict=True)
    }
    series, order = _rounds(sources, session)
    return _row(sources, series, order)


def _end_to_end(
    ours: Search, theirs: Search, eager: Candidate | None, session: Session, on_device: dict[str, Any]
) -> dict[str, Any]:
    """Return the rows of trainings that are fed by loaders; `on_device` is the row of one that is not."""
    feeds = FEEDS[session.device]
    sources = {
        side: _best_feed(search.best["training"], feeds, session)
        for side, search in zip(FRAMEWORKS, (ours, theirs), strict=True)
    }
    if eager:
        counts = (0, min(FEW_WORKERS, session.cores))
        sources[DATA_LOADER] = _best_feed(eager, [f"{DATA_LOADER}, {count} workers" for count in counts], session)
    series, order = _rounds(sources, session)
    rows = {LOADER: _row({side: sources[side] for side in FRAMEWORKS}, series, order)}
    rows[LOADER]["stall"] = {side: series[side].median / on_device[side]["median"] for side in FRAMEWORKS}
    if eager:
        pair = {"jaxnets": sources["jaxnets"], "torchnets": sources[DATA_LOADER]}
        rows[DATA_LOADER] = _row(pair, {"jaxnets": series["jaxnets"], "torchnets": series[DATA_LOADER]}, order)
        rows[DATA_LOADER]["on_device_ratio"] = on_device["jaxnets"]["median"] / series[DATA_LOADER].median
    return rows


def _best_feed(candidate: Candidate, feeds: Any, session: Session) -> Source:
    """Return a training by the best of several loaders."""
    rates = {
        feed: candidate.worker.ask("trial", task="training", feed=feed, seconds=session.trial_seconds)["rate"]
        for feed in feeds
    }
    return Source(candidate, "training", max(rates, key=lambda feed: rates[feed]))


def _rounds(sources: dict[str, Source], session: Session) -> tuple[dict[str, Series], list[str]]:
    """Measure by turns; return each source's series, and the order of the turns."""
    order = turns(session.rounds, list(sources))
    rates: dict[str, list[float]] = {side: [] for side in sources}
    for side in order:
        candidate, task, feed = sources[side]
        rates[side].append(candidate.worker.ask("round", task=task, feed=feed, seconds=session.seconds)["rate"])
    return {side: Series.of(values) for side, values in rates.items()}, order


def _row(sources: dict[str, Source], series: dict[str, Series], order: list[str]) -> dict[str, Any]:
    sides = {
        side: {
            **series[side]._asdict(),
            "variant": str(source.candidate.variant),
            "feed": source.feed,
            **source.candidate.prepared[source.task],
        }
        for side, source in sources.items()
    }
    return {**sides, "ratio": ratio(series["jaxnets"], series["torchnets"])._asdict(), "order": order}


def _roofline(work: roofline.Work, row: dict[str, Any], peak: Peak, batch: int) -> dict[str, Any]:
    limit = roofline.limit_seconds(work, peak)
    shares = {side: limit * row[side]["median"] / batch for side in FRAMEWORKS}
    return {**work._asdict(), "limit_seconds": limit, "limited_by": roofline.limited_by(work, peak), "share": shares}


def _memory(ours: Search, theirs: Search) -> dict[str, Any]:
    """Return the peak memory of a training step, in bytes, as each framework has it, and the ratio if both say so."""
    sides = {
        side: search.best["training"].prepared["memory"]
        for side, search in zip(FRAMEWORKS, (ours, theirs), strict=True)
    }
    peaks = [sides[side]["peak_bytes"] for side in FRAMEWORKS]
    return {**sides, "ratio": peaks[0] / peaks[1] if all(peaks) else None}


def _in_words(agreed: Agreement) -> str:
    figures = {name: value for name, value in agreed._asdict().items() if name != "ok" and value is not None}
    return ", ".join(f"{name} {value:.1e}" for name, value in figures.items())
