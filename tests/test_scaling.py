"""The paper model of docs/scaling.md: what it says of a step, and that the tables are its."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scaling
from benchmarks.scaling import LINKS, Link, Work, averaging, efficiency, paying, volume
from jaxnets import MODELS

DOCUMENT = Path(__file__).parents[1] / "docs/scaling.md"
NONE = Link("none", math.inf, 0.0)
works = st.builds(
    Work,
    st.just("any"),
    st.floats(1e4, 1e12),
    st.floats(0.0, 2 / 3),
    st.integers(1, 10**9),
    st.integers(0, 100),
)


def test_a_step_of_resnet50_is_what_is_known_of_it():
    work = scaling.count("resnet50", MODELS["resnet50"])
    assert work.flops == pytest.approx(3 * 2 * 4.09e9, rel=0.01)  # He et al. 2016 and torchvision: 4.09e9 products
    assert volume(work, 2) == 4 * 25_557_032  # half a ring's way out and back
    assert volume(work, 10**9) == pytest.approx(2 * 4 * 25_557_032)
    assert work.norms == 53
    assert averaging(work, 2, Link("slow", 4.0, 1.0)) == 25_557_032 + 2


def test_what_is_frozen_is_neither_sent_nor_differentiated():
    work = scaling.count("resnet50_transfer", MODELS["resnet50_transfer"])
    assert volume(work, 2) == 4 * 271_178
    assert work.norms == 0
    assert work.backward == pytest.approx(2 * 2 * 271_000 / work.flops, rel=0.01)


@given(works, st.sampled_from([16, 64, 256]), st.sampled_from(LINKS), st.floats(0, 1))
def test_devices_cost_what_they_say_to_each_other(work, batch, link, overlap):
    shares = [efficiency(work, 2**at, batch, link, 1e13, overlap) for at in range(int(math.log2(batch)) + 1)]
    assert shares[0] == 1
    assert all(0 < more < less * (1 + 1e-9) for less, more in pairwise(shares))
    assert efficiency(work, batch, batch, NONE, 1e13, overlap) == pytest.approx(1)
    eighty, fifty, fastest = paying(work, batch, link, 1e13, overlap)
    assert 1 <= eighty <= fifty <= batch
    assert efficiency(work, eighty, batch, link, 1e13, overlap) >= 0.8
    assert efficiency(work, fifty, batch, link, 1e13, overlap) >= 0.5
    assert fastest in [2**at for at in range(9)]


@pytest.mark.parametrize("name", ["ann", "lenet5_bn", "googlenet"])
def test_the_document_has_the_models_rows(name):
    work = [scaling.count(name, MODELS[name])]
    for made in (scaling.volumes(work, 256, 1e13), scaling.scaling(work, 256, 1e13, 0.5)):
        assert made.splitlines()[0] in DOCUMENT.read_text().splitlines()
        assert made.splitlines()[-1] in DOCUMENT.read_text().splitlines()
