"""The page of `parity check --html`: both sources, with the lines that part."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import dark, faint, overflow, printed, reached
from tests.test_automation import JAX, TORCH

pytestmark = pytest.mark.slow
LONG = "\n" * 60 + "# the end of a file that is longer than a window\n"


@pytest.fixture(scope="session")
def folder(written, tmp_path_factory) -> Path:
    """The folder with the page of a pair that differs twice, and the JSON of the same check."""
    made = tmp_path_factory.mktemp("pair")
    (made / "my_torch.py").write_text(TORCH + LONG)
    (made / "my_flax.py").write_text(JAX + LONG)
    pair = (f"{made}/my_torch.py:Net", f"{made}/my_flax.py:Net")
    return written("check", *pair, "--input", "4,6", "--html", "check.html", "--json", "check.json", "--brief", code=1)


def test_the_figures_are_those_of_the_json(page: Page, folder: Path):
    report = json.loads((folder / "check.json").read_text())[0]
    page.goto((folder / "check.html").as_uri())
    expect(page.locator("h1 span")).to_have_text("different")
    rows = page.locator("table").first.locator("tr").filter(has=page.locator("td"))
    shown = [row.locator("td").all_inner_texts() for row in rows.all()]
    expected = [
        [check["check"], "inf" if check["error"] is None else f"{check['error']:.1e}"] for check in report["checks"]
    ]
    assert [row[:2] for row in shown] == expected
    failed = {failure["check"] for failure in report["failures"]}
    assert {row[0] for row in shown if row[3] == "FAIL"} == failed
    marked = page.locator("pre > .at").all_inner_texts()
    assert any(report["first"]["torch_line"]["text"].strip() in line for line in marked)
    assert any(report["first"]["jax_line"]["text"].strip() in line for line in marked)


def test_it_can_be_read_everywhere(sized: Page, folder: Path):
    sized.goto((folder / "check.html").as_uri())
    assert overflow(sized) == 0
    assert faint(sized) == []
    assert dark(sized)
    assert faint(sized) == []


def test_keyboard_and_paper(page: Page, folder: Path):
    page.goto((folder / "check.html").as_uri())
    expect(page.locator("#first")).to_be_in_viewport()
    assert (
        reached(page).count("PRE") == page.locator("pre[tabindex]").count() > 0
    )  # each source can be scrolled by keys
    assert printed(page).startswith(b"%PDF")
    # On paper nothing scrolls: a source that is cut would be lost.
    cut = page.evaluate(
        "[...document.querySelectorAll('pre')].filter(p => p.scrollHeight > p.clientHeight + 1).length"
    )
    assert cut == 0
