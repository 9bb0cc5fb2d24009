"""How the processes of one training find each other: process 0 waits on a port, the others connect to it."""

import json
import os
import socket
import time
from contextlib import suppress

from data.errors import UserError
from experiment.distributed.environment import LOOPBACK, ProcessInfo
from experiment.distributed.launch import end_with_launcher

ANSWER = 5.0  # seconds within which the other side must answer
POLL = 1.0  # seconds between two looks at whether the launcher still runs
JOIN = 300.0  # seconds within which all processes must connect
WELCOME = b"welcome\n"  # from process 0, when all have connected


def await_all(process: ProcessInfo) -> dict[int, socket.socket]:
    """In process 0, return a connection to each of the other processes, by rank.

    Raises:
        UserError: not all of them connect, or the port is in use.
    """
    host = LOOPBACK if process.address in (LOOPBACK, "localhost") else ""
    dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    peers: dict[int, socket.socket] = {}
    deadline = time.monotonic() + JOIN
    try:
        with socket.create_server((host, process.port), family=family, dualstack_ipv6=dual) as server:
            server.settimeout(POLL)
            while len(peers) < process.size - 1:
                end_with_launcher(os.environ)
                if time.monotonic() > deadline:
                    found = (
                        f"only {len(peers) + 1} of {process.size} processes have come to port {process.port} within"
                    )
                    raise UserError(f"{found} {JOIN:.0f} s; the environment says that there are so many")
                with suppress(TimeoutError):
                    peer, _ = server.accept()
                    if (rank := _greeting(peer, process.size)) is None or rank in peers:
                        peer.close()  # not one of us
                    else:
                        peers[rank] = peer
    except OSError as error:
        raise UserError(f"process 0 cannot await the others on port {process.port} ({error.strerror})") from None
    for peer in peers.values():
        peer.sendall(WELCOME)
    return peers


def _greeting(peer: socket.socket, count: int) -> int | None:
    """Return the rank of the process that has connected, or None if it is not one of ours."""
    peer.settimeout(ANSWER)
    try:
        hello, rank, its_count = json.loads(_line(peer))
    except (OSError, ValueError, TypeError):
        return None
    peer.settimeout(None)
    return rank if hello == "hello" and its_count == count and rank in range(1, count) else None


def connect(process: ProcessInfo) -> dict[int, socket.socket]:
    """Wait for process 0 to start and for all to connect; return the connection to process 0.

    Raises:
        UserError: process 0 does not answer, or ends first.
    """
    deadline, where = time.monotonic() + JOIN, f"{process.address}:{process.port}"
    while True:
        try:
            peer = socket.create_connection((process.address, process.port), timeout=ANSWER)
            break
        except OSError as error:
            end_with_launcher(os.environ)
            if time.monotonic() > deadline:
                why = f"({error.strerror or error})"
                raise UserError(f"process {process.rank}: process 0 does not answer at {where} {why}") from None
            time.sleep(0.1)
    try:
        peer.settimeout(2 * JOIN)
        peer.sendall(json.dumps(["hello", process.rank, process.size]).encode() + b"\n")
        if _line(peer) == WELCOME:
            peer.settimeout(None)
            return {0: peer}
    except OSError:
        pass  # as good as no welcome
    peer.close()
    raise UserError(f"process {process.rank}: process 0, at {where}, has ended before all had come")


def _line(peer: socket.socket) -> bytes:
    """Return a short line without reading a byte beyond it."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 100 and (byte := peer.recv(1)):
        line += byte
    return line
