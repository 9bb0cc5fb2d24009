"""The tables of docs/results.md and docs/cifar10.md are those of the files of figures; so is what recipes promise."""

import re

import pytest

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
