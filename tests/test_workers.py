"""One sequence of batches, whoever makes them: any number of processes, any number of shards, numpy or the device."""

import json
import os
import signal
import time
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given

from data import DataError, Loader, Split
from data.loader import RawBatch
from data.workers import Workers
from tests.test_commands import FRAMEWORKS, start
from tests.test_resume import wait_for

MEAN, STD = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.2, 0.3, 0.25], np.float32)


def loader(batch_size: int = 8, *, mixup: float = 0.3, augment: tuple[str, ...] = ("affine", "cutout")) -> Loader:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (50, 8, 8, 3), np.uint8), rng.integers(0, 10, 50).astype(np.int32))
    return Loader(split, MEAN, STD, batch_size, 3, augment=augment, mixup=mixup, classes=10)


def bits(batches) -> list[list[bytes]]:
    return [[part.tobytes() for part in batch] for batch in batches]


@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_processes_yields_the_same_batches(count):
    with Workers(loader(), count) as workers:
        assert len(workers) == len(loader()) == 7
        for epoch in (0, 1, 0):
            assert bits(workers.epoch(epoch)) == bits(loader().epoch(epoch))
        assert bits(workers.epoch(1, 5)) == bits(loader().epoch(1))[5:]


@given(shards=st.sampled_from([1, 2, 4]), batch_size=st.integers(1, 60), mixup=st.sampled_from([0.0, 0.3]))
def test_the_shards_of_a_batch_are_the_batch(shards, batch_size, mixup):
    whole = loader(batch_size, mixup=mixup)
    parts = [list(replace(whole, shard=at, shards=shards).epoch(2)) for at in range(shards)]
    for number, batch in enumerate(whole.epoch(2)):
        assert replace(whole, shards=shards).size(number) == len(batch.labels)
        for at, expected in enumerate(batch):
            found = [part[number][at] for part in parts]
            if len(expected) == batch_size:
                np.testing.assert_array_equal(np.concatenate(found), expected)
            else:  # of the last batch, which has no equal parts, each has the whole
                np.testing.assert_array_equal(np.stack(found), np.stack([expected] * shards))


@given(epoch=st.integers(0, 3), batch_size=st.integers(1, 60))
def test_the_indices_of_a_batch_are_its_examples(epoch, batch_size):
    plain = loader(batch_size, mixup=0, augment=())
    for number, raw in enumerate(plain.raw(epoch)):
        np.testing.assert_array_equal(plain.split.inputs[plain.indices(epoch, number)], raw.inputs)


@pytest.mark.parametrize("augment", [(), ("affine", "flip", "cutout"), ("color", "crop")])
@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_a_batch_made_on_the_device_is_the_hosts(augment, mixup):
    one = loader(mixup=mixup, augment=augment)
    in_jax = jax.jit(partial(one.finish, xp=jnp))
    for raw, ours in zip(one.raw(1), one.epoch(1), strict=True):
        in_torch = one.finish(RawBatch(*map(torch.from_numpy, raw)), torch)
        for theirs in (in_jax(raw), in_torch):
            for found, expected in zip(theirs, ours, strict=True):
                assert np.asarray(found).dtype == expected.dtype
                # 1e-5 of a pixel's range, as in test_augment, over the smallest deviation.
                np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5 / STD.min())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_device_trains_with_what_the_host_would_have(framework, run_main, tmp_path):
    # One step of all examples: of more, roundings would be enlarged, and no bound could be named.
    options = ("--model", "mlp", "--epochs", 1, "--batch-size", 1293, "--augment", "affine,cutout", "--mixup", 0.2)
    losses = {}
    for place, option in {"host": "--augment-on", "device": "--augment-on", "all": "--data-on"}.items():
        where = "device" if place == "all" else place
        code, _, err = run_main(f"{framework}.train", *options, option, where, "--out", place)
        assert (code, err) == (0, "")
        rows = (tmp_path / place / "metrics.jsonl").read_text().splitlines()
        losses[place] = [json.loads(row)["loss"] for row in rows]
    expected, *expected_after = losses.pop("host")
    for train, *after in losses.values():
        np.testing.assert_allclose(train, expected, rtol=1e-5)  # parity's bounds for float32, forward and gradients
        np.testing.assert_allclose(after, expected_after, rtol=1e-4)
    code, _, err = run_main(f"{framework}.train", "--augment-on", "device", "--workers", 1)
    assert code == 1
    assert err.startswith("error: --workers does what --augment-on device leaves to the device")


def children(process: int) -> list[int]:
    """The processes that another one has started, but multiprocessing's own that watches over shared memory."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_killed_worker_is_an_error_at_once():
    with Workers(loader(2), 2) as workers:
        batches = workers.epoch(0)
        next(batches)
        os.kill(children(os.getpid())[0], signal.SIGKILL)
        with pytest.raises(DataError, match="one of the 2 processes that read the examples has died"):
            list(chain.from_iterable(workers.epoch(epoch) for epoch in range(1000)))


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_killed_worker_ends_the_command_and_a_killed_command_its_workers(framework, tmp_path):
    options = ("--model", "mlp", "--epochs", 1000, "--workers", 2)
    process = start("-m", f"{framework}.train", *options, "--out", "run", cwd=tmp_path)
    wait_for(tmp_path / "run/metrics.jsonl", 3, process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)  # 1000 epochs would take longer
    assert process.returncode == 1
    assert err.startswith("error: one of the 2 processes that read the examples has died")
    assert err.count("\n") == 1
    process = start("-m", f"{framework}.train", "--resume", "run", cwd=tmp_path)  # nothing is lost by it
    wait_for(tmp_path / "run/metrics.jsonl", 9, process)
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
