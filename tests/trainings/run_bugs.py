"""Check the trainings of this folder and their planted bugs, and tell what was found against what is true.

`python -m tests.trainings.run_bugs [TEXT ...]` runs the bugs whose names hold a text, all without one; `--right` runs
the right pairs instead, `--seeds N` with so many seeds of batches each. `--markdown FILE` writes the bugs as a page.
"""

import argparse
import functools
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parity.sides.target import load_function
from parity.training.check_training import check_training
from parity.training.outcome import TrainingReport
from tests.trainings import FOLDER, PAIRS, batches
from tests.trainings.bugs import BUGS, Bug

STEPS = 10
PACKAGES = ("jax", "flax", "optax", "torch", "numpy")


def check_bug(bug: Bug, steps: int = STEPS) -> TrainingReport:
    """Check a pair with a bug planted."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (load_function(f"{file}:training") for file in bug.write(Path(folder)))
        return check_training(ours, theirs, getattr(batches, PAIRS[bug.pair]), steps)


def check_right(name: str, seed: int = 0, steps: int = STEPS) -> TrainingReport:
    """Check a pair as it is."""
    ours, theirs = (load_function(f"{FOLDER / f'{name}_{side}.py'}:training") for side in ("torch", "jax"))
    return check_training(ours, theirs, functools.partial(getattr(batches, PAIRS[name]), seed), steps)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--right", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.right:
        for name in args.names or PAIRS:
            reports = [check_right(name, seed) for seed in range(args.seeds)]
            worst = max(stage.error for report in reports for stage in report.stages)
            print(
                f"{name}: {sum(report.ok for report in reports)} of {args.seeds} proved, worst {worst:.1e}", flush=True
            )
        return
    rows = []
    for bug in [bug for bug in BUGS if not args.names or any(text in bug.name for text in args.names)]:
        rows.append(row(bug))
        print(f"{shown(rows[-1])}\n    {rows[-1]['text']}", flush=True)
    print(totals(rows))
    if args.markdown:
        args.markdown.write_text(page(rows))


def row(bug: Bug) -> dict[str, Any]:
    """Check a pair with a bug; return what was found, and whether it is right."""
    wall, processor = time.perf_counter(), time.process_time()
    report = check_bug(bug)
    return {
        "bug": bug.name,
        "caught": not report.ok,
        "stage": report.stage,
        "stage right": report.stage == bug.stage,
        "step": report.step,
        "step right": report.step == bug.step,
        "word": bug.word.lower() in report.diagnosis.lower() if bug.word else None,
        "diagnosis": report.diagnosis,
        "text": "\n    ".join(failure.text for failure in report.failures),
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - processor,
    }


def shown(r: dict[str, Any]) -> str:
    """Return a bug's line; what is wrong is in capitals."""
    wrong = [name.upper() for name in ("stage right", "step right", "word") if r[name] is False]
    return " ".join([f"{r['bug']}: {r['stage']} {r['step']}", *wrong, f"{r['seconds']:.1f} s"])


def totals(rows: list[dict[str, Any]]) -> str:
    """Return the counts."""
    asked = [r["word"] for r in rows if r["word"] is not None]
    counts = [sum(r[name] for r in rows) for name in ("caught", "stage right", "step right")]
    return "{} bugs: caught {}, stage {}, step {}, word {} of {}".format(len(rows), *counts, sum(asked), len(asked))


def page(rows: list[dict[str, Any]]) -> str:
    """Return the bugs as a page of Markdown."""
    slowest, middle = max(rows, key=lambda r: r["cpu"]), sorted(r["cpu"] for r in rows)[len(rows) // 2]
    marks = {True: "", False: " (**wrong**)", None: ""}
    lines = [
        "# Planted bugs in trainings",
        "",
        f"`python -m tests.trainings.run_bugs --markdown planted-trainings.md`, {time.strftime('%Y-%m-%d')}, "
        f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}, two cores shared with much other work.",
        "",
        f"{totals(rows)} (where one is asked for); {STEPS} steps. Processor time: {middle:.1f} s in the middle, "
        f"{slowest['cpu']:.1f} s at most ({slowest['bug']}).",
        "",
        "| bug | caught | stage | step | diagnosis | s | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['bug']} | {'yes' if r['caught'] else '**no**'} | {r['stage']}{marks[r['stage right']]} | "
        f"{r['step']}{marks[r['step right']]} | {r['diagnosis'].replace('|', '')}{marks[r['word']]} | "
        f"{r['seconds']:.1f} | {r['cpu']:.1f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
