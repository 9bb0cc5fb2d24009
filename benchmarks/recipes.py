"""Run recipes with both frameworks, and gather what they came to.

Run by: python -m benchmarks.recipes FOLDER --data-dir DATA [--seeds N] [--tf32] [--json FILE] [RECIPE ...], which
trains what FOLDER does not hold yet (none named: nothing), and prints a table of all that it holds.
"""

import argparse
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from experiment.config import load_config, load_recipe, to_json
from experiment.options import FREE
from experiment.recipes import recipes
from experiment.weights.pretrained import settle

FRAMEWORKS = ("jaxnets", "torchnets")


def main() -> None:
    """Train what is missing, then show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tf32", action="store_true", help="on a GPU, let float32 products be rounded to TF32")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for recipe in arguments.recipes:
        for framework in FRAMEWORKS:
            train(framework, recipe, arguments)
    rows = [row(path.parent) for path in sorted(arguments.folder.glob("*nets/summary.json"))]
    print("| recipe | framework | test | validation | training | epochs | minutes a run |\n" + "| --- " * 7 + "|")
    for one in rows:
        accuracies = " | ".join(in_words(one[split]) for split in ("test", "validation", "train"))
        print(f"| {one['recipe']} | {one['framework']} | {accuracies} | {one['epochs']} | {one['minutes']:.1f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def train(framework: str, recipe: str, arguments: argparse.Namespace) -> None:
    """Train a recipe's seeds, unless they are there."""
    out = arguments.folder / f"{recipe}-{framework}"
    if (out / "summary.json").exists():
        return
    command = [sys.executable, "-m", f"{framework}.train", "--recipe", recipe, "--seeds", str(arguments.seeds)]
    options = ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
    options += ["--tf32"] if arguments.tf32 else []
    subprocess.run([*command, *options, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)


def row(folder: Path) -> dict[str, Any]:
    """Return what a folder's summary says: of one run, or of several seeds."""
    summary = json.loads((folder / "summary.json").read_text())
    recipe, _, framework = folder.name.rpartition("-")
    seeds = summary.get("seeds") or [summary["seed"]]
    splits = {
        split: {"mean": summary[split]["accuracy"], "deviation": summary[split].get("deviation")}
        for split in ("train", "validation", "test")
    }
    about = {name: summary[name] for name in ("parameters", "epochs", "device", "versions", "examples_per_second")}
    return {
        "recipe": recipe,
        "framework": framework,
        "options": changed(folder, recipe),
        "seeds": seeds,
        **splits,
        "minutes": summary["seconds"] / 60 / len(seeds),
        **about,
    }


def changed(folder: Path, recipe: str) -> dict[str, Any]:
    """Return the options of a run, or of the first of several seeds, that are not its recipe's own."""
    files = [folder / "config.json", *sorted(folder.glob("seed-*/config.json"))]
    options = json.loads(to_json(load_config(next(file for file in files if file.exists()))))
    given: list[dict[str, Any]] = [{}]
    if recipe in recipes():  # a run saves what the weights of its recipe imply, several seeds the recipe as it is
        models = import_module(folder.name.rpartition("-")[2]).MODELS
        own = load_recipe(recipe)
        given = [json.loads(to_json(each)) for each in (own, settle(own, models))]
    others = [name for name in options if name not in (*FREE, "seed")]
    return {name: options[name] for name in others if options[name] not in [each.get(name) for each in given]}


def in_words(accuracy: dict[str, Any]) -> str:
    """Return a mean, with its deviation if there are several seeds."""
    spread = f" ± {accuracy['deviation']:.2%}" if accuracy["deviation"] is not None else ""
    return f"{accuracy['mean']:.2%}{spread}"


if __name__ == "__main__":
    main()
