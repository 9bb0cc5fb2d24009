"""The page of `visualize`: it can be read everywhere, and all pictures are there."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

import torchnets
from experiment.cli import visualize
from tests.browser.looks import dark, faint, overflow, printed, reached

pytestmark = pytest.mark.slow
LOADED = """
Promise.all([...document.images].map(image => { image.loading = "eager"; return image.decode(); }))
  .then(() => [...document.images].map(image => [image.naturalWidth, image.width]))
"""


@pytest.fixture(scope="session")
def index(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("visualize")
    torchnets.fit("lenet5", "digits", epochs=0).save(folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["visualize", str(folder / "run"), "--out", str(folder / "seen")])
        with pytest.raises(SystemExit) as stop:
            visualize.main("torchnets")
    assert not stop.value.code
    return folder / "seen/index.html"


def test_it_can_be_read_everywhere_and_shows_every_picture_at_its_size(sized: Page, index: Path):
    sized.goto(index.as_uri())
    assert overflow(sized) == 0
    assert faint(sized) == []
    sizes = sized.evaluate(LOADED)
    assert len(sizes) == 18
    assert all(natural == shown > 300 for natural, shown in sizes)
    assert dark(sized)
    assert faint(sized) == []
    assert reached(sized).count("A") >= 6 + 18  # the sections and the pictures
    assert len(printed(sized)) > 10_000
