"""What is asked of every page fails for a page that is not so."""

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.looks import dark, faint, overflow, watched

pytestmark = pytest.mark.slow


def test_a_page_that_cannot_be_read_is_found(page: Page):
    page.set_content('<p style="color: #999">faint</p><p>black</p><div style="width: 1500px">wide</div>')
    assert [text.split(":")[0] for text in faint(page)] == ["P faint"]
    assert overflow(page) > 200
    assert not dark(page)


def test_errors_and_requests_are_found(browser: Browser, tmp_path):
    page = browser.new_page()
    found = watched(page)
    file = tmp_path / "page.html"
    file.write_text(
        '<script src="http://127.0.0.1:9/x.js"></script><script>console.warn("careful"); missing()</script>'
    )
    page.goto(file.as_uri())
    page.close()
    assert "http://127.0.0.1:9/x.js" in found
    assert "careful" in found
    assert any("missing is not defined" in text for text in found)
