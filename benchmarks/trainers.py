"""Train the same networks with both commands in turn and compare their images per second.

python benchmarks/trainers.py --data-dir DATA --json benchmarks/results/FILE.json [NAME ...]

Each figure is the median over a run's epochs after the first, as the trainers report it: loader, step and progress
included, compilation and evaluation not. Runs take turns, A B B A, so that a machine's moods hit both; PyTorch is
given every thread count up to the machine's, and its best one counts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DATASETS = {"ann": "fashion_mnist"}  # MNIST for all others
ROOT = Path(__file__).parents[1]


def examples_per_second(framework: str, model: str, threads: int, args: argparse.Namespace) -> tuple[float, dict]:
    """Run one training in a process of its own; return its speed and its summary."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "model": model,
            "dataset": DATASETS.get(model, "mnist"),
            "data-dir": args.data_dir,
            "epochs": args.epochs,
            "batch-size": args.batch_size,
            "out": f"{folder}/run",
        }
        command = [sys.executable, "-m", f"{framework}.train", *(f"--{k}={v}" for k, v in options.items())]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return summary["examples_per_second"], summary


def compare(model: str, args: argparse.Namespace) -> dict:
    """Return the speeds of one network: medians over the rounds, and all that were measured."""
    cores = os.cpu_count() or 1
    sides = [("jaxnets", cores), *(("torchnets", threads) for threads in range(1, cores + 1))]
    speeds: dict[str, list[float]] = {f"{name} {threads} threads": [] for name, threads in sides}
    versions: dict[str, str] = {}
    for turn in range(args.rounds):
        for name, threads in sides if turn % 2 == 0 else sides[::-1]:
            speed, summary = examples_per_second(name, model, threads, args)
            speeds[f"{name} {threads} threads"].append(round(speed))
            versions |= summary["versions"]
    ours = statistics.median(speeds[f"jaxnets {cores} threads"])
    theirs = max(statistics.median(values) for name, values in speeds.items() if name.startswith("torchnets"))
    print(f"{model:12} jaxnets {ours:10,.0f}  torchnets {theirs:10,.0f}  ratio {ours / theirs:.2f}", flush=True)
    return {"jaxnets": ours, "torchnets": theirs, "ratio": ours / theirs, "runs": speeds, "versions": versions}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["lenet5", "mlp", "custom_mlp", "ann"])
    parser.add_argument("--data-dir", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {name: compare(name, args) for name in args.names}
    if args.json:
        command = f"python benchmarks/trainers.py --epochs {args.epochs} --rounds {args.rounds}"
        machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        report = {"command": f"{command} --batch-size {args.batch_size}", **machine, "results": results}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
