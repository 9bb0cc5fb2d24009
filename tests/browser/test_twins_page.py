"""The pages of `parity twins`: columns that stay aligned, the keyboard, the figures, the traps."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import dark, faint, overflow, printed, reached

pytestmark = pytest.mark.slow
# (top, left) of both lines of each row, as far as they are there.
PLACES = """
[...document.querySelectorAll(".twins tbody tr")].map(row => [...row.querySelectorAll("td.code")].map(cell => {
  const box = cell.getBoundingClientRect();
  return cell.matches(".none") || !box.height ? null : [Math.round(box.top), Math.round(box.left)];
}))
"""
# (text, label of the side) of each line that is not the same on both sides.
LABELS = """
[...document.querySelectorAll(".twins tr:not(.same) td.code:not(.none)")]
  .map(cell => [cell.innerText.trim(), getComputedStyle(cell, "::before").content])
"""


@pytest.fixture(scope="session")
def folder(written) -> Path:
    """The pages of a network and of the step."""
    return written("twins", "lenet5_bn", "step", "--out", "twins") / "twins"


def both_lines(page: Page) -> list[list[list[int]]]:
    found = [row for row in page.evaluate(PLACES) if all(row)]
    assert len(found) > 20
    return found


@pytest.mark.parametrize("name", ["lenet5_bn", "step", "index", "traps"])
def test_it_can_be_read_everywhere(sized: Page, folder: Path, name: str):
    sized.goto((folder / f"{name}.html").as_uri())
    assert overflow(sized) == 0
    assert faint(sized) == []
    assert dark(sized)
    assert faint(sized) == []


@pytest.mark.parametrize("name", ["lenet5_bn", "step"])
def test_lines_of_a_row_stand_beside_each_other_on_screen_and_on_paper(page: Page, folder: Path, name: str):
    page.goto((folder / f"{name}.html").as_uri())
    for medium in ("screen", "print"):
        page.emulate_media(media=medium)
        for ours, theirs in both_lines(page):
            assert ours[0] == theirs[0]
            assert ours[1] < theirs[1]
        lost = page.evaluate("[...document.querySelectorAll('.l')].filter(l => l.scrollWidth > l.clientWidth).length")
        assert lost == 0  # a line that is too long is wrapped, not cut
    expect(page.locator("nav")).to_be_hidden()
    assert printed(page).startswith(b"%PDF")


def test_on_a_telephone_they_stand_below_each_other_and_equal_lines_once(page: Page, folder: Path):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((folder / "lenet5_bn.html").as_uri())
    for (top, left), (below, same) in both_lines(page):
        assert top < below
        assert left == same
    labels = page.evaluate(LABELS)
    assert {label for text, label in labels if text} == {'"Flax"', '"PyTorch"'}
    assert {label for text, label in labels if not text} == {"none"}  # a blank line has no side
    equal = page.locator("tr.same")
    assert equal.count() > 10
    assert equal.locator("td.code:visible").count() == equal.count()


def test_keys_go_from_difference_to_difference(page: Page, folder: Path):
    page.goto((folder / "lenet5_bn.html").as_uri())
    count = page.locator("tbody.diff").count()
    assert count > 4
    seen = []
    for key in [*"j" * (count + 1), "k"]:
        page.keyboard.press(key)
        at = page.locator("tbody.diff:focus")
        seen.append(at.get_attribute("id"))
        expect(at).to_be_in_viewport()
    assert seen == [*(f"d{n + 1}" for n in range(count)), f"d{count}", f"d{count - 1}"]
    marked, plain = (
        page.locator(f"{which} td.no").first.evaluate("cell => getComputedStyle(cell).backgroundColor")
        for which in ("tbody.diff:focus", "tbody:not(.diff)")
    )
    assert marked != plain
    field = page.locator(".filter input").first
    field.press("j")
    expect(field).to_have_value("j")  # a key in a field is text
    page.reload()
    assert {"A", "INPUT", "BUTTON"} <= set(reached(page))


def test_the_figures_are_those_of_the_json_and_are_sorted_by_size(page: Page, folder: Path):
    layers = json.loads((folder / "measurements.json").read_text())["lenet5_bn"]["layers"]
    page.goto((folder / "lenet5_bn.html").as_uri())
    table = page.locator("#all-layers")

    def shown(what: str) -> dict[str, str]:
        at = {"forward": 6, "backward": 7}[what]
        rows = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr:visible").all()]
        return {cells[0]: cells[at].strip() for cells in rows}

    for what in ("forward", "backward"):
        expected = {row["layer"]: f"{row[what]['error']:.1e}" if row[what] else "" for row in layers}
        assert shown(what) == expected
        table.get_by_role("button", name=what).click()
        values = [float(text) for text in shown(what).values() if text]
        assert values == sorted(values)
        assert list(shown(what).values())[-1] == ""  # what is missing is at the end
    page.get_by_label("Filter").fill("conv 120")
    assert list(shown("forward")) == ["conv3"]
    expect(page.locator(".filter output")).to_have_text(f"1 of {len(layers)}")
    page.get_by_label("Filter").press("Escape")
    assert len(shown("forward")) == len(layers)


def test_links_lead_to_the_trap_and_to_the_line(page: Page, folder: Path):
    page.goto((folder / "step.html").as_uri())
    page.get_by_role("link", name="trap 31").first.click()
    expect(page.locator("#trap-31:target")).to_be_in_viewport()
    page.goto((folder / "index.html").as_uri())
    page.get_by_role("link", name="lenet5_bn").click()
    page.locator("#all-layers").get_by_role("link", name="BatchNorm2d").first.click()
    expect(page.locator("td:target + td.code")).to_contain_text("self.bn1")
