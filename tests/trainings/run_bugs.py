"""Check the trainings of this folder and their planted bugs, and tell what was found against what is true.

`python -m tests.trainings.run_bugs [TEXT ...]` runs the bugs whose names hold a text, all without one; `--right` runs
the right pairs instead, `--seeds N` with so many seeds of weights and batches each; `--spread N` runs so many seeds in
all, seed s with pair s mod their number, from `--from S` on, for `--seconds T` at most. `--markdown FILE` writes what
was found as a page, and `--rows FILE` keeps it from call to call, so that a long run can be made in pieces.
"""

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.errors import UserError
from parity.sides.target import load_function
from parity.training.check_training import check_training
from parity.training.outcome import TrainingReport
from parity.training.stages import BOUNDS
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
    """Check a pair as it is, with a seed of PyTorch's weights and of the batches."""
    made = functools.partial(getattr(batches, PAIRS[name]), seed)
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for side in ("torch", "jax"):
            text = (FOLDER / f"{name}_{side}.py").read_text()
            file = Path(folder) / f"{name}_{side}.py"
            file.write_text(text.replace("torch.manual_seed(", f"torch.manual_seed({1000 * seed} + "))
            sides.append(load_function(f"{file}:training"))
        return check_training(sides[0], sides[1], made, steps)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--right", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--spread", type=int, metavar="N")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="S")
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="T")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--rows", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows = (
        [json.loads(line) for line in args.rows.read_text().splitlines()] if args.rows and args.rows.exists() else []
    )
    until = time.monotonic() + args.seconds
    for todo in _todo(args, rows):
        if time.monotonic() > until:
            break
        try:
            rows.append(row(todo) if isinstance(todo, Bug) else right_row(*todo))
        except UserError as error:
            print(f"{todo}: {error}", flush=True)
            continue
        print(f"{shown(rows[-1])}\n    {rows[-1]['text']}".rstrip(), flush=True)
        if args.rows:
            with args.rows.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    bugs, seeds = [r for r in rows if "bug" in r], [r for r in rows if "pair" in r]
    print("\n".join([*([totals(bugs)] if bugs else []), *right_lines(seeds)]))
    if args.markdown:
        args.markdown.write_text(page(bugs, seeds))


def _todo(args: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield what is to be checked and not among the rows: bugs, or names of pairs with seeds."""
    done = {r.get("bug", (r.get("pair"), r.get("seed"))) for r in rows}
    wanted = [name for name in PAIRS if not args.names or any(text in name for text in args.names)]
    if args.spread is not None:
        todo = [(wanted[s % len(wanted)], s) for s in range(args.first, args.first + args.spread)]
    elif args.right:
        todo = [(name, seed) for name in wanted for seed in range(args.first, args.first + args.seeds)]
    else:
        yield from (b for b in BUGS if b.name not in done and (not args.names or any(t in b.name for t in args.names)))
        return
    yield from (one for one in todo if one not in done)


def right_row(name: str, seed: int) -> dict[str, Any]:
    """Check a pair as it is; return whether it is proved."""
    processor = time.process_time()
    report = check_right(name, seed)
    return {
        "pair": name,
        "seed": seed,
        "ok": report.ok,
        "error": max(stage.error for stage in report.stages),
        "text": "\n    ".join(failure.text for failure in report.failures),
        "cpu": time.process_time() - processor,
    }


def right_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return for each pair how many seeds are proved, and the largest error."""
    lines = []
    for name in PAIRS:
        own = [r for r in rows if r["pair"] == name]
        if own:
            worst = max(r["error"] for r in own)
            lines.append(f"{name}: {sum(r['ok'] for r in own)} of {len(own)} proved, worst {worst:.1e}")
    return lines


def row(bug: Bug) -> dict[str, Any]:
    """Check a pair with a bug; return what was found, and whether it is right."""
    wall, processor = time.perf_counter(), time.process_time()
    report = check_bug(bug)
    first = report.failures[0] if report.failures else None
    line = None if first is None else first.jax_line if bug.side == "jax" else first.torch_line
    return {
        "bug": bug.name,
        "caught": not report.ok,
        "stage": report.stage,
        "stage right": report.stage == bug.stage,
        "step": report.step,
        "step right": report.step == bug.step,
        "word": bug.word.lower() in report.diagnosis.lower() if bug.word else None,
        "line": line is not None and line.number in bug.lines(),
        "diagnosis": report.diagnosis,
        "text": "\n    ".join(failure.text for failure in report.failures),
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - processor,
    }


def shown(r: dict[str, Any]) -> str:
    """Return a line of a bug or of a seed; what is wrong is in capitals."""
    if "pair" in r:
        return f"{r['pair']} {r['seed']}: {'proved' if r['ok'] else 'AN ALARM'}, {r['error']:.1e}, {r['cpu']:.1f} s"
    wrong = [name.upper() for name in ("stage right", "step right", "word") if r[name] is False]
    return " ".join([f"{r['bug']}: {r['stage']} {r['step']}", *wrong, f"{r['seconds']:.1f} s"])


def totals(rows: list[dict[str, Any]]) -> str:
    """Return the counts."""
    asked = [r["word"] for r in rows if r["word"] is not None]
    counts = [sum(r[name] for r in rows) for name in ("caught", "stage right", "step right", "line")]
    text = "{} bugs: caught {}, stage {}, step {}, line of the edit {}, word {} of {}"
    return text.format(len(rows), *counts, sum(asked), len(asked))


def page(rows: list[dict[str, Any]], seeds: list[dict[str, Any]]) -> str:
    """Return the bugs, and the seeds of the right pairs, as a page of Markdown."""
    slowest, middle = max(rows, key=lambda r: r["cpu"]), sorted(r["cpu"] for r in rows)[len(rows) // 2]
    marks = {True: "", False: " (**wrong**)", None: ""}
    lines = [
        "# Planted bugs in trainings",
        "",
        f"`python -m tests.trainings.run_bugs --rows FILE --markdown planted-trainings.md`, "
        f"{time.strftime('%Y-%m-%d')}, {', '.join(f'{name} {version(name)}' for name in PACKAGES)}, "
        "two cores shared with much other work.",
        "",
        f"{totals(rows)} (where one is asked for); {STEPS} steps. Processor time: {middle:.1f} s in the middle, "
        f"{slowest['cpu']:.1f} s at most ({slowest['bug']}).",
        "",
        *_right_page(seeds),
        "| bug | caught | stage | step | line of the edit | diagnosis | s | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['bug']} | {'yes' if r['caught'] else '**no**'} | {r['stage']}{marks[r['stage right']]} | "
        f"{r['step']}{marks[r['step right']]} | {'yes' if r['line'] else ''} | "
        f"{r['diagnosis'].replace('|', '')}{marks[r['word']]} | {r['seconds']:.1f} | {r['cpu']:.1f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def _right_page(seeds: list[dict[str, Any]]) -> list[str]:
    """Return the part of the page on right pairs."""
    if not seeds:
        return []
    alarms, worst = sum(not r["ok"] for r in seeds), max(r["error"] for r in seeds if r["ok"])
    counts = [f"{name} {count}" for name in PAIRS if (count := sum(r["pair"] == name for r in seeds))]
    return [
        f"Right pairs, `--spread N`: {len(seeds)} seeds of weights and batches, {alarms} alarms, "
        f"largest error {worst:.1e} of a bound of {max(BOUNDS.values()):g}. Seeds of each: {', '.join(counts)}.",
        "",
    ]


if __name__ == "__main__":
    main()
