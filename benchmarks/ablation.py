"""Does each way of regularising LeNet-5 help? Each alone and all together, several seeds, both frameworks.

Run by: python -m benchmarks.ablation FOLDER --data-dir DATA --seeds 3, which trains what FOLDER does not hold yet,
prints the table, and writes lenet5-ablation.json and lenet5-ablation.png there.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

RECIPES = ("lenet5-plain", "lenet5-l2", "lenet5-batchnorm", "lenet5-dropout", "lenet5-augment", "lenet5-all")
FRAMEWORKS = ("jaxnets", "torchnets")


def main() -> None:
    """Train what is missing, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--collect", action="store_true", help="train nothing, take the seeds that are there")
    arguments = parser.parse_args()
    if not arguments.collect:
        for seed in range(arguments.seeds):  # all variants of a seed before the next: it can be stopped at any time
            for framework in FRAMEWORKS:
                for recipe in RECIPES:
                    train(framework, recipe, seed, arguments.folder, arguments.data_dir)
    rows = [row for framework in FRAMEWORKS for row in collect(arguments.folder, framework)]
    print(table(rows))
    (arguments.folder / "lenet5-ablation.json").write_text(json.dumps(rows, indent=1) + "\n")
    plot(rows, arguments.folder / "lenet5-ablation.png")


def train(framework: str, recipe: str, seed: int, folder: Path, data_dir: Path) -> None:
    """Train one run, unless it is there."""
    out = folder / f"{recipe}-{framework}" / f"seed-{seed}"
    if (out / "summary.json").exists():
        return
    command = [sys.executable, "-m", f"{framework}.train", "--recipe", recipe, "--seed", str(seed), "--out", str(out)]
    subprocess.run([*command, "--data-dir", str(data_dir)], check=True, stdout=subprocess.DEVNULL)


def collect(folder: Path, framework: str) -> list[dict[str, Any]]:
    """Return a row for each recipe: test accuracy by seed, its mean, deviation, 95% interval, p against plain."""
    rows, plain = [], []
    for recipe in RECIPES:
        files = sorted((folder / f"{recipe}-{framework}").glob("seed-*/summary.json"))
        summaries = [json.loads(file.read_text()) for file in files]
        test = [summary["test"]["accuracy"] for summary in summaries]
        plain = plain or test
        several = len(test) > 1
        deviation = statistics.stdev(test) if several else None
        # Student's interval of the mean; Welch's test of "no better than plain", one-sided.
        half = stats.t.ppf(0.975, len(test) - 1) * deviation / len(test) ** 0.5 if deviation is not None else None
        better: Any = stats.ttest_ind(test, plain, equal_var=False, alternative="greater") if several else None
        rows.append(
            {
                "recipe": recipe,
                "framework": framework,
                "seeds": [int(file.parent.name.removeprefix("seed-")) for file in files],
                "test": test,
                "mean": statistics.mean(test),
                "deviation": deviation,
                "interval": half,
                "p_better_than_plain": float(better.pvalue) if better is not None and recipe != RECIPES[0] else None,
                "train": statistics.mean(summary["train"]["accuracy"] for summary in summaries),
                "validation": statistics.mean(summary["validation"]["accuracy"] for summary in summaries),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| recipe | framework | seeds | test | 95% interval | p | train |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        interval = f"± {row['interval']:.2%}" if row["interval"] is not None else "-"
        p = f"{row['p_better_than_plain']:.3f}" if row["p_better_than_plain"] is not None else "-"
        cells = (row["recipe"], row["framework"], len(row["seeds"]), f"{row['mean']:.2%}", interval, p)
        lines.append(f"| {' | '.join(map(str, cells))} | {row['train']:.2%} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw each recipe's mean with its interval, and every seed as a dot."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for at, row in enumerate(rows):
        side = FRAMEWORKS.index(row["framework"])
        x = RECIPES.index(row["recipe"]) + 0.2 * side - 0.1
        label = row["framework"] if row["recipe"] == RECIPES[0] else None
        half = 100 * (row["interval"] or 0)
        axes.errorbar(x, 100 * row["mean"], half, fmt="o", capsize=4, color=f"C{side}", label=label)
        axes.plot([x] * len(row["test"]), [100 * value for value in row["test"]], ".", color="grey", zorder=at - 100)
    axes.set_xticks(range(len(RECIPES)), [name.removeprefix("lenet5-") for name in RECIPES])
    axes.set(ylabel="test accuracy (%)", title="LeNet-5 on MNIST, 10 epochs: mean, 95% interval, and every seed")
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
