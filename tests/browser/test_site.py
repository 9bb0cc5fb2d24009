"""The built site of lessons: `sphinx-build -W -j auto -c docs . build/site`, which CI does before these tests."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SIZES
from tests.browser.looks import dark, faint, overflow, printed, reached

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(f"docs/lessons/{path.stem}" for path in (ROOT / "docs/lessons").glob("[0-9]*.py"))
PAGES = ["docs/index", *LESSONS, "docs/traps", "docs/results", "README", "search"]
# What is wider than its box and does not scroll, on paper: it is cut there.
CUT = """
[...document.querySelectorAll("pre, .twin > span, table, img.picture")]
  .filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1).map(one => one.innerText)
"""


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the site; its absence is a failure in CI, elsewhere a reason to skip, as a build takes minutes."""
    folder = Path(os.environ.get("JAXNETS_SITE", ROOT / "build" / "site"))
    if not (folder / f"{LESSONS[-1]}.html").exists():
        message = f"no site in {folder}: sphinx-build -W -j auto -c docs . build/site"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


def visit(page: Page, site: Path, name: str) -> None:
    page.goto((site / f"{name}.html").resolve().as_uri())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_everywhere(page: Page, site: Path, name: str):
    visit(page, site, name)
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        assert overflow(page) == 0
    assert faint(page) == []
    assert dark(page)
    assert faint(page) == []


@pytest.mark.parametrize("name", LESSONS)
def test_pictures_are_there_and_say_what_they_show(page: Page, site: Path, name: str):
    visit(page, site, name)
    pictures = page.locator("article img.picture")
    assert pictures.count() >= 1
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        for picture in pictures.all():
            assert picture.evaluate("one => one.complete && one.naturalWidth") > 300
            assert len(picture.get_attribute("alt") or "") > 30
            box = picture.bounding_box()
            assert box
            assert box["width"] > 250
            assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("name", LESSONS)
def test_nothing_is_cut_on_paper(page: Page, site: Path, name: str):
    page.emulate_media(media="print", color_scheme="dark")  # paper is white all the same
    page.set_viewport_size({"width": 718, "height": 1000})  # A4
    visit(page, site, name)
    assert page.evaluate(CUT) == []
    assert overflow(page) == 0
    assert faint(page) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.locator(".sidebar-drawer")).to_be_hidden()
    assert printed(page).startswith(b"%PDF")


def test_both_frameworks_stand_beside_each_other_and_on_a_telephone_below(page: Page, site: Path):
    visit(page, site, "docs/lessons/03_training_step")
    heads = page.locator(".twin").first.locator(".head")
    for width, beside in ((1280, True), (390, False)):
        page.set_viewport_size({"width": width, "height": 900})
        left, right = (head.bounding_box() for head in heads.all())
        assert left
        assert right
        assert (left["y"] == right["y"]) == beside
        assert (left["x"] == right["x"]) != beside


def test_keys_are_enough(page: Page, site: Path):
    visit(page, site, LESSONS[0])
    for name in LESSONS[1:3]:
        page.keyboard.press("ArrowRight")
        page.wait_for_url(f"**/{name}.html")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    assert {"A", "INPUT", "BUTTON", "SUMMARY"} <= set(reached(page, 400))
    solutions = page.locator("details.solutions")
    assert not solutions.evaluate("one => one.open")
    solutions.locator("summary").press("Enter")
    assert solutions.evaluate("one => one.open")
    expect(solutions.locator(".twin")).to_be_in_viewport()


def test_the_search_needs_no_server(page: Page, site: Path):
    visit(page, site, LESSONS[0])
    page.get_by_role("textbox", name="Search").fill("receptive field")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="7. VGG and AlexNet").last.click()
    page.wait_for_url("**/07_vgg_alexnet.html*")


def test_the_button_makes_it_dark(page: Page, site: Path):
    visit(page, site, LESSONS[0])
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator(".theme-toggle:visible").first.press("Enter")
    assert page.evaluate("document.body.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert faint(page) == []
    page.reload()
    assert page.evaluate("document.body.dataset.theme") == "dark"
