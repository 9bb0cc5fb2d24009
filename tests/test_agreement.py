"""Several processes agree: on when to stop, on who is missing, and on ending together."""

import random
import signal
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import UserError
from experiment.distributed import launch as launching
from experiment.distributed import rendezvous
from experiment.distributed.agreement import Group
from experiment.distributed.environment import ProcessInfo
from experiment.distributed.launch import free_port, launch
from tests.test_commands import start
from tests.test_parallel import all_end, by_hand


@given(st.integers(2, 5), st.integers(1, 12), st.integers(0, 4), st.integers(0, 2**32))
def test_all_stop_after_the_same_step_whoever_is_asked(count, asked_at, asked_rank, seed):
    """Threads stand for processes, a barrier for the sum that each step ends with; all have their own pace."""
    barrier, port, stopped, told = threading.Barrier(count), free_port(), {}, {}

    def train(rank: int) -> None:
        rng = random.Random(f"{seed} {rank}")
        with Group(ProcessInfo(rank, count, port=port)) as found:
            told[rank] = found.broadcast(lambda: {"seed": seed})
            for step in range(1, 13):
                if rng.random() < 0.2:
                    time.sleep(rng.random() / 500)
                barrier.wait(30)  # nobody gets through it before all have come
                asked = signal.SIGTERM if step >= asked_at and rank == asked_rank % count else 0
                if number := found.agree(step, asked):
                    stopped[rank] = (step, number)
                    return
            stopped[rank] = (None, 0)

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(stopped) == count
    assert len(set(stopped.values())) == 1, stopped
    step, number = stopped[0]
    assert number in (0, signal.SIGTERM)
    assert (step or 12) >= asked_at
    assert told == {rank: {"seed": seed} for rank in range(count)}


def test_who_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(rendezvous, "JOIN", 0.3)
    port = free_port()
    with (
        pytest.raises(UserError, match=f"only 1 of 2 processes have come to port {port}"),
        Group(ProcessInfo(0, 2, port=port)),
    ):
        pass
    with (
        pytest.raises(UserError, match=f"process 0 does not answer at 127.0.0.1:{port}"),
        Group(ProcessInfo(1, 2, port=port)),
    ):
        pass


def test_a_process_that_hangs_is_killed_when_another_has_failed(monkeypatch, tmp_path):
    monkeypatch.setattr(launching, "GRACE", 0.3)
    code = "import os, sys, time; open(os.environ['RANK'] + str(os.getpid()), 'w'); time.sleep(0.5)"
    code += "; sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(1000)"
    monkeypatch.chdir(tmp_path)
    assert launch(3, [sys.executable, "-c", code]) == 3
    assert all_end([int(path.name[1:]) for path in tmp_path.iterdir()])


WAITING = """
import os, sys, time
from experiment.distributed.agreement import Group
from experiment.distributed.launch import launch
from experiment.distributed.environment import read_environment
if len(sys.argv) > 1:
    launch(3, [sys.executable, sys.argv[0]])
else:
    with Group(read_environment(os.environ)) as group:
        open(f"{group.process.rank}-{os.getpid()}", "w").close()
        time.sleep(1000)
"""


def test_who_is_left_says_who_is_not(tmp_path):
    for killed, speaker in ((0, 1), (2, 0)):
        folder = tmp_path / str(killed)
        folder.mkdir()
        script = folder / "waiting.py"
        script.write_text(WAITING)
        found = by_hand([folder / str(rank) for rank in range(3)], script)
        while len(list(folder.glob("*/*-*"))) < 3:
            assert not any(process.poll() for process in found)
            time.sleep(0.02)
        found[killed].kill()
        said = [process.communicate(timeout=30)[1] for process in found]
        assert [process.returncode for process in found] == [-9 if rank == killed else 1 for rank in range(3)]
        line = f"error: process {killed} of 3 has ended in the midst of it, so all end; what was saved is whole"
        assert said.pop(speaker) == f"{line}: see --resume\n"
        assert said == ["", ""]


def test_nothing_outlives_the_process_that_has_started_it(tmp_path):
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    process = start(script, "launch", cwd=tmp_path)
    while len(found := list(tmp_path.glob("[0-2]-*"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    _, err = process.communicate(timeout=30)  # they have its pipes, and close them
    assert "has ended, so this one ends, too" in err
    assert all_end([int(path.name[2:]) for path in found])
