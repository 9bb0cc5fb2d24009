"""Draw the trainings of recipes on a GPU: the accuracy of both frameworks after each epoch, a picture for each recipe.

Run by: python -m benchmarks.curves PICTURE.png, from benchmarks/results/recipes-gpu-epochs.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results" / "recipes-gpu-epochs.json"
COLORS = {"jaxnets": "tab:blue", "torchnets": "tab:orange"}
NAMES = {"jaxnets": "Flax", "torchnets": "PyTorch"}
COLUMNS = 3


def main() -> None:
    """Read the accuracies, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    draw(shown(json.loads(arguments.json.read_text())["runs"]), arguments.picture)


def shown(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return, for each recipe, the longest training of each framework with the recipe's own options.

    Only recipes that one framework has trained to the end are included.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run in runs:
        if "options" not in run:
            of_recipe = found.setdefault(run["run"], {})
            before = of_recipe.get(run["framework"])
            if before is None or before["epochs"] < run["epochs"]:
                of_recipe[run["framework"]] = run
    return {name: both for name, both in found.items() if any(run["finished"] for run in both.values())}


def draw(recipes: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Draw test (solid) and training accuracy (dotted) of each recipe's trainings."""
    rows = -(-len(recipes) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3 * rows), layout="constrained")
    for number, (name, both) in enumerate(recipes.items(), 1):
        axes = figure.add_subplot(rows, COLUMNS, number, title=name, xlabel="epoch")
        for framework, run in sorted(both.items()):
            for split, style in (("test", "-"), ("train", ":")):
                percent = [100 * accuracy for accuracy in run["accuracy"][split]]
                label = f"{NAMES[framework]}, {split} {percent[-1]:.1f}%"
                axes.plot(range(1, len(percent) + 1), percent, style, color=COLORS[framework], label=label)
        axes.set_ylim(40, 100)
        axes.set_ylabel("accuracy in %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
