"""The tables of docs/results.md and docs/cifar10.md are those of the files of figures; so is what recipes promise."""

import json
import re

import numpy as np
import pytest

from benchmarks import confusion
from benchmarks.results_page import DOCS, FILES, PAGES, filled, read, same
from experiment.recipes import recipes

ROWS = [row for file in FILES for row in read(file)]


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_are_those_of_the_figures(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert filled(page, text) == text, "run: python -m benchmarks.results_page --write"


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_promises_what_it_came_to(name):
    """Each framework's figure in the list is the file's; of a training with another rate it says nothing."""
    said = re.findall(r"[\d.]+(?=%)", recipes()[name].expected or "")
    for row in ROWS:
        if row["recipe"] == name and "lr" not in (row.get("options") or {}):
            assert any(abs(float(figure) / 100 - row["test"]["mean"]) < 6e-4 for figure in said), (
                name,
                row["framework"],
            )


def test_the_better_of_two_networks_is_recognised():
    def row(mean, deviation=None, seeds=(0,)):
        return {"test": {"mean": mean, "deviation": deviation}, "seeds": list(seeds)}

    assert float(same(row(0.90), row(0.92), 10_000)) < 0.001
    assert float(same(row(0.90), row(0.902), 10_000)) > 0.5
    assert float(same(row(0.90, 0.001, range(3)), row(0.92, 0.001, range(3)), 10_000)) < 0.01
    assert same(row(0.90), None, 10_000) == "-"


def test_confusion_matrices_are_those_of_the_trainings():
    both = json.loads(confusion.RESULTS.read_text())
    accuracies = {(row["recipe"], row["framework"]): row["test"]["mean"] for row in ROWS}
    for run in both:
        counts = np.array(run["confusion"])
        assert np.trace(counts) / counts.sum() == accuracies[run["recipe"], run["framework"]]
    found = confusion.tested(both)
    lowest, name = min((p, name) for name, p in found.items())
    text = " ".join((DOCS / "cifar10.md").read_text(encoding="utf-8").split())
    assert f"the lowest p of ten is {lowest:.2f} ({name})" in text
    swapped = [both[0], both[1] | {"confusion": np.roll(both[1]["confusion"], 1, axis=1).tolist()}]
    assert max(confusion.tested(swapped).values()) < 1e-9
