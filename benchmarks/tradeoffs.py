"""Draw what CIFAR-10's networks come to against what they cost: parameters, arithmetic, minutes on one GPU.

Run by: python -m benchmarks.tradeoffs PICTURE.png, from benchmarks/results/recipes-gpu.json
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.results_page import FRAMEWORKS, TRAIN_EXAMPLES, read
from benchmarks.scaling import count
from experiment.recipes import recipes
from jaxnets import MODELS

LABELS = {
    "parameters": "parameters",
    "training": "arithmetic of the training, PFLOP",
    "minutes": "minutes of the training on an H200, others beside it",
}
COLORS, MARKS, NAMES = ("tab:blue", "tab:orange"), ("o", "s"), ("Flax", "PyTorch")


class Point(NamedTuple):
    """A training: what it cost and its test accuracy."""

    recipe: str
    framework: str
    parameters: float
    training: float
    minutes: float | None
    accuracy: float


def main() -> None:
    """Read the trainings, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    draw(points(), parser.parse_args().picture)


def points() -> list[Point]:
    """Return the trainings of CIFAR-10 on a GPU."""
    known, found = recipes(), []
    for row in read("recipes-gpu.json"):
        recipe = known[row["recipe"]]
        if recipe.options["dataset"] == "cifar10":
            entry = MODELS[recipe.options["model"]]
            flops = count(recipe.options["model"], entry).flops * TRAIN_EXAMPLES * row["epochs"]
            costs = (entry.num_params, flops / 1e15, row["minutes"])
            found.append(Point(row["recipe"], row["framework"], *costs, 100 * row["test"]["mean"]))
    return found


def draw(found: list[Point], path: Path) -> None:
    """Draw a panel for each cost, on a logarithmic axis."""
    figure = Figure(figsize=(17, 5), layout="constrained")
    for number, (cost, label) in enumerate(LABELS.items(), 1):
        axes = figure.add_subplot(1, 3, number, xlabel=label, ylabel="test accuracy in %", xscale="log")
        for framework, color, mark, name in zip(FRAMEWORKS, COLORS, MARKS, NAMES, strict=True):
            rows = [p for p in found if p.framework == framework and getattr(p, cost) is not None]
            axes.plot([getattr(p, cost) for p in rows], [p.accuracy for p in rows], mark, color=color, label=name)
        for recipe in {p.recipe: None for p in found}:
            rows = [p for p in found if p.recipe == recipe and getattr(p, cost) is not None]
            if rows:
                axes.plot([getattr(p, cost) for p in rows], [p.accuracy for p in rows], color="grey", lw=0.8, zorder=0)
                best = max(rows, key=lambda p: p.accuracy)
                short = recipe.replace("-cifar10", "").replace("cifar10-", "")
                place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 8}
                axes.annotate(short, (getattr(best, cost), best.accuracy), **place)
        axes.margins(0.12)
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].legend(loc="lower right")
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
