"""Which of several processes this one is, read from the environment of torchrun, Open MPI, Slurm or `launch`."""

import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from data.errors import UserError

LOOPBACK = "127.0.0.1"
PORTS = range(61440, 65535)  # above the ephemeral ports of Linux


class ProcessInfo(NamedTuple):
    """Which process this is among those that train one network."""

    rank: int = 0  # from 0; process 0 prints, evaluates and saves
    size: int = 1  # the number of processes
    local_rank: int = 0  # among those on this machine
    local_size: int = 1
    address: str = LOOPBACK  # of process 0's machine
    port: int = 0  # on which process 0 waits for the others


def read_environment(environment: Mapping[str, str]) -> ProcessInfo:
    """Return which process this is; the first of these that is set decides.

    RANK and WORLD_SIZE from torchrun or set by hand; OMPI_COMM_WORLD_SIZE from Open MPI; SLURM_STEP_NUM_TASKS from
    srun. A batch script itself runs in no step, and its SLURM_NTASKS is the number of tasks that can be started.

    Raises:
        UserError: a variable is missing or invalid; says which.
    """
    for count, found in (
        ("WORLD_SIZE", _torchrun if "RANK" in environment else None),
        ("OMPI_COMM_WORLD_SIZE", _open_mpi),
        ("SLURM_STEP_NUM_TASKS", _slurm),
    ):
        if found and count in environment:
            return found(environment) if _number(environment, count, 1) > 1 else ProcessInfo()
    return ProcessInfo()


def device_index(process: ProcessInfo, environment: Mapping[str, str]) -> int | None:
    """Return the index, among the visible GPUs, of this process's; None if it is alone on its machine and has all."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if process.local_size == 1:
        return None
    # A queue that binds GPUs to tasks lets each see one, its own.
    return 0 if visible is not None and len(visible.split(",")) == 1 else process.local_rank


def _torchrun(environment: Mapping[str, str]) -> ProcessInfo:
    count = _number(environment, "WORLD_SIZE", 1)
    rank = _number(environment, "RANK", 0, count)
    port = _number(environment, "MASTER_PORT", 1, 2**16)
    # Where torchrun has an agent, it listens on that port itself.
    port += environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    alone_here = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"} | dict(environment)  # unless it says otherwise
    local_rank, local_size = _number(alone_here, "LOCAL_RANK", 0), _number(alone_here, "LOCAL_WORLD_SIZE", 1)
    return ProcessInfo(rank, count, local_rank, local_size, _needed(environment, "MASTER_ADDR"), port)


def _open_mpi(environment: Mapping[str, str]) -> ProcessInfo:
    count = _number(environment, "OMPI_COMM_WORLD_SIZE", 1)
    rank = _number(environment, "OMPI_COMM_WORLD_RANK", 0, count)
    local_rank = _number(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0)
    local_size = _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1)
    if local_size < count and "MASTER_ADDR" not in environment:
        raise UserError("mpirun on several machines does not say which has process 0: add -x MASTER_ADDR=its-name")
    job = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid", "")
    address = environment.get("MASTER_ADDR", LOOPBACK)
    return ProcessInfo(rank, count, local_rank, local_size, address, _port(environment, job))


def _slurm(environment: Mapping[str, str]) -> ProcessInfo:
    count = _number(environment, "SLURM_STEP_NUM_TASKS", 1)
    rank = _number(environment, "SLURM_PROCID", 0, count)
    local_rank, node = (_number(environment, name, 0) for name in ("SLURM_LOCALID", "SLURM_NODEID"))
    tasks = _tasks(_needed(environment, "SLURM_STEP_TASKS_PER_NODE"))
    local_size = tasks[node] if node < len(tasks) else 1
    address = environment.get("MASTER_ADDR") or first_host(_needed(environment, "SLURM_STEP_NODELIST"))
    job = f"{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}"
    return ProcessInfo(rank, count, local_rank, local_size, address, _port(environment, job))


def first_host(names: str) -> str:
    """Return the first of a list of hosts as Slurm writes it: that of "node[007-9,12],login" is node007."""
    found = re.match(r"(?:[^,\[\]]|\[[^\[\]]*\])+", names)
    if not found:
        raise UserError(f"SLURM_STEP_NODELIST is '{names}', expected names of hosts")
    return re.sub(r"\[([^,\-\]]*)[^\]]*\]", r"\1", found[0])


def _tasks(text: str) -> list[int]:
    """Return how many tasks each node has: [2, 2, 1] of "2(x2),1"."""
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]{1,6})(?:\(x([0-9]{1,6})\))?", part)
        if not found:
            raise UserError(f"SLURM_STEP_TASKS_PER_NODE is '{text}', expected counts like 2(x3),1")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _port(environment: Mapping[str, str], job: str) -> int:
    """Return MASTER_PORT, or a port derived from the job, which is very rarely that of another job."""
    if "MASTER_PORT" in environment:
        return _number(environment, "MASTER_PORT", 1, 2**16)
    return PORTS[zlib.crc32(job.encode()) % len(PORTS)]


def _number(environment: Mapping[str, str], name: str, low: int, end: int = 2**31) -> int:
    """Return a variable as an integer from `low` to below `end`."""
    text = _needed(environment, name)
    if not re.fullmatch("[0-9]{1,10}", text) or not low <= int(text) < end:
        upper = f" to {end - 1}" if end < 2**31 else " on"
        raise UserError(f"the environment's {name} is '{text}', expected a whole number from {low}{upper}")
    return int(text)


def _needed(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise UserError(f"the environment says that there are several processes, but has no {name}")
    return environment[name]
