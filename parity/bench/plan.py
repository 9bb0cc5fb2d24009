"""What is measured, in which variants and in which order: pure data, nothing is run here."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

FRAMEWORKS = ("jaxnets", "torchnets")
TASKS = ("training", "inference")
# Of Flax: one call a step, or many steps in one lax.scan, where a CPU's convolutions are several times slower.
FLAX_MODES = {"cpu": ("dispatch",), "gpu": ("dispatch", "scan")}
EAGER = "eager"
# Of PyTorch: torch.compile of the network. reduce-overhead is CUDA graphs, which a CPU has not.
TORCH_MODES = {
    "cpu": (EAGER, "compile", "max-autotune"),
    "gpu": (EAGER, "compile", "reduce-overhead", "max-autotune"),
}
STEP = "-step"  # at the end of a mode: loss, backward pass and optimizer are compiled, too, not the network alone
LAYOUTS = ("channels_last", "contiguous")
# Where an epoch's batches come from: the project's loader, as the trainers use it (--augment-on host and device).
FEEDS = {"cpu": ("loader",), "gpu": ("loader", "loader, finished on the device")}
FEW_CORES = 4
LEAST_ROUNDS = 5
BATCH = 128
# On a CPU a step of the networks for 224x224 pixels would take a minute at 128.
BATCH_LARGE, LARGE_FLOPS = 16, 500_000_000


class Variant(NamedTuple):
    """A way to run a framework; what a framework has no choice of is 0 or empty.

    Of Flax `threads` are devices that share each batch, on a CPU one for a core: XLA's convolutions use no more.
    """

    framework: str
    mode: str
    threads: int = 0
    layout: str = ""

    def __str__(self) -> str:
        kind = "device" if self.framework == "jaxnets" else "thread"
        threads = f"{self.threads} {kind}{'s' if self.threads > 1 else ''}" if self.threads else ""
        return ", ".join(part for part in (self.mode, threads, self.layout) if part)


class Setting(NamedTuple):
    """All that a worker is told of what it shall run; both frameworks are told the same but for the variant."""

    name: str  # of the network
    mode: str
    threads: int
    layout: str
    batch_size: int
    precision: str
    tf32: bool
    optimizer: str
    dataset: str  # "" for random examples
    data_dir: str  # "" for the default
    weights: str  # folder of the file that both start from

    @classmethod
    def of(cls, variant: Variant, common: dict[str, Any]) -> Self:
        """Return the setting of a variant."""
        return cls(mode=variant.mode, threads=variant.threads, layout=variant.layout, **common)


class Choices(NamedTuple):
    """What may be tried of PyTorch and of Flax."""

    torch_modes: Sequence[str]
    flax_modes: Sequence[str]
    threads: Sequence[int]
    layouts: Sequence[str]
    every: bool = False  # try every combination
    devices: Sequence[int] = (0,)  # of Flax, see `Variant`


def torch_modes() -> tuple[str, ...]:
    """Return every mode of PyTorch that can be asked for."""
    whole = dict.fromkeys(mode for modes in TORCH_MODES.values() for mode in modes)
    return (*whole, *(mode + STEP for mode in whole if mode != EAGER))


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return the thread counts to try: all of them if they are few, else the powers of two and all cores."""
    if cores <= FEW_CORES:
        return tuple(range(1, cores + 1))
    powers = [2**at for at in range(cores.bit_length()) if 2**at < cores]
    return (*powers, cores)


def device_counts(cores: int) -> tuple[int, ...]:
    """Return the numbers of devices to try of Flax on a CPU: one, and the largest power of two that has its cores."""
    largest = 2 ** (cores.bit_length() - 1)
    return (1, largest) if largest > 1 else (1,)


def batch_size(wanted: int | None, device: str, flops: int) -> int:
    """Return how many examples a step has: what is wanted, else what fits network and device."""
    return wanted or (BATCH_LARGE if device == "cpu" and flops > LARGE_FLOPS else BATCH)


def flax_trials(choices: Choices) -> list[Variant]:
    """Return what is tried of Flax; several devices with a call for each step only."""
    return [
        Variant("jaxnets", mode, devices)
        for mode in choices.flax_modes
        for devices in (choices.devices if mode == FLAX_MODES["cpu"][0] else choices.devices[:1])
    ]


def first_trials(choices: Choices, *, images: bool) -> list[Variant]:
    """Return what is tried of PyTorch at first: every thread count and layout, in the first mode or in all.

    The layout of a network without convolutions over images is no choice.
    """
    modes = choices.torch_modes if choices.every else choices.torch_modes[:1]
    layouts = choices.layouts if images else ("",)
    return [Variant("torchnets", *rest) for rest in _product(modes, choices.threads, layouts)]


def later_trials(choices: Choices, best: Iterable[Variant]) -> list[Variant]:
    """Return what is tried next: the other modes, with the thread counts and layouts that were the best so far."""
    if choices.every:
        return []
    found = [variant._replace(mode=mode) for mode in choices.torch_modes[1:] for variant in best]
    return list(dict.fromkeys(found))


def _product(modes: Sequence[str], threads: Sequence[int], layouts: Sequence[str]) -> Iterable[tuple[str, int, str]]:
    return ((mode, count, layout) for mode in modes for count in threads for layout in layouts)


def turns(rounds: int, sides: Sequence[str]) -> list[str]:
    """Return who measures when: A B B A A B B A and so on, so that a machine that slows down slows both."""
    return [side for number in range(rounds) for side in (sides if number % 2 == 0 else list(sides)[::-1])]
