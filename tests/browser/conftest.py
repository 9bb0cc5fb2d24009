"""Pages in a real browser: Debian's chromium, headless, driven by Playwright. All tests here are slow."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from parity import __main__ as parity_main
from tests.browser.looks import watched

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; its absence is a failure in CI, elsewhere a reason to skip."""
    chromium = shutil.which("chromium")
    if chromium is None:
        message = "no chromium on PATH: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as play:
        # The sandbox needs a user who is not root; a container's shared memory may be too small.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = play.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page, 1280 wide: `page.goto(file.as_uri())`.

    The test fails if the page logs an error or a warning, or requests anything that is not a file on the disk.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found = watched(page)
    yield page
    page.close()
    assert found == []


@pytest.fixture(params=SIZES)
def sized(request: pytest.FixtureRequest, page: Page) -> Page:
    """A page as wide as a desktop's window, and one as narrow as a telephone."""
    width, height = SIZES[request.param]
    page.set_viewport_size({"width": width, "height": height})
    return page


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run `python -m parity` in this process, in a folder that all tests share: -> that folder."""
    folder = tmp_path_factory.mktemp("pages")

    def write(*argv: object, code: int = 0) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr("sys.argv", ["parity", *map(str, argv)])
            with pytest.raises(SystemExit) as stop:
                parity_main.main()
        assert (stop.value.code or 0) == code
        return folder

    return write
