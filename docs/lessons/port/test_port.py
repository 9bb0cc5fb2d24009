"""The test that keeps the port: it fails as soon as one of the two files changes without the other."""

import my_flax
import my_torch
import numpy as np

import parity


def test_the_port_is_the_network():
    """Prove the port."""
    inputs = np.random.default_rng(0).normal(size=(8, 8, 8, 1))
    parity.assert_port(my_torch.Net(), my_flax.Net(), inputs)
