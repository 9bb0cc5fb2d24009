"""The edge of every command: one-line errors, exit codes, and a terminal that can neither end nor harm the work.

Standard output and standard error may be closed, full, gone with the reader of a pipe or with an ssh session, or
unable to encode what is printed. `command` handles all of it in one place, so that nothing else has to.
"""

import atexit
import errno
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from data.errors import UserError

SIGNALLED = 128  # a command that a signal ends exits with this plus its number
PACKAGES = ("jaxnets", "torchnets", "parity", "data")  # with commands
GONE = (errno.EPIPE, errno.EIO, errno.ENXIO)  # nobody reads any more: a closed pipe, a terminal that has hung up

NARROW = 20  # characters a line: with fewer, as COLUMNS=0 says, tables are empty and help texts take minutes to wrap


class OutputFailed(SystemExit):
    """Ends the command: its standard output has failed, and what it prints is all that it is for."""


class Output:
    """A text stream in place of `sys.stdout` or `sys.stderr`; `write` and `flush` never raise an `OSError`.

    After the first failure nothing is written any more.

    Attributes:
        required: whether the command ends when this stream fails. It then exits with 141, like a program that SIGPIPE
            ends, if the reader has gone; and with 1 and a line on the other stream otherwise.
    """

    def __init__(self, stream: TextIO, other: TextIO | None = None):
        self._stream, self._other, self.required, self._failed = stream, other, other is not None, False

    def write(self, text: str) -> int:
        """Write text; return its length."""
        try:
            return len(text) if self._failed else self._stream.write(text)
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            if not self._failed:
                self._stream.flush()
        except OSError as error:
            self._fail(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fail(self, error: OSError) -> None:
        self._failed = True
        self._discard()
        if self._other is None:
            return
        gone, text = error.errno in GONE, f"standard output cannot be written ({error.strerror or error})"
        if not self.required:
            self._tell(f"warning: {text}; the command continues without it")
            return
        if not gone:
            self._tell(f"error: {text}")
        raise OutputFailed(SIGNALLED + signal.SIGPIPE if gone else 1)

    def _discard(self) -> None:
        """Direct the file descriptor to the null device: Python writes what is still buffered as it exits."""
        with suppress(OSError):  # some streams have none
            number = self._stream.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)

    def _tell(self, line: str) -> None:
        if self._other is not None:
            self._other.write(f"{line}\n")
            self._other.flush()


def command(main: Callable[[], int]) -> None:
    """Run a command and exit: an error that the user can correct is one line on stderr and exit code 1."""
    with terminal():
        try:
            code = main()
        except UserError as error:
            # One write, not the two of `sys.exit`: another process of the same training may end this one in between.
            sys.stderr.write(f"error: {error}\n")
            code = 1
        except KeyboardInterrupt:
            sys.stderr.write("interrupted: nothing more is saved\n")
            code = SIGNALLED + signal.SIGINT
        if code > SIGNALLED and _is_process():
            _leave(code)
        sys.exit(code)


def _is_process() -> bool:
    """Return whether the command is what this process runs, not a call from a program of the user's or a test."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name.partition(".")[0] in PACKAGES


def _leave(code: int) -> None:
    """End the process as `sys.exit` does, but do not take the interpreter apart.

    A signal may arrive while the framework computes in other threads. Once all is saved and the exit handlers have
    run, what is left is to destroy what those threads use. A process has been seen to crash there (exit status 139).
    """
    with suppress(SystemExit):
        sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


@contextmanager
def terminal() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` streams that escape what they cannot encode and never raise an `OSError`."""
    if isinstance(sys.stdout, Output):
        yield
        return
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) < NARROW:
        del os.environ["COLUMNS"]
    before = sys.stdout, sys.stderr
    out, err = (stream or _null() for stream in before)  # None: it was closed when Python started
    handlers = [_escape(stream) for stream in (out, err)]
    errors = Output(err)
    sys.stdout, sys.stderr = Output(out, errors), errors  # type: ignore[assignment]
    try:
        yield
    finally:
        ours = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = before
        try:
            for stream in ours:
                stream.flush()
        finally:
            for stream, handler in zip((out, err), handlers, strict=True):
                if handler:
                    stream.reconfigure(errors=handler)  # type: ignore[union-attr]
                if stream not in before:
                    stream.close()


def outlive() -> None:
    """Let the command continue without output from now on, if standard output fails: it writes files, too."""
    if isinstance(sys.stdout, Output):
        sys.stdout.required = False


def printable(text: str) -> str:
    """Return text in which control characters, and what standard output cannot encode, are escaped: "gr\\xfcn"."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    escaped = "".join(repr(char)[1:-1] if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


def _escape(stream: TextIO) -> str:
    """Let a stream escape what it cannot encode; return its error handler of before, if it has one."""
    handler, reconfigure = getattr(stream, "errors", None), getattr(stream, "reconfigure", None)
    if not handler or not reconfigure:
        return ""
    reconfigure(errors="backslashreplace")
    return handler


def _null() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _open_if_closed(descriptor: int) -> None:
    """Open the null device as a standard descriptor that is closed: else the next file opened would take its place."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
