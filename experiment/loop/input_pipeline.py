"""Where the training examples lie, and how many steps are taken at once: the same answers for both frameworks."""

from data import Loader
from data.workers import Workers
from experiment.config import Config, every

ROOM = 2**32  # bytes of examples that are put onto a device without being told to
AT_ONCE = 32  # steps in one call; after a signal all of them are still done


def keeps_examples(config: Config, loader: Loader | Workers, *, accelerator: bool, replicas: int) -> bool:
    """Return whether all examples are to lie on the device.

    On an accelerator that saves what takes longest there: waiting for batches. On a CPU they lie in the same memory
    either way, and a convolution in a loop is several times slower.
    """
    if config.data_on != "auto":
        return config.data_on == "device"
    alone = replicas == 1 and not config.workers
    return accelerator and alone and loader.split.inputs.nbytes <= ROOM


def steps_at_once(config: Config, loader: Loader, epoch: int, done: int) -> int:
    """Return how many steps may be taken in one call, `done` batches of an epoch being done: `AT_ONCE`, or one.

    Of any other number the program would have to be compiled anew. All have batches of one size, and none but the
    last of them is to be saved after.
    """
    number, unit = every(config)
    to_save = number - (epoch * len(loader) + done) % number if unit == "step" else AT_ONCE
    full = len(loader) - (loader.size(len(loader) - 1) != config.batch_size)
    return AT_ONCE if done + AT_ONCE <= full and to_save >= AT_ONCE else 1
