"""Make the screenshots of docs/pictures in chromium: wide and narrow, light and dark.

sphinx-build -j auto -c docs . build/site
python -m parity twins lenet5 --out build/twins
python -m parity report --out build/report
python docs/site/screenshots.py build docs/pictures
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}


class Shot(NamedTuple):
    """A screenshot: which page, where on it, how wide, in which light."""

    page: str
    at: str  # the element that is moved to the top of the window
    size: str
    light: Literal["light", "dark"]


SHOTS = {
    "twins": Shot("twins/lenet5.html", "tr:has(td#jax-20)", "wide", "light"),
    "twins-narrow": Shot("twins/lenet5.html", "tr:has(td#jax-20)", "narrow", "dark"),
    "report": Shot("report/index.html", "header", "wide", "light"),
    "report-narrow": Shot("report/index.html#network-lenet5", "#network-lenet5", "narrow", "dark"),
    "lesson": Shot("site/docs/lessons/03_training_step.html", "h1", "wide", "light"),
    "lesson-narrow": Shot("site/docs/lessons/03_training_step.html", "h1", "narrow", "dark"),
}


def take(browser: Browser, file: Path, shot: Shot) -> bytes:
    """Return a screenshot as PNG; of 256 colours, which is a third of the bytes."""
    width, height = SIZES[shot.size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=shot.light)
    page.goto(file.resolve().as_uri() + shot.page.removeprefix(shot.page.partition("#")[0]))
    page.locator(shot.at).first.evaluate("one => one.scrollIntoView({ block: 'start', behavior: 'instant' })")
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    content = io.BytesIO()
    image.quantize(256).save(content, format="PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    """Take all screenshots whose page is there."""
    folder, out = map(Path, sys.argv[1:])
    with sync_playwright() as play:
        chromium = shutil.which("chromium")
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = play.chromium.launch(executable_path=chromium, args=arguments)
        for name, shot in SHOTS.items():
            file = folder / shot.page.partition("#")[0]
            if not file.exists():
                print(f"{name}: no {file}")
                continue
            content = take(browser, file, shot)
            (out / f"{name}.png").write_bytes(content)
            print(f"{name}: {len(content) / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
