"""Which Ray a search runs on: the one that is there, or one of its own."""

from __future__ import annotations

import logging
import math
import numbers
import os
import socket
import warnings
from typing import Any

from keras_babysit.errors import installing, wrong

#: Files are written by, and to, the machine of the program.
NO_CLIENT = (
    "the program of a search must run on a machine of the Ray cluster, as with "
    "`ray job submit`, not on a client of it: give an address without `ray://`."
)
#: A cluster is given so many seconds to answer.
_PATIENCE = 5.0


def import_ray() -> Any:
    """Returns Ray's module."""
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ImportError(
            "Trials in several processes need Ray, which is not installed: "
            f"{installing('ray')}"
        ) from error
    return ray


def check_number(name: str, value: Any, least: float) -> None:
    """Checks an amount of processors or GPUs, as Ray wants it."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    amount = float(value) if is_number else math.nan
    if not least <= amount < math.inf or (amount > 1 and amount % 1):
        kind = "a positive" if least > 0 else "0, a positive"
        raise wrong(name, f"{kind} whole number or a share of one, such as 0.5", value)


def connect(address: str | None, cpus: float | None) -> str:
    """Connects this process to Ray, unless it is already.

    Args:
        address: of the cluster; `"auto"` for any on this machine, `"local"` for a new
            one, `None` for `RAY_ADDRESS`, or what `ray start` began here, or a new one.
        cpus: processors of a new one; those of the machine by default.

    Returns:
        `"started"`: a new one; `"joined"`: one that runs; with both, `ray.shutdown()`
        is for the caller to call. `""`: it was connected.

    Raises:
        ConnectionError: if there is no cluster at the address.
        ValueError: if it is a client's connection, from outside the cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        if ray.util.client.ray.is_connected():
            raise ValueError(NO_CLIENT)
        return ""
    # Nothing goes to the network that the user has not asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = address or os.environ.get("RAY_ADDRESS") or _begun_here()
    if address == "local":
        number = cpus and math.ceil(cpus)
        ray.init("local", num_cpus=number, include_dashboard=False, **quiet)
        return "started"
    if address != "auto" and not _answers(address):
        raise ConnectionError(
            f"There is no Ray cluster at {address!r}, or it does not answer."
        )
    ray.init(address, **quiet)
    return "joined"


def _begun_here() -> str:
    """The address of the cluster that `ray start` began on this machine, if it runs."""
    noted = import_ray()._private.utils.read_ray_address()
    # What has crashed is still noted, and Ray would wait for it for a long time.
    return noted if noted and _answers(noted) else "local"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE):
            return True
    except (OSError, ValueError):
        return False


def room(cpus: float, gpus: float) -> int:
    """Returns how many trials of so many processors and GPUs fit in the cluster."""
    found = 0
    for node in import_ray().nodes():
        has = node["Resources"]
        fitting = [
            math.floor(has.get(name, 0.0) / amount + 1e-9)
            for name, amount in (("CPU", cpus), ("GPU", gpus))
            if amount
        ]
        found += min(fitting) if node["Alive"] else 0
    return found


def capacity(workers: int | None, cpus: float, gpus: float, grows: bool) -> int:
    """Returns how many trials may run at a time.

    Raises:
        ValueError: if none will ever fit.
    """
    fitting = room(cpus, gpus)
    if not fitting:
        lack = (
            f"no machine of the Ray cluster has cpus_per_trial={cpus} processors and "
            f"gpus_per_trial={gpus} GPUs"
        )
        if workers is None or not grows:
            has = import_ray().cluster_resources()
            there = f"CPU {has.get('CPU', 0):g}, GPU {has.get('GPU', 0):g}"
            raise ValueError(f"{lack}. All of them have: {there}")
        warnings.warn(f"The search waits: {lack} yet.", stacklevel=4)
    return workers or fitting


def actor_here(made: type, *arguments: Any) -> Any:
    """Returns a new Ray actor on this machine; if its process dies, it is made anew."""
    ray = import_ray()
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    actor = ray.remote(max_restarts=-1, max_task_retries=-1)(made)
    return actor.options(num_cpus=0, scheduling_strategy=here).remote(*arguments)
