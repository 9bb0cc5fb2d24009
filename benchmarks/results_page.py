"""Tables of docs/results.md and docs/cifar10.md, from the figures: `python -m benchmarks.results_page [--write]`.

A test fails if the pages' tables are not these.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.scaling import count
from experiment.recipes import Recipe, recipes
from jaxnets import MODELS

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"results.md": ("recipes",), "cifar10.md": ("networks", "classes")}
FILES = ("recipes-cpu.json", "recipes-gpu.json")
FRAMEWORKS = ("jaxnets", "torchnets")
DATASETS = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10 (JPEG)", "fsdd": "spoken digits"}
TEST_EXAMPLES = {"mnist": 10_000, "fashion_mnist": 10_000, "cifar10": 10_000, "fsdd": 300}
TRAIN_EXAMPLES = 45_000  # of CIFAR-10, without those for validation
UNNAMED = ("tf32", "weights", "new_head")  # options that a table does not repeat

Row = Mapping[str, Any]


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into their pages")
    if not parser.parse_args().write:
        print("\n\n".join(tables().values()))
        return
    for page in PAGES:
        path = DOCS / page
        path.write_text(filled(page, path.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str, text: str) -> str:
    """Return a page's text with every table between its marks."""
    made = tables()
    for name in PAGES[page]:
        begin, end = f"<!-- {name}: made by benchmarks/results_page.py -->\n", "<!-- end -->\n"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{made[name]}\n\n{end}{rest.partition(end)[2]}"
    return text


def tables() -> dict[str, str]:
    """Return each table by its name."""
    found = {(row["recipe"], row["framework"]): row for file in FILES for row in read(file)}
    return {"recipes": recipes_table(found), "networks": networks_table(found), "classes": classes_table()}


def read(file: str) -> list[Row]:
    """Return the trainings of a file."""
    return json.loads((RESULTS / file).read_text(encoding="utf-8"))


def recipes_table(found: Mapping[tuple[str, str], Row]) -> str:
    """Every recipe but the ablation's, by dataset: the original, the goal, and both frameworks."""
    order = list(DATASETS)
    shown = [(name, recipe) for name, recipe in recipes().items() if "the ablation" not in recipe.about]
    shown.sort(key=lambda item: order.index(item[1].options["dataset"]))
    lines = []
    for name, recipe in shown:
        both = flax, torch = [found.get((name, framework)) for framework in FRAMEWORKS]
        accuracies = " | ".join(accuracy(row) for row in both)
        p = same(flax, torch, TEST_EXAMPLES[recipe.options["dataset"]])
        about = f"{recipe.original or '-'} | {recipe.goal or '-'}"
        dataset = DATASETS[recipe.options["dataset"]]
        lines.append(f"| {dataset} | `{name}` | {about} | {accuracies} | {p} | {minutes(both)} |")
    head = "| dataset | `--recipe` | original | goal | Flax | PyTorch | p | minutes |"
    return "\n".join([head, "| --- " * 8 + "|", *lines])


def accuracy(row: Row | None) -> str:
    """Return a test accuracy with its deviation, its seeds, and the options that are not the recipe's."""
    if row is None:
        return "not yet run"
    mean, deviation = row["test"]["mean"], row["test"]["deviation"]
    spread = f" ± {deviation:.2%}" if deviation is not None else ""
    others = {name: value for name, value in (row.get("options") or {}).items() if name not in UNNAMED}
    said = "".join(f", {name} {value}" for name, value in others.items())
    return f"{mean:.2%}{spread} ({len(row['seeds'])}{said})"


def same(one: Row | None, other: Row | None, examples: int) -> str:
    """Return the probability of a difference this large between networks that are equally good.

    By the seeds' deviations (Welch) where both have several, else by the number of test examples (z-test).
    """
    if one is None or other is None or named(one) != named(other):
        return "-"
    (a, da, n), (b, db, m) = (
        (row["test"]["mean"], row["test"]["deviation"], len(row["seeds"])) for row in (one, other)
    )
    if n > 1 and m > 1:
        return f"{stats.ttest_ind_from_stats(a, da, n, b, db, m, equal_var=False).pvalue:.2f}"
    pooled = (a * n + b * m) / (n + m)
    deviation = math.sqrt(pooled * (1 - pooled) / examples * (1 / n + 1 / m))
    return f"{2 * stats.norm.sf(abs(a - b) / deviation):.2f}"


def named(row: Row) -> dict[str, Any]:
    """Return the options that make a training another one."""
    return {name: value for name, value in (row.get("options") or {}).items() if name not in UNNAMED}


def minutes(both: Sequence[Row | None]) -> str:
    """Return how long each training took, and on what."""
    rows = [row for row in both if row is not None and row["minutes"] is not None]
    if not rows:
        return "-"
    times = ", ".join(f"{row['minutes']:.{0 if row['minutes'] >= 10 else 1}f}" for row in rows)
    return times + (" (GPU)" if "H200" in rows[0]["device"] else "")


def networks_table(found: Mapping[tuple[str, str], Row]) -> str:
    """The networks of CIFAR-10: what each costs, and what it comes to."""
    lines = []
    for name, recipe in sorted(recipes().items(), key=lambda item: MODELS[item[1].options["model"]].num_params):
        rows = [found[key] for framework in FRAMEWORKS if (key := (name, framework)) in found]
        if recipe.options["dataset"] == "cifar10" and rows:
            lines.append(network(name, recipe, rows))
    head = "| `--recipe` | parameters | MFLOP an image | epochs | PFLOP of training | test | test errors |"
    return "\n".join([head, "| --- " * 7 + "|", *lines])


def network(name: str, recipe: Recipe, rows: Sequence[Row]) -> str:
    """Return a network's line: its size, its arithmetic, its better framework's accuracy."""
    entry = MODELS[recipe.options["model"]]
    flops = count(recipe.options["model"], entry).flops
    best = max(row["test"]["mean"] for row in rows)
    training = flops * TRAIN_EXAMPLES * recipe.options["epochs"]
    costs = f"{entry.num_params:,} | {flops / 3e6:,.1f} | {recipe.options['epochs']} | {training / 1e15:,.2f}"
    return f"| `{name}` | {costs} | {best:.2%} | {10_000 * (1 - best):,.0f} |"


def classes_table() -> str:
    """Each class of CIFAR-10 in every network that was trained to the end, Flax and PyTorch."""
    runs = [run for run in json.loads((RESULTS / "recipes-gpu-epochs.json").read_text())["runs"] if "per_class" in run]
    own = {(run["run"], run["framework"]): run["per_class"] for run in runs if "options" not in run}
    known = recipes()
    names = sorted({run for run, _ in own if run in known and known[run].options["dataset"] == "cifar10"})
    lines = [
        "| class | " + " | ".join(f"`{name.replace('-cifar10', '').replace('cifar10-', '')}`" for name in names) + " |"
    ]
    lines.append("| --- " * (len(names) + 1) + "|")
    classes = next(iter(own.values()))
    for name in classes:
        cells = [", ".join(f"{own[key][name]:.1%}" for f in FRAMEWORKS if (key := (run, f)) in own) for run in names]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
