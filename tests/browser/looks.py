"""What is asked of every page: nothing sticks out, text can be read, the keyboard is enough, paper is enough."""

import re

from playwright.sync_api import Page

LOCAL = ("file:", "data:", "blob:", "about:")
LEAST_CONTRAST = 4.5  # of WCAG 2, level AA, for text
# Elements with text of their own whose colour is too near to that of what is behind them.
FAINT = """
least => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.body.querySelectorAll("*")) {
    const text = [...one.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join("");
    const code = ["SCRIPT", "STYLE"].includes(one.tagName);
    if (!text || code || !one.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(one), colour = one instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(numbers(colour)), light(behind(one))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < least) found.push(`${one.tagName} ${text.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
}
"""


def watched(page: Page) -> list[str]:
    """Return a list of what the page should not do: errors, warnings, requests of what is not on the disk."""
    found = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else found.append(request.url))
    page.on("requestfailed", lambda request: found.append(f"{request.url}: {request.failure}"))
    return found


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window; a table that scrolls by itself does not count."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def faint(page: Page) -> list[str]:
    """Return the texts that are hard to read before what is behind them."""
    return page.evaluate(FAINT, LEAST_CONTRAST)


def dark(page: Page) -> bool:
    """Show the page in the dark; return whether it is dark then."""
    page.emulate_media(color_scheme="dark")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour.startswith("rgb(") and sum(map(int, re.findall(r"\d+", colour))) < 3 * 64


def reached(page: Page, most: int = 200) -> list[str]:
    """Press the tab key until the focus is back where it was; return the tags that it has reached."""
    tags = []
    for _ in range(most):
        page.keyboard.press("Tab")
        tag = page.evaluate("document.activeElement?.tagName ?? 'BODY'")
        if tag == "BODY":
            break
        tags.append(tag)
    return tags


def printed(page: Page) -> bytes:
    """Return the page on paper, as PDF."""
    page.emulate_media(media="print")
    return page.pdf(prefer_css_page_size=True)
