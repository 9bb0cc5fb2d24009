"""Draw confusion matrices of one recipe in both frameworks and their difference, and test it.

Run by: python -m benchmarks.confusion PICTURE.png, from benchmarks/results/confusion-gpu.json; with --runs RUN RUN
from the summary.json of two runs.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

RESULTS = Path(__file__).parent / "results" / "confusion-gpu.json"
NAMES = {"jaxnets": "Flax", "torchnets": "PyTorch"}


def main() -> None:
    """Read two matrices, write the picture, print the test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, nargs=2, metavar="FOLDER", help="two runs on the same test set")
    arguments = parser.parse_args()
    both = [of_run(folder) for folder in arguments.runs] if arguments.runs else json.loads(arguments.json.read_text())
    draw(both, arguments.picture)
    for name, p in tested(both).items():
        print(f"{name}: p = {p:.2f}")


def of_run(folder: Path) -> dict[str, Any]:
    """Return the matrix that a run's summary.json holds, as the file of results has it."""
    found = json.loads((folder / "summary.json").read_text())
    about = {"recipe": found["model"], "framework": found["framework"], "classes": found["inputs"]["classes"]}
    return about | {"confusion": found["test"]["confusion"]}


def tested(both: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return, for each true class, the p of a chi-squared test that both predict its examples alike."""
    one, other = (np.array(run["confusion"]) for run in both)
    found = {}
    for name, *rows in zip(both[0]["classes"], one, other, strict=True):
        predicted = np.array(rows)
        found[name] = float(np.asarray(stats.chi2_contingency(predicted[:, predicted.any(axis=0)])[1]))
    return found


def draw(both: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the two matrices, coloured by counts without the diagonal, and the second minus the first."""
    one, other = (np.array(run["confusion"]) for run in both)
    names = [NAMES[run["framework"]] for run in both]
    figure = Figure(figsize=(18, 6.4), layout="constrained")
    mistakes = max(int(np.where(np.eye(len(one)), 0, counts).max()) for counts in (one, other))
    titles = [*(f"{name}: {np.trace(m) / m.sum():.2%}" for name, m in zip(names, (one, other), strict=True))]
    panels = [(one, titles[0], "Blues", 0, mistakes), (other, titles[1], "Blues", 0, mistakes)]
    change, most = other - one, int(np.abs(other - one).max())
    panels.append((change, f"{names[1]} minus {names[0]}", "PuOr", -most, most))
    for number, (counts, title, colors, low, high) in enumerate(panels, 1):
        axes = figure.add_subplot(1, 3, number, title=title, xlabel="predicted")
        axes.imshow(counts, cmap=colors, vmin=low, vmax=high)
        for row, column in np.argwhere(counts):
            dark = abs(counts[row, column]) > 0.6 * high
            text = f"{counts[row, column]:+d}" if number == 3 else str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
        axes.set_xticks(range(len(counts)), both[0]["classes"], rotation=45, ha="right")
        axes.set_yticks(range(len(counts)), both[0]["classes"])
    figure.axes[0].set_ylabel("true")
    figure.suptitle(f"{both[0]['recipe']}: test images of each class and what they were taken for")
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
