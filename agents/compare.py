"""Compare: several methods on one task, several seeds each, in one process per core; one table and two pictures."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import torch

from hardmem.agents.config import AgentConfig, SequenceConfig, TrainConfig, resolve_device, to_json
from hardmem.agents.progress import Progress
from hardmem.agents.runs import RESULTS, create_folder, write_json
from hardmem.agents.training import train

LENGTHS = (10, 20, 100, 1000)

HARD_NTM = SequenceConfig(max_updates=800)
SOFT_TWIN = dataclasses.replace(HARD_NTM, access="soft")

METHODS: dict[str, dict[str, TrainConfig]] = {
    "copy": {
        "REINFORCE agent": AgentConfig(start_length=3, max_updates=600),
        "hard NTM": HARD_NTM,
        "soft twin": SOFT_TWIN,
        "paper NTM": dataclasses.replace(
            SOFT_TWIN,
            addressing="content-location",
            heads=("read", "write"),
            order="move-write-read",
            bypass=True,
            gated=False,
            controller="lstm",
            hidden_size=100,
            start_length=10,
            learning_rate=3e-3,
            max_updates=700,
            finish_updates=50,
        ),
        "LSTM": dataclasses.replace(SOFT_TWIN, model="lstm", hidden_size=100, start_length=10, max_updates=1500),
    },
}
"""By task: what is compared, each with its budget of updates. The soft twin differs from the hard NTM in its access."""

Report = tuple[int, Progress]
"""Number of a job, and how far it is."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One training of one method with one seed."""

    method: str
    config: TrainConfig
    folder: Path


def jobs_of(task: str, seeds: int, folder: Path, device: str = "auto") -> list[Job]:
    """All trainings of a comparison, a method at a time.

    Raises:
        ValueError: if there is no comparison for that task, or no seed.
    """
    if task not in METHODS:
        raise ValueError(f"unknown comparison {task!r}; choose one of {sorted(METHODS)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    return [
        Job(method, dataclasses.replace(config, seed=seed, device=device), folder / f"{slug(method)}-seed{seed}")
        for method, config in METHODS[task].items()
        for seed in range(seeds)
    ]


def slug(method: str) -> str:
    """A method's name as a folder's: "hard NTM" -> "hard-ntm"."""
    return method.lower().replace(" ", "-")


def run_job(number: int, job: Job, problems: int, lengths: tuple[int, ...], reports: Queue[Report]) -> dict[str, Any]:
    """Train and examine; what the run's results.json holds. Runs in a process of its own."""
    torch.set_num_threads(1)  # one process per core; and the same sums on every machine
    train(
        job.config,
        job.folder,
        lambda progress: reports.put((number, progress)),
        lengths=lengths,
        problems=problems,
    )
    result: dict[str, Any] = json.loads((job.folder / RESULTS).read_text())
    return result


def compare(
    task: str,
    folder: Path,
    *,
    seeds: int = 3,
    problems: int = 500,
    lengths: tuple[int, ...] = LENGTHS,
    device: str = "auto",
    workers: int | None = None,
    on_report: Callable[[Job, Progress | None], None] | None = None,
) -> dict[str, Any]:
    """Train every method of a task with every seed, examine all, and write results.json into a new folder.

    Args:
        task: a name from `METHODS`.
        folder: where; it must not exist yet. Each training has a run folder of its own inside.
        seeds: trainings per method, seeds 0 to seeds - 1.
        problems: fresh problems per length in the examination.
        lengths: problem lengths of the examination.
        device: as `TrainConfig.device`.
        workers: processes at a time; by default one per core, and one on a GPU.
        on_report: called with a job and its progress, and with None when the job is done.

    Returns:
        What results.json holds: {"task", "hardware", "lengths", "methods": {name: {"config", "seeds": [...]}}}. Two
        equal calls differ in the seconds alone.

    Raises:
        ValueError: if the task is unknown or a number out of range.
        RunError: if the folder exists or cannot be made.
    """
    if problems < 1 or (workers is not None and workers < 1):
        raise ValueError(f"problems and workers must be at least 1, got {problems} and {workers}")
    where = resolve_device(device)
    jobs = jobs_of(task, seeds, folder, device)
    create_folder(folder)
    if workers is None:
        workers = 1 if where.type == "cuda" else len(os.sched_getaffinity(0))
    done = _run_all(jobs, problems, lengths, workers, on_report or (lambda job, progress: None))
    methods: dict[str, dict[str, Any]] = {}
    for job, result in zip(jobs, done, strict=True):
        config = json.loads(to_json(dataclasses.replace(job.config, seed=0)))
        methods.setdefault(job.method, {"config": config, "seeds": []})["seeds"].append(result)
    hardware = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {where.type}"
    results = {"task": task, "hardware": hardware, "lengths": list(lengths), "methods": methods}
    write_json(folder / RESULTS, results)
    return results


def _run_all(
    jobs: list[Job],
    problems: int,
    lengths: tuple[int, ...],
    workers: int,
    on_report: Callable[[Job, Progress | None], None],
) -> list[dict[str, Any]]:
    """Run the jobs in a pool of processes and pass on what they report."""
    results: dict[int, dict[str, Any]] = {}
    with _pool(workers) as (pool, reports):
        numbers: dict[Future[dict[str, Any]], int] = {
            pool.submit(run_job, number, job, problems, lengths, reports): number for number, job in enumerate(jobs)
        }
        pending = set(numbers)
        while pending:
            try:
                number, progress = reports.get(timeout=0.2)
                on_report(jobs[number], progress)
            except Empty:
                pass
            for future in [future for future in pending if future.done()]:
                pending.remove(future)
                results[numbers[future]] = future.result()
                on_report(jobs[numbers[future]], None)
    return [results[number] for number in range(len(jobs))]


@contextmanager
def _pool(workers: int) -> Iterator[tuple[ProcessPoolExecutor, Queue[Report]]]:
    """A pool of fresh processes (spawned: a forked torch may hang) and a queue that they share with this one."""
    context = get_context("spawn")
    with SyncManager(ctx=context) as manager, ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            yield pool, manager.Queue()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
