"""Where a step's batch comes from: the host, batch by batch, or all examples, which lie on the device."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from data import Loader
from data.loader import RawBatch
from experiment.config import Config
from experiment.loop.input_pipeline import keeps_examples
from torchnets.sharding import replicas
from torchnets.tensors import as_tensors, as_views

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Batches = Callable[[int, int], Iterator[tuple[torch.Tensor, torch.Tensor]]]  # of an epoch, from a batch on


def feed(loader: Loader, config: Config) -> Batches:
    """Return what yields an epoch's batches from one on."""
    if keeps_examples(config, loader, accelerator=DEVICE.type != "cpu", replicas=replicas()):
        return resident(loader)
    return on_device(loader) if config.augment_on == "device" else on_host(loader)


def on_host(loader: Loader) -> Batches:
    """Return what yields an epoch's batches from one on."""
    return lambda epoch, start: (as_tensors(batch, DEVICE) for batch in loader.epoch(epoch, start))


def on_device(loader: Loader) -> Batches:
    """Return what yields an epoch's batches from one on, all arithmetic on them done where the network computes."""

    def finish(raw: RawBatch) -> tuple[torch.Tensor, torch.Tensor]:
        raw = RawBatch(*(torch.from_numpy(part).to(DEVICE) for part in raw))
        batch: Any = loader.finish(raw, torch)
        return as_views(*batch)

    return lambda epoch, start: map(finish, loader.raw(epoch, start))


def resident(loader: Loader) -> Batches:
    """Return the same where all examples lie on the device: of a batch only its indices go there."""
    examples = tuple(torch.tensor(part, device=DEVICE) for part in loader.arrays)

    def batches(epoch: int, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        drawn = loader.draw(epoch)
        for number in range(start, len(loader)):
            rows = loader.rows(drawn, number)
            index, draws, shares = (torch.from_numpy(part).to(DEVICE) for part in rows)
            inputs, labels = (part[index] for part in examples)
            batch: Any = loader.finish(RawBatch(inputs, labels, draws, shares), torch)
            yield as_views(*batch)

    return batches
