"""Launching the processes of one training on this machine (--processes), and ending them together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from experiment.distributed.environment import LOOPBACK

LAUNCHER = "JAXNETS_LAUNCHER"  # the process ID of `launch`; the processes that it started end with it
GRACE = 10.0  # seconds for the other processes to end when one has failed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(count: int, command: Sequence[str]) -> int:
    """Run `count` copies of a command on this machine, each with its rank; return their common exit code.

    When one fails, the others have `GRACE` seconds to end and are then killed. Signals are forwarded.
    """
    port, cores = free_port(), os.cpu_count() or 1
    # As torchrun does: else each would start a thread for every core.
    common = {"OMP_NUM_THREADS": str(max(1, cores // count))} | os.environ | {LAUNCHER: str(os.getpid())}
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    # Under nohup, hang-ups are ignored, and the processes inherit that.
    caught = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in caught}
    try:
        for rank in range(count):
            own = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            own |= {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": False}
            environment = common | {name: str(value) for name, value in own.items()}
            # A group of its own: Ctrl-C then comes from here alone, not from the terminal as well.
            children.append(subprocess.Popen(command, env=environment, process_group=0))
        return _await(children)
    finally:
        for child in children:
            child.kill()
            child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def _await(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all have ended, or `GRACE` seconds after one has failed; return the most telling exit code."""
    deadline = float("inf")
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        if deadline == float("inf") and any(child.poll() for child in children):
            deadline = time.monotonic() + GRACE
        time.sleep(0.05)
    # What is still running has not ended by itself, which is no failure of its own: it is killed by `launch`.
    codes = [child.poll() or 0 for child in children]
    if (code := min(codes)) < 0:  # a signal's, from which the others' failures follow
        if -code not in SIGNALS:
            killed = f"process {codes.index(code)} of {len(codes)} was killed by signal {-code}"
            print(f"error: {killed}, so all end; what was saved is whole: see --resume", file=sys.stderr)
        return 128 - code
    return max(codes)


def silence() -> None:
    """Discard stdout from now on, that of libraries too: only process 0 prints."""
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def end_with_launcher(environment: Mapping[str, str]) -> None:
    """End this process if `launch`, which started it, is gone; to be called from time to time."""
    if environment.get(LAUNCHER) and os.getppid() != int(environment[LAUNCHER]):
        print("error: the process that started this one has ended, so this one ends, too", file=sys.stderr)
        os._exit(1)
