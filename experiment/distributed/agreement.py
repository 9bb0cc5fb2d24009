"""Agreement between the processes of one training: who leads, when all stop, and whether one has died.

Each process has a connection to process 0 that carries lines of JSON in both directions, at least one a second. Steps
do not wait for it. A process that receives a signal tells process 0, which asks all for their current step and then
names the step after which all stop.
"""

import json
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from data.errors import UserError
from experiment.distributed.environment import ProcessInfo
from experiment.distributed.launch import LAUNCHER, end_with_launcher, free_port
from experiment.distributed.rendezvous import await_all, connect

SILENCE = 60.0  # seconds without a message after which a process, its machine or the network counts as dead
PULSE = 1.0  # seconds between two messages
PATIENCE = 5.0  # seconds to wait whether another process's end was the cause of an error
T = TypeVar("T")


class Group:
    """The processes of one training, used as a context; a single process is a group of one.

    At the end all wait for process 0. If one dies, the others end within `SILENCE` seconds, or immediately if its
    connection is closed, as the system does for a process that was killed.
    """

    def __init__(self, process: ProcessInfo):
        self.process = process
        self._peers: dict[int, socket.socket] = {}  # by rank: of process 0 all others, of these only process 0
        self._values: SimpleQueue[Any] = SimpleQueue()
        self._over, self._sending, self._changed = threading.Event(), threading.Lock(), threading.Condition()
        self._step, self._asked, self._ended = 0, False, False
        self._paused, self._until, self._signal = False, 0, 0
        self._where: dict[int, int] = {}  # process 0's: after which step each could stop

    @property
    def leads(self) -> bool:
        """Whether this process is process 0, which prints, evaluates and saves."""
        return self.process.rank == 0

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.process.size == 1

    def __enter__(self) -> Self:
        if not self.alone:
            self._peers = await_all(self.process) if self.leads else connect(self.process)
            threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self.alone:
            return
        code = _exit_code(error)
        if code and not (self.leads and isinstance(error, UserError | KeyboardInterrupt)):
            # Most likely another process has died of what it says on its own, or is about to say the same.
            time.sleep(PATIENCE)
        self._ended = not code
        if code or self.leads:
            self._tell(["end", code])
        if not code:
            self._over.wait(PATIENCE if self.leads else None)
        if isinstance(error, UserError) and not self.leads:
            raise UserError(f"{error} (process {self.process.rank} of {self.process.size})") from None

    def broadcast(self, call: Callable[[], T]) -> T:
        """Return in every process the result of `call` in process 0, which JSON must be able to hold."""
        if not self.leads:
            return self._values.get()
        value = call()
        if not self.alone:
            self._tell(["value", value])
        return value

    def barrier(self) -> None:
        """Wait until process 0 has arrived here."""
        self.broadcast(lambda: None)

    def require_same(self, what: str, value: Any) -> None:
        """Check that `value` is the same as in process 0.

        Raises:
            UserError: in each process where it differs.
        """
        if self.broadcast(lambda: value) != value:
            raise UserError(f"process {self.process.rank} has other {what} than process 0; all need the same")

    def coordinator(self) -> tuple[str, int]:
        """Return an address and a free port on which the framework in process 0 can wait for the other processes."""
        return self.process.address, self.broadcast(free_port)

    def agree(self, step: int, asked: int) -> int:
        """Return the signal that all stop for now, after step number `step`, or 0; `asked` is this process's own."""
        with self._changed:
            self._step = step
        if asked and not self._asked:
            self._asked = True
            if self.leads:
                self._pause(asked)
            else:
                self._tell(["ask", asked])
        with self._changed:
            while self._paused and not self._until:
                self._changed.wait()
            return self._signal if self._until and step >= self._until else 0

    def _listen(self) -> None:
        """Read the messages of the others until all have ended or one has died."""
        chooser, heard = selectors.DefaultSelector(), dict.fromkeys(self._peers, time.monotonic())
        rest, said = dict.fromkeys(self._peers, b""), time.monotonic()
        for rank, peer in self._peers.items():
            chooser.register(peer, selectors.EVENT_READ, rank)
        while chooser.get_map():
            for key, _ in chooser.select(PULSE):
                rank, peer = key.data, self._peers[key.data]
                content = _receive(peer)
                heard[rank] = time.monotonic()
                *lines, rest[rank] = (rest[rank] + content).split(b"\n")
                for line in lines:
                    if not self._take(rank, *json.loads(line)):
                        chooser.unregister(peer)
                        break
                else:
                    if not content and self._ended and self.leads:
                        chooser.unregister(peer)
                    elif not content:
                        # `launch` knows more of it: which signal it was.
                        self._lose(rank, "" if LAUNCHER in os.environ else "has ended in the midst of it")
            now = time.monotonic()
            if now - said > PULSE:
                said = now
                end_with_launcher(os.environ)
                self._tell(["alive"])
            for key in chooser.get_map().values():
                if now - heard[key.data] > SILENCE:
                    self._lose(key.data, f"has not been heard of for {SILENCE:.0f} s")
        chooser.close()
        for peer in self._peers.values():
            peer.close()
        self._over.set()
        if not self._until:  # too late to stop at any step
            self._resume(sys.maxsize, 0)

    def _take(self, rank: int, kind: str, *values: Any) -> bool:
        """Handle a message; return whether more will follow."""
        if kind == "value":
            self._values.put(values[0])
        elif kind == "ask":
            self._pause(values[0])
        elif kind == "where":
            with self._changed:
                self._paused = True
                self._tell(["at", self._step + 1])
        elif kind == "at":
            self._gather(rank, values[0])
        elif kind == "until":
            self._resume(*values)
        elif kind == "end":
            if values[0]:  # it has said why
                self._tell(["end", values[0]])
                os._exit(values[0])
            return False
        return True

    def _pause(self, asked: int) -> None:
        """In process 0, ask all after which step they can stop; their current step may have begun."""
        with self._changed:
            if self._paused:
                return
            self._paused, self._signal = True, asked
            at = self._step + 1
        self._tell(["where"])
        self._gather(0, at)

    def _gather(self, rank: int, step: int) -> None:
        """In process 0, announce the last step once all have answered; nobody continues before that."""
        with self._changed:
            self._where[rank] = step
            if len(self._where) < self.process.size:
                return
        self._tell(["until", max(self._where.values()), self._signal])
        self._resume(max(self._where.values()), self._signal)

    def _resume(self, until: int, number: int) -> None:
        with self._changed:
            self._until, self._signal = until, number
            self._changed.notify_all()

    def _tell(self, line: list[Any]) -> None:
        """Send a message to every connected process."""
        content = json.dumps(line).encode() + b"\n"
        with self._sending:
            for peer in self._peers.values():
                try:
                    peer.sendall(content)
                except OSError:  # it has ended: if it should not have, the listener is about to notice
                    continue

    def _lose(self, rank: int, what: str) -> None:
        """End this process because another one has ended: the frameworks would wait for it, perhaps for ever."""
        if what and self.process.rank in (0, 1):  # one is enough to say so, and 1 if it is 0 that is lost
            line = f"process {rank} of {self.process.size} {what}, so all end; what was saved is whole: see --resume"
            print(f"error: {line}", file=sys.stderr, flush=True)
        self._tell(["end", 1])
        os._exit(1)


def _receive(peer: socket.socket) -> bytes:
    try:
        return peer.recv(2**16)
    except OSError:  # reset: as good as closed
        return b""


def _exit_code(error: BaseException | None) -> int:
    """Return the exit code for an exception."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    if isinstance(error, KeyboardInterrupt):
        return 130
    return int(error is not None)
