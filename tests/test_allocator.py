"""Memory that a step frees is there for the next one, without the kernel's help."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import ctypes, resource, threading
from experiment.allocator import keep_freed_memory

keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def steps(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        for size in (2**24, 2**27):  # one that fits into a thread's own arena, one that does not
            block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
            ctypes.memset(block, 1, size)
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def run():
    steps(3)
    print(steps(5))

thread = threading.Thread(target=run)  # XLA's steps run in threads of its own
thread.start()
thread.join()
"""


def page_faults(**settings: str) -> int:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environ.pop("GLIBC_TUNABLES", None)
    command = [sys.executable, "-c", STEPS]
    return int(subprocess.run(command, env=environ | settings, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_a_step_finds_the_memory_of_the_last_one():
    assert page_faults() < 1_000  # of 184,320 pages of 4 KiB that the steps write
    assert page_faults(MALLOC_ARENA_MAX="2") > 10_000  # the user's settings stand
