"""The page of `parity report` in a browser: sorted, filtered, by keyboard, in the dark, on paper."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import dark, faint, overflow, printed, reached
from tests.report_files import write_checks, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def file(written, tmp_path_factory) -> Path:
    """A report of made-up networks and runs, and of the results of this project."""
    made = tmp_path_factory.mktemp("made")
    runs = [write_run(made / name, name) for name in ("jaxnets", "torchnets")]
    return (
        written("report", "--out", "report", "--checks", write_checks(made / "checks.json"), *runs)
        / "report/index.html"
    )


@pytest.fixture(scope="session")
def results(written) -> Path:
    """The report of this project's own results."""
    return written("report", "--out", "results") / "results/index.html"


def names(page: Page) -> list[str]:
    return page.locator("#matrix tbody tr:visible th").all_inner_texts()


def test_the_figures_shown_are_those_embedded(page: Page, results: Path):
    page.goto(results.as_uri())
    embedded = json.loads(page.locator("#figures").text_content() or "")
    assert embedded == json.loads((results.parent / "report.json").read_text())
    shown = {
        (cell["network"], cell["check"]): cell["text"]
        for cell in page.locator("#matrix [data-check]").evaluate_all(
            "cells => cells.map(cell => ({network: cell.parentElement.dataset.network, check: cell.dataset.check,"
            " text: cell.querySelector('b').textContent}))"
        )
    }
    expected = {
        (report["name"], check["check"]): "inf"
        if check["error"] is None
        else "0"
        if check["error"] == 0
        else f"{check['error']:.1e}"
        for report in embedded["checks"]["reports"]
        for check in report["checks"]
    }
    assert shown == expected
    assert {check for _, check in shown} >= {"structure", "forward, eval", "gradients", "trajectory adam"}


def test_rows_are_sorted_and_filtered(page: Page, file: Path):
    page.goto(file.as_uri())
    mine = "my_torch.py:Net my_flax.py:Net"
    assert names(page) == ["lenet5", "inception", mine]
    head = page.get_by_role("columnheader", name="forward, eval")
    head.get_by_role("button").click()
    assert names(page) == ["lenet5", "inception", mine]
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.get_by_role("button").click()
    assert names(page) == [mine, "inception", "lenet5"]
    page.get_by_role("columnheader", name="dropout").get_by_role("button").click()
    assert names(page)[0] == "inception"  # what was not run is last
    page.get_by_label("Error at least").select_option("0.1")
    assert names(page) == ["inception", mine]
    expect(page.locator("#count")).to_have_text("2 of 3 networks")
    page.get_by_label("Verdict").select_option("same")
    assert names(page) == ["inception"]
    assert page.locator("details.network:visible").count() == 1
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Error at least").select_option("0")
    page.get_by_label("Check", exact=True).select_option("trajectory adam")
    assert names(page) == ["lenet5"]
    assert page.locator("#matrix thead th:visible").count() == 4
    page.get_by_label("Check", exact=True).select_option("")
    page.get_by_label("Network", exact=True).fill("INCEP")
    assert names(page) == ["inception"]
    page.get_by_label("Network", exact=True).press("Escape")
    assert len(names(page)) == 3
    bugs = page.locator("#planted-0 tbody tr:visible")
    every = bugs.count()
    page.locator("#planted .filter input").first.fill("epsilon resnet18")
    assert 0 < bugs.count() < every
    assert all("epsilon" in text for text in bugs.all_inner_texts())


def test_the_keyboard_is_enough(page: Page, file: Path):
    page.goto(file.as_uri())
    tags = reached(page)
    assert {"A", "INPUT", "SELECT", "BUTTON", "SUMMARY"} <= set(tags)
    page.get_by_role("columnheader", name="worst").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert names(page)[0] == "lenet5"
    page.keyboard.press("Space")
    assert names(page)[-1] == "lenet5"
    page.get_by_role("link", name="lenet5", exact=True).press("Enter")
    section = page.locator("#network-lenet5")
    expect(section).to_have_attribute("open", "")
    expect(section.locator("table.layers")).to_be_visible()
    expect(section.locator("svg.chart")).to_have_count(2)
    section.locator("summary").press("Enter")
    expect(section.locator("table.layers")).to_be_hidden()


def test_it_can_be_read_everywhere(sized: Page, file: Path):
    sized.goto(file.as_uri())
    sized.get_by_role("button", name="Open all").click()
    assert overflow(sized) == 0
    assert faint(sized) == []
    assert dark(sized)
    assert faint(sized) == []


def test_it_can_be_printed(page: Page, results: Path):
    page.set_viewport_size({"width": 1047, "height": 740})  # of A4, landscape, without its margins
    page.goto(results.as_uri())
    page.emulate_media(color_scheme="dark")
    assert printed(page).startswith(b"%PDF")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert faint(page) == []
    assert overflow(page) == 0
    expect(page.locator("#only-network")).to_be_hidden()
    # The whole table is on paper: it neither scrolls nor ends at the edge.
    box = page.locator(".matrix").evaluate(
        "one => [one.scrollWidth - one.clientWidth, one.scrollHeight - one.clientHeight]"
    )
    assert max(box) <= 1
    edge = page.locator("#matrix").evaluate("one => one.getBoundingClientRect().right")
    assert edge <= 1047
