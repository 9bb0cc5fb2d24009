"""Check the trainings of this folder and their planted bugs, and tell what was found against what is true.

`python -m tests.trainings.run_bugs [TEXT ...]` runs the bugs whose names hold a text, all without one; `--right` runs
the right pairs instead, `--seeds N` with so many seeds of batches each.
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path

from parity.sides.target import load_function
from parity.training.check_training import check_training
from parity.training.outcome import TrainingReport
from tests.trainings import FOLDER, PAIRS, batches
from tests.trainings.bugs import BUGS, Bug

STEPS = 10


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
    args = parser.parse_args()
    if args.right:
        for name in args.names or PAIRS:
            reports = [check_right(name, seed) for seed in range(args.seeds)]
            worst = max(stage.error for report in reports for stage in report.stages)
            print(
                f"{name}: {sum(report.ok for report in reports)} of {args.seeds} proved, worst {worst:.1e}", flush=True
            )
        return
    marks = []
    for bug in [bug for bug in BUGS if not args.names or any(text in bug.name for text in args.names)]:
        start = time.perf_counter()
        report = check_bug(bug)
        at, when = report.stage == bug.stage, report.step == bug.step
        word = not bug.word or bug.word.lower() in report.diagnosis.lower()
        marks.append((not report.ok, at, when, word))
        print(
            f"{bug.name}: {report.stage} {report.step} {'' if at else 'STAGE '}{'' if when else 'STEP '}"
            f"{'' if word else 'WORD '}{time.perf_counter() - start:.1f} s",
            flush=True,
        )
        for failure in report.failures:
            print(f"    {failure.text}", flush=True)
    totals = [sum(column) for column in zip(*marks, strict=True)]
    print(f"{len(marks)} bugs: caught {totals[0]}, stage {totals[1]}, step {totals[2]}, word {totals[3]}")


if __name__ == "__main__":
    main()
