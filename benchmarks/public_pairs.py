"""Run `parity check` on public ports, and write the verdicts beside the truth.

    python -m benchmarks.public_pairs [FOLDER ...] [--only NAME,NAME] --write FILE.md

FOLDER holds pairs as benchmarks/ports does: NAME_torch.py with `make`, `inputs` and, where the JAX side is given
something else, `jax_inputs`; NAME_jax.py with `make`. Or pairs.json says what the inputs are. Each pair is a command
of its own, in a new process, timed from its start to its end.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PORTS = Path(__file__).parent / "ports"
START, END = "<!-- table: begin -->", "<!-- table: end -->"
VERSIONS = ("jax", "flax", "torch", "transformers", "diffusers", "equinox")
BOTH = """import importlib.util, sys
spec = importlib.util.spec_from_file_location("own", {file!r})
own = importlib.util.module_from_spec(spec)
sys.modules["own"] = own
spec.loader.exec_module(own)


def inputs():
    mine, other = own.inputs(), own.jax_inputs()
    return tuple(given if isinstance(given, (dict, tuple, list)) else (given,) for given in (mine, other))
"""


class Row(NamedTuple):
    """What is said of one pair."""

    name: str
    truth: str
    verdict: str
    seconds: float
    lines: tuple[str, ...]
    notes: tuple[str, ...]


def names(folder: Path) -> list[str]:
    """Return the pairs in a folder."""
    return sorted(path.stem.removesuffix("_torch") for path in folder.glob("*_torch.py"))


def arguments(folder: Path, name: str, scratch: Path) -> list[str]:
    """Return what `parity check` is given."""
    torch_file, jax_file = folder / f"{name}_torch.py", folder / f"{name}_jax.py"
    targets = [f"{torch_file}:make", f"{jax_file}:make"]
    if (folder / "pairs.json").exists():
        specs = json.loads((folder / "pairs.json").read_text())[name]["inputs"]
        return [*targets, *(word for spec in specs for word in ("--input", described(spec)))]
    if "def jax_inputs" not in torch_file.read_text():
        return [*targets, "--inputs", f"{torch_file}:inputs"]
    both = scratch / f"{name}_inputs.py"
    both.write_text(BOTH.format(file=str(torch_file.resolve())))
    return [*targets, "--inputs", f"{both}:inputs"]


def described(spec: dict[str, Any]) -> str:
    """Return an input of pairs.json as the command line has it."""
    shape = ",".join(map(str, spec["shape"]))
    if "lengths" in spec:
        return f"{spec['name']}=lengths:{shape}:{','.join(map(str, spec['lengths']))}"
    if spec.get("arange"):
        return f"{spec['name']}=arange:{shape}"
    if spec["dtype"] == "int":
        return f"{spec['name']}=int:{shape}:{spec['low']}..{spec['high']}"
    return f"{spec['name']}={shape}"


def truth(folder: Path, name: str) -> str:
    """Return what is known to be true."""
    if (folder / "pairs.json").exists():
        spec = json.loads((folder / "pairs.json").read_text())[name]
        return "; ".join(filter(None, [spec["expected"], spec.get("wrong_at", "")]))
    text = re.search(r"Truth: (.*?)\n\n|Truth: (.*?)\"\"\"", (folder / f"{name}_torch.py").read_text(), re.DOTALL)
    return " ".join(next(filter(None, text.groups()), "").split()).strip(' ."') if text else "not known"


def checked(folder: Path, name: str) -> Row:
    """Run the command on one pair."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "parity", "check", *arguments(folder, name, Path(scratch))]
        start = time.perf_counter()
        done = subprocess.run([*command, "--json", str(report)], capture_output=True, text=True, env=os.environ)
        seconds = time.perf_counter() - start
        if not report.exists():
            said = [line for line in done.stderr.splitlines() if line.strip()]
            return Row(name, truth(folder, name), "not taken", seconds, tuple(said[-1:]), ())
        read = json.loads(report.read_text())
        found = (read if isinstance(read, list) else read.get("reports", [read]))[0]
    notes = [n for n in found["notes"] if "float32" in n or "only " in n or "nothing confirms" in n]
    notes += [f"{c['check']}: {c['note']}" for c in found["checks"] if "not compared" in c["note"]]
    return Row(name, truth(folder, name), found["verdict"], seconds, tuple(_words(found)), tuple(notes))


def _words(report: dict[str, Any]) -> Iterator[str]:
    """Yield the differences in words, without those that say the same of another layer."""
    seen = set()
    for failure in report["failures"]:
        text = re.sub(r": at \[.*?\] PyTorch has \S+ Flax [-\d.e+]+", "", failure["diagnosis"])
        if text not in seen:
            seen.add(text)
            yield f"{failure['check']}: {text}"


def row_of(row: Row) -> str:
    """Return a row of the table as Markdown."""
    said = "; ".join([*row.lines[:6], *row.notes[:2]]).replace("|", "\\|")
    return f"| `{row.name}` | {row.verdict} | {row.seconds:.0f} | {row.truth} | {said} |"


def table(rows: Sequence[Row], before: str) -> str:
    """Return the rows as Markdown; pairs that are in the table before and not among the rows keep theirs."""
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    versions = ", ".join(f"{name} {installed[name]}" for name in VERSIONS if name in installed)
    machine = f"on {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"
    known = {m[1]: m[0] for m in re.finditer(r"^\| `(\w+)` \|.*$", before, re.MULTILINE)}
    known |= {row.name: row_of(row) for row in rows}
    lines = [f"`python -m benchmarks.public_pairs`, {machine}:", ""]
    lines += ["| pair | verdict | seconds | truth | said |", "| --- | --- | --- | --- | --- |", *known.values()]
    return "\n".join(lines) + "\n"


def written(file: Path, rows: Sequence[Row]) -> None:
    """Put a table into a file, in place of the one that is there between the two comments."""
    before = file.read_text() if file.exists() else ""
    if START not in before:
        before = f"{before.rstrip()}\n\n{START}\n{END}\n"
    head, rest = before.split(START, 1)
    old, after = rest.split(END, 1)
    file.write_text(f"{head.rstrip()}\n\n{START}\n\n{table(rows, old)}\n{END}{after}".lstrip())


def main() -> None:
    """Check the pairs, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="by default benchmarks/ports")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="these pairs alone")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="put the table into FILE.md")
    args = parser.parse_args()
    only, rows = set(filter(None, args.only.split(","))), []
    for folder in args.folders or [PORTS]:
        for name in names(folder):
            if not only or name in only:
                rows.append(checked(folder, name))
                said = (rows[-1].verdict, f"{rows[-1].seconds:.0f} s", *rows[-1].lines)
                print(rows[-1].name, *said, sep="\n  ", flush=True)
                if args.write:
                    written(args.write, rows)


if __name__ == "__main__":
    main()
