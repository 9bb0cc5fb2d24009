"""Data parallel training by sharding: the step stays as it is, only where its arrays lie is said.

Under `jax.jit` a mean over a batch that lies on many devices is the mean over all of it: gradients, BatchNorm's
statistics and metrics are those of the whole batch without a word about it in the step.
"""

import os
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from data import Batch
from experiment.distributed.environment import LOOPBACK, ProcessInfo, device_index

# Where one process has several CPU devices, they wait for each other inside of XLA's threads, of which there are as
# many as cores: all can be waiting for a device that has none left. Read when the first device is touched.
if found := re.search(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", "")):
    os.environ.setdefault("NPROC", str(4 * int(found[1])))

TIMEOUT = 120  # seconds; `experiment.distributed.agreement` has noticed long before that a process is gone


def join(process: ProcessInfo, host: str, port: int) -> None:
    """Make one network's training of several processes; before any device is touched."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    jax.config.update("jax_check_proxy_envs", False)
    os.environ.update(no_grpc_proxy=host)  # else a proxy for the web is asked for the way to process 0, and all hang
    index = device_index(process, os.environ)
    jax.distributed.initialize(
        f"{host}:{port}",
        process.size,
        process.rank,
        local_device_ids=None if index is None else [index],
        cluster_detection_method="deactivate",
        heartbeat_timeout_seconds=TIMEOUT,
        coordinator_bind_address=f"{host}:{port}" if host == LOOPBACK else None,
    )


def replicas() -> int:
    """Return among how many devices, of all processes, a batch is divided."""
    return jax.device_count()


def make_mesh() -> Mesh | None:
    """Return all devices in a row, those of process 0 first; None if there is one, and nothing to divide."""
    return jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,)) if jax.device_count() > 1 else None


def whole(mesh: Mesh | None) -> NamedSharding | None:
    """Return how an array lies that each device has the whole of."""
    return NamedSharding(mesh, P()) if mesh else None


def sharing(step: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """Return a step whose layers can ask, while it is traced, among which devices a batch is divided."""
    if mesh is None:
        return step
    abstract = mesh.abstract_mesh

    def shared(*args: Any) -> Any:
        with jax.sharding.use_abstract_mesh(abstract):
            return step(*args)

    return shared


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Return a tree, the same one in every process, with the whole of it on every device."""
    return jax.jit(lambda tree: tree, out_shardings=whole(mesh))(tree) if mesh else tree


def divide(batch: Batch, size: int, mesh: Mesh | None) -> Batch:
    """Return the batch of `size` examples that this process has its share of, or the whole, as global arrays."""
    if mesh is None:
        return batch
    # A last batch that is not full has no equal parts: each device computes the whole of it.
    shared = len(batch.labels) < size or (jax.process_count() == 1 and size % mesh.size == 0)
    sharding = NamedSharding(mesh, P("data") if shared else P())
    return Batch(*(jax.make_array_from_process_local_data(sharding, part) for part in batch))


def local(tree: Any, mesh: Mesh | None) -> Any:
    """Return a replicated tree as this process's own, to compute with alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree) if mesh else tree
