"""Check the pairs with planted bugs by `parity.check`, and tell what it says against what is true, as a table.

`python -m tests.ports.table OUT.json [TEXT ...]` checks the bugs whose names hold a text, all without one, and adds
their rows to the file; `--markdown OUT.md` writes the file as a page.
"""

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import parity
from jaxnets.compiler_guard import guard
from tests.ports import pair
from tests.ports.bugs import BUGS, Bug

PACKAGES = ("jax", "flax", "torch", "numpy")


def row(bug: Bug) -> dict[str, Any]:
    """Check a pair with a bug; return what was found, and whether it is right."""
    with tempfile.TemporaryDirectory() as folder:
        bug.write(Path(folder))
        torch_file, jax_file = pair(bug.pair, Path(folder))
        other = torch_file.jax_inputs() if hasattr(torch_file, "jax_inputs") else None
        torch_module, model = torch_file.make(), jax_file.make()
        if getattr(jax_file, "ONE_EXAMPLE", False):
            model = jax.vmap(model)
        wall, processor = time.perf_counter(), time.process_time()
        report = parity.check(torch_module, model, torch_file.inputs(), other)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        failures = report.failures
        first = failures[0] if failures else None
        mine = str(first.torch_line) if first else ""
        theirs = str(first.jax_line) if first else ""
        said = " ".join(failure.diagnosis for failure in failures)
        return {
            "bug": bug.name,
            "caught": bool(failures),
            "torch": any(text.strip() in mine for text in bug.torch_lines),
            "jax": any(text.strip() in theirs for text in bug.jax_lines),
            "word": bug.word.lower() in said.lower() if bug.word else None,
            "causes": len(failures),
            "torch_line": mine,
            "jax_line": theirs,
            "diagnosis": first.diagnosis.partition("`: ")[2] if first else "",
            "seconds": round(wall, 1),
            "cpu_seconds": round(processor, 1),
        }


def page(rows: list[dict[str, Any]]) -> str:
    """Return rows as a page of Markdown."""
    permutations = {bug.name for bug in BUGS if bug.permuted}
    permuted = [r["bug"] for r in rows if not r["caught"] and r["bug"] in permutations]
    both = sum(r["torch"] and r["jax"] for r in rows)
    asked = [r["word"] for r in rows if r["word"] is not None]
    slowest = max(rows, key=lambda r: r["cpu_seconds"])
    middle = sorted(r["cpu_seconds"] for r in rows)[len(rows) // 2]
    lines = [
        "# Planted bugs in ports of every kind",
        "",
        f"`python -m tests.ports.table planted.json --markdown planted-ports.md`, {time.strftime('%Y-%m-%d')}, "
        f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}, two cores shared with much other work.",
        "",
        f"{len(rows)} of {sum(not bug.backward for bug in BUGS)} bugs of the forward pass (`tests/ports/bugs`): "
        f"{sum(r['caught'] for r in rows)} caught; the "
        f"first failure names the right line of both files for {both} ({100 * both / len(rows):.0f}%), PyTorch's for "
        f"{sum(r['torch'] for r in rows)}, JAX's for {sum(r['jax'] for r in rows)}; the diagnosis has the word that "
        f"is asked for in {sum(asked)} of {len(asked)}. Processor time: {middle:g} s in the middle, "
        f"{slowest['cpu_seconds']:g} s at most ({slowest['bug']}).",
        *(
            [f"Right with weights in another order, by a rule that the report lists: {', '.join(permuted)}."]
            * bool(permuted)
        ),
        "",
        "| bug | caught | PyTorch's line | JAX's line | word | causes | s | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    marks = {True: "yes", False: "**no**", None: ""}
    lines += [
        f"| {r['bug']} | {marks[r['caught']]} | {marks[r['torch']]} | {marks[r['jax']]} | {marks[r['word']]} "
        f"| {r['causes']} | {r['seconds']:.0f} | {r['cpu_seconds']:.0f} |"
        for r in rows
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    guard()
    rows = {r["bug"]: r for r in json.loads(args.json.read_text())} if args.json.exists() else {}
    chosen = [bug for bug in BUGS if not args.names or any(text in bug.name for text in args.names)]
    for bug in chosen if args.names or not args.markdown else ():
        if bug.backward:
            continue
        try:
            rows[bug.name] = row(bug)
        except Exception as error:
            print(f"{bug.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            continue
        print(json.dumps(rows[bug.name]), flush=True)
        args.json.write_text(json.dumps(list(rows.values()), indent=1))
        jax.clear_caches()
    if args.markdown and not rows:
        parser.error(f"{args.json} has no rows; measure some first, without --markdown")
    if args.markdown:
        order = {bug.name: number for number, bug in enumerate(BUGS)}
        args.markdown.write_text(page(sorted(rows.values(), key=lambda r: order[r["bug"]])))


if __name__ == "__main__":
    main()
