"""Members trained several at a time, each by a Ray task in a process of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from keras_babysit.ensemble.members.training import Job, in_bytes
from keras_babysit.search.ray import cluster
from keras_babysit.search.ray import setup as ray_setup
from keras_babysit.search.ray.executor import RayExecutor

#: A member's file, its history by epoch, and a digest of how it began.
Result = tuple[bytes, dict[str, list[float]], str]


def results_on_ray(
    jobs: Sequence[Job], executor: RayExecutor
) -> Iterator[tuple[int, Result]]:
    """Trains members as Ray tasks; yields each as it is done.

    Raises:
        ValueError: if something cannot be sent to other processes.
        RuntimeError: if a process was lost again and again.
    """
    if not jobs:
        return
    ray = cluster.import_ray()
    cpus, gpus = executor.cpus_per_trial, executor.gpus_per_trial
    total = executor.workers and executor.workers * cpus
    link = cluster.connect(executor.address, total)
    running: dict[Any, int] = {}
    try:
        grows = link != "started"
        at_once = cluster.capacity(executor.workers, cpus, gpus, grows)
        setup = ray_setup.setup_of("", "", cpus, gpus)
        shared = [ray.put(_packed(jobs[0]))]
        task = ray.remote(max_calls=1, max_retries=2, num_cpus=cpus, num_gpus=gpus)(
            _run
        )
        waiting = list(jobs)
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[task.remote(setup, shared, job.number, job.seed)] = job.number
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(done), _result(ray, done)
    finally:
        for left in running:
            ray.cancel(left, force=True)
        if link:
            ray.shutdown()


def _packed(job: Job) -> tuple[Job, dict[str, Any]]:
    parts = {"`make_model`": job.make_model, "`callbacks`": job.callbacks}
    parts |= {f"`{name}`": value for name, value in job.fit_arguments.items()}
    return ray_setup.packed(job, parts)


def _run(setup: Any, shared: list[Any], number: int, seed: int) -> Result:
    """Runs in the worker, which is to be as this process is."""
    import ray

    ray_setup.prepare(setup)
    # Unpickled only now, for it may need what has just been set.
    job, registered = ray.get(shared[0])
    ray_setup.prepare_keras(setup.keras, registered)
    return in_bytes(dataclasses.replace(job, number=number, seed=seed))


def _result(ray: Any, task: Any) -> Result:
    try:
        return ray.get(task)
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError,
    ) as e:
        raise RuntimeError(
            "The process that trained a member was lost three times "
            f"({type(e).__name__}). Members that are done are kept; fewer `workers` "
            "need less memory."
        ) from None
