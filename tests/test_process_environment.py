"""Which process this is among several: what torchrun, Open MPI and Slurm say in the environment."""

import pytest

from data import UserError
from experiment import config
from experiment.distributed import environment
from experiment.distributed.environment import ProcessInfo, device_index, first_host, read_environment


def test_one_training_at_a_time():
    for argv in (["--seeds", "2"], ["--tune", "lr=1e-4..1e-1"]):
        with pytest.raises(UserError, match="leave out --seeds and --tune"):
            config.parse(["--processes", "2", *argv], "train")


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
TORCHRUN |= {"MASTER_ADDR": "one", "MASTER_PORT": "29500"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
OPEN_MPI |= {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "prterun-one-77@1"}
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"}
SLURM |= {"SLURM_STEP_TASKS_PER_NODE": "3,2,1", "SLURM_STEP_NODELIST": "node[07-09]"}
SLURM |= {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0"}


def test_a_process_knows_its_place():
    assert read_environment({}) == ProcessInfo()
    assert read_environment(TORCHRUN) == ProcessInfo(3, 4, 1, 2, "one", 29500)
    assert read_environment(TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).port == 29501
    found = read_environment(OPEN_MPI)
    assert found[:5] == (1, 2, 1, 2, "127.0.0.1")
    assert (
        found.port
        == read_environment(OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "0"}).port
        != read_environment(OPEN_MPI | OTHER_JOB).port
    )
    found = read_environment(SLURM)
    assert found[:5] == (5, 6, 0, 1, "node07")
    assert found.port in environment.PORTS
    assert (
        found.port == read_environment(SLURM | {"SLURM_PROCID": "0"}).port != read_environment(SLURM | OTHER_JOB).port
    )
    assert read_environment(SLURM | {"SLURM_NODEID": "1"}).local_size == 2
    # The innermost of several starters knows best, and what is given by hand best of all.
    assert read_environment(SLURM | TORCHRUN) == read_environment(TORCHRUN)
    assert read_environment(SLURM | {"MASTER_ADDR": "other", "MASTER_PORT": "1234"})[4:] == ("other", 1234)


OTHER_JOB = {"PMIX_NAMESPACE": "prterun-one-78@1", "SLURM_JOB_ID": "4712"}


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"},  # a batch script's, outside of srun
        SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"OMPI_COMM_WORLD_SIZE": "1"},
        TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"},
        SLURM | {"WORLD_SIZE": "1", "RANK": "0"},
        {"RANK": "7"},
        {"WORLD_SIZE": "7"},
        {"MASTER_ADDR": "one", "LOCAL_RANK": "1"},
    ],
)
def test_one_process_is_alone_whatever_else_the_environment_says(environment):
    assert read_environment(environment) == ProcessInfo()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (TORCHRUN | {"RANK": "4"}, "RANK is '4', expected a whole number from 0 to 3"),
        (TORCHRUN | {"RANK": "-1"}, "RANK is '-1'"),
        (TORCHRUN | {"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many', expected a whole number from 1 on"),
        (TORCHRUN | {"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        (TORCHRUN | {"MASTER_PORT": "99999"}, "MASTER_PORT is '99999'"),
        (TORCHRUN | {"MASTER_ADDR": ""}, "has no MASTER_ADDR"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "4"}, "add -x MASTER_ADDR="),
        (OPEN_MPI | {"OMPI_COMM_WORLD_RANK": ""}, "has no OMPI_COMM_WORLD_RANK"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(3)"}, "SLURM_STEP_TASKS_PER_NODE is '2(3)'"),
        (SLURM | {"SLURM_STEP_NODELIST": "[["}, "SLURM_STEP_NODELIST is '[['"),
        ({name: value for name, value in SLURM.items() if name != "SLURM_PROCID"}, "has no SLURM_PROCID"),
    ],
)
def test_an_environment_that_makes_no_sense_is_one_line(environment, said):
    with pytest.raises(UserError) as error:
        read_environment(environment)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_first_of_slurms_hosts():
    lists = {
        "one": "one",
        "one,two": "one",
        "n[3,5-7],m": "n3",
        "n[003-12]-ib,m[1]": "n003-ib",
        "r[1-2]n[05,7]": "r1n05",
    }
    assert {text: first_host(text) for text in lists} == lists


def test_a_process_takes_a_gpu_of_its_own_if_there_are_others():
    assert device_index(ProcessInfo(), {}) is None
    assert device_index(ProcessInfo(1, 2), {}) is None  # one process a machine: all that it has
    assert device_index(ProcessInfo(3, 4, 1, 2), {}) == 1
    assert device_index(ProcessInfo(3, 4, 1, 2), {"CUDA_VISIBLE_DEVICES": "4,5"}) == 1
    assert device_index(ProcessInfo(3, 4, 1, 2), {"CUDA_VISIBLE_DEVICES": "5"}) == 0  # bound by the queue
