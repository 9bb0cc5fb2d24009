"""Decisions of the input pipeline: whether examples are kept on the device, and how many steps one call does."""

from data import Loader
from data.workers import Workers
from experiment.config import Config, every

ROOM = 2**32  # bytes: larger datasets are kept on the device only on request
AT_ONCE = 32  # steps in one call; after a signal the call is still completed


def keeps_examples(config: Config, loader: Loader | Workers, *, accelerator: bool, replicas: int) -> bool:
    """Return whether all examples are kept on the device.

    On an accelerator that saves waiting for batches, which takes longest there. On a CPU it saves nothing, and a
    convolution in a loop is several times slower.
    """
    if config.data_on != "auto":
        return config.data_on == "device"
    alone = replicas == 1 and not config.workers
    return accelerator and alone and loader.split.inputs.nbytes <= ROOM


def steps_at_once(config: Config, loader: Loader, epoch: int, done: int) -> int:
    """Return how many steps one call does after `done` batches of an epoch: `AT_ONCE`, or one.

    Any other number would need another compilation. The steps of one call have batches of equal size, and a
    checkpoint is due after none but the last.
    """
    number, unit = every(config)
    to_save = number - (epoch * len(loader) + done) % number if unit == "step" else AT_ONCE
    full = len(loader) - (loader.size(len(loader) - 1) != config.batch_size)
    return AT_ONCE if done + AT_ONCE <= full and to_save >= AT_ONCE else 1
