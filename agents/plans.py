"""Plans: many trainings as one, in a pool of processes; stopped at any instant, gone on with, summed up at the end."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import json
import multiprocessing
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import torch

from hardmem.agents.checkpoints import RunError
from hardmem.agents.config import TrainConfig, from_json, resolve_device, to_json
from hardmem.agents.progress import Progress
from hardmem.agents.runner import resume, train
from hardmem.agents.runs import CONFIG, RESULTS, create_folder, locked, write_atomically, write_json
from hardmem.agents.signals import Interrupted, StopRequest
from hardmem.agents.statistics import bootstrap, wilson

PLAN, TABLE = "plan.json", "results.csv"
BACKENDS = ("pool", "ray")

Report = tuple[int, Progress]
"""Number of a job, and how far it is."""

OnReport = Callable[["Job", Progress | None], None]
"""Called with a job and its progress, and with None when the job is done."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One training of one method with one seed, in a folder of its own; of several tasks, on which."""

    method: str
    config: TrainConfig
    folder: Path
    task: str = ""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be trained and how it is examined.

    Args:
        task: what it is about; a title.
        jobs: the trainings, a method at a time.
        lengths: of the problems in the examination.
        problems: fresh problems per length.
    """

    task: str
    jobs: tuple[Job, ...]
    lengths: tuple[int, ...]
    problems: int

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: if there is nothing to train, or a number is out of range.
        """
        if self.problems < 1 or min(self.lengths, default=0) < 1:
            raise ValueError(f"problems and lengths must be at least 1, got {self.problems} and {list(self.lengths)}")
        if not self.jobs:
            raise ValueError("expected at least one training, got none")


def begin(folder: Path, plan: Plan) -> None:
    """Make the folder of a plan, with the plan in it.

    Raises:
        RunError: if it exists, or cannot be made.
    """
    create_folder(folder)
    jobs = [
        {
            "method": job.method,
            "task": job.task,
            "folder": job.folder.name,
            "config": json.loads(to_json(job.config)),
        }
        for job in plan.jobs
    ]
    content = {"task": plan.task, "lengths": list(plan.lengths), "problems": plan.problems, "jobs": jobs}
    write_json(folder / PLAN, content)


def read_plan(folder: Path) -> Plan:
    """The plan in a folder.

    Raises:
        RunError: if there is none, or it cannot be read.
    """
    try:
        content = json.loads((folder / PLAN).read_text())
        jobs = tuple(
            Job(job["method"], from_json(json.dumps(job["config"])), folder / job["folder"], job.get("task", ""))
            for job in content["jobs"]
        )
        return Plan(content["task"], jobs, tuple(content["lengths"]), content["problems"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"cannot read the plan {str(folder / PLAN)!r}: {error}") from error


def carry_out(
    folder: Path, *, workers: int | None = None, backend: str = "pool", on_report: OnReport | None = None
) -> dict[str, Any]:
    """Train what is left of a plan, and write results.json and results.csv beside it.

    Args:
        folder: made by `begin`. What is done there already is not done again; what was under way goes on.
        workers: processes at a time; by default one per core, and one on a GPU.
        backend: "pool", processes on this machine; "ray", a Ray cluster, or this machine where there is none.
        on_report: is told how the jobs are getting on; Ray tells it of finished ones only.

    Returns:
        What results.json holds: {"task", "hardware", "lengths", "methods": {name: {"config", "seeds": [...],
        "summary"}}}; of several tasks one such for each, {"task", "tasks": {name: the same}, "overall": {method:
        summary}}. Two equal plans differ in the seconds alone.

    Raises:
        ValueError: if the number of workers is out of range or the backend is unknown.
        RunError: if there is no plan in the folder, or another process is at it.
        Interrupted: by a signal, once every training under way has written its checkpoint.
    """
    check_pool(workers, backend)
    plan = read_plan(folder)
    device = resolve_device(plan.jobs[0].config.device)
    if workers is None:
        workers = 1 if device.type == "cuda" else available_cores()
    with locked(folder):
        run = _run_in_pool if backend == "pool" else _run_on_ray
        done = run(folder, plan, workers, on_report or (lambda job, progress: None))
        hardware = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {device.type}"
        results = _summed_up(plan, done, hardware)
        write_json(folder / RESULTS, results)
        write_atomically(folder / TABLE, table(results).encode())
    return results


def _summed_up(plan: Plan, done: list[dict[str, Any]], hardware: str) -> dict[str, Any]:
    """What results.json holds."""
    tasks: dict[str, dict[str, Any]] = {}
    for job, result in zip(plan.jobs, done, strict=True):
        config = json.loads(to_json(dataclasses.replace(job.config, seed=0)))
        methods = tasks.setdefault(job.task, {})
        methods.setdefault(job.method, {"config": config, "seeds": []})["seeds"].append(result)
    for methods in tasks.values():
        for entry in methods.values():
            entry["summary"] = summary(entry["seeds"])
    common = {"hardware": hardware, "lengths": list(plan.lengths)}
    if len(tasks) == 1:
        return {"task": plan.task, **common, "methods": methods}
    overall = {
        method: summary(*(methods[method]["seeds"] for methods in tasks.values()))
        for method in methods
        if all(method in others for others in tasks.values())
    }
    parts = {task: {"task": task, **common, "methods": methods} for task, methods in tasks.items()}
    return {"task": plan.task, **common, "tasks": parts, "overall": overall}


def by_task(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Results of one or several tasks, each like those of one."""
    return dict(results["tasks"]) if "tasks" in results else {results["task"]: results}


def check_pool(workers: int | None, backend: str) -> None:
    """Refuse what no pool can be made of.

    Raises:
        ValueError: if the number of workers is out of range, or the backend is unknown or not installed.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {list(BACKENDS)}")
    if backend == "ray" and importlib.util.find_spec("ray") is None:
        raise ValueError("--backend ray needs Ray: pip install 'hardmem[ray]'")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def summary(*tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """What the seeds of one method say together: {"solved": Wilson, "exact": {length: {"greedy", "sampled"}}}.

    Each as [estimate, low, high]: the success rate with Wilson's interval, interquartile means with bootstrap
    intervals; None where the method cannot be run at a length. Of several tasks, seeds are drawn anew for each.
    """
    runs = [seed for seeds in tasks for seed in seeds]
    solved = sum(seed["solved"] is not None for seed in runs)
    exact: dict[str, Any] = {}
    for length in runs[0]["evaluation"]:
        columns = [[seed["evaluation"][length] for seed in seeds] for seeds in tasks]
        exact[length] = None
        if all(evaluation is not None for column in columns for evaluation in column):
            exact[length] = {}
            for kind in ("greedy", "sampled"):
                scores = [[evaluation[kind]["exact"] for evaluation in column] for column in columns]
                exact[length][kind] = list(bootstrap(np.transpose(scores)))  # (runs, tasks)
    return {"solved": list(wilson(solved, len(runs))), "exact": exact}


def table(results: Mapping[str, Any]) -> str:
    """Results as CSV: one line per task, method, seed, length and kind of play."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    cost = ("update", "problems", "rollouts", "seconds")
    solved_at = [f"solved_{name}" for name in cost]
    writer.writerow(["task", "method", "seed", "parameters", *solved_at, "length", "play", "exact", "accuracy"])
    for task, part in by_task(results).items():
        for method, entry in part["methods"].items():
            for seed in entry["seeds"]:
                solved = seed["solved"] or {}
                head = [task, method, seed["seed"], seed["parameters"], *(solved.get(name, "") for name in cost)]
                for length, result in seed["evaluation"].items():
                    for kind in ("greedy", "sampled") if result is not None else ():
                        writer.writerow([*head, length, kind, result[kind]["exact"], result[kind]["accuracy"]])
    return text.getvalue()


def run_job(number: int, job: Job, plan: Plan, reports: Queue[Report] | None) -> dict[str, Any]:
    """Train and examine, or go on with it; what the run's results.json holds. Runs in a process of its own."""
    torch.set_num_threads(1)  # one process per core; and the same sums on every machine

    def report(progress: Progress) -> None:
        if reports is not None:
            reports.put((number, progress))

    if (job.folder / CONFIG).exists():
        resume(job.folder, report, lengths=plan.lengths, problems=plan.problems)
    else:
        train(job.config, job.folder, report, lengths=plan.lengths, problems=plan.problems)
    return _result(job)


def _result(job: Job) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((job.folder / RESULTS).read_text())
    return result


def _done_before(plan: Plan, on_report: OnReport) -> dict[int, dict[str, Any]]:
    """The results that are there already, by number of the job."""
    results = {number: _result(job) for number, job in enumerate(plan.jobs) if (job.folder / RESULTS).exists()}
    for number in results:
        on_report(plan.jobs[number], None)
    return results


def _run_in_pool(folder: Path, plan: Plan, workers: int, on_report: OnReport) -> list[dict[str, Any]]:
    """Run the jobs in a pool of processes and pass on what they report."""
    results = _done_before(plan, on_report)
    if len(results) == len(plan.jobs):
        return [results[number] for number in range(len(plan.jobs))]
    with _pool(workers) as (pool, reports), StopRequest() as stop:
        numbers: dict[Future[dict[str, Any]], int] = {
            pool.submit(run_job, number, job, plan, reports): number
            for number, job in enumerate(plan.jobs)
            if number not in results
        }
        pending = set(numbers)
        while pending and stop.signal is None:
            try:
                number, progress = reports.get(timeout=0.2)
                on_report(plan.jobs[number], progress)
            except Empty:
                pass
            for future in [future for future in pending if future.done()]:
                pending.remove(future)
                results[numbers[future]] = future.result()
                on_report(plan.jobs[numbers[future]], None)
        if stop.signal is not None:
            _stop(pool, pending)
            raise Interrupted(
                f"stopped by {stop.signal.name} with {len(results)} of {len(plan.jobs)} trainings done; go on by "
                f"`hardmem resume {folder}`",
                128 + stop.signal,
            )
    return [results[number] for number in range(len(plan.jobs))]


def _stop(pool: ProcessPoolExecutor, pending: set[Future[dict[str, Any]]]) -> None:
    """Let trainings under way write their checkpoints and begin no others."""
    for future in pending:
        future.cancel()
    for process in multiprocessing.active_children():
        if process.name.startswith("SpawnProcess"):
            os.kill(process.pid or 0, signal.SIGTERM)
    pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _pool(workers: int) -> Iterator[tuple[ProcessPoolExecutor, Queue[Report]]]:
    """A pool of fresh processes (spawned: a forked torch may hang) and a queue that they share with this one."""
    context = get_context("spawn")
    with (
        SyncManager(ctx=context) as manager,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_parent) as pool,
    ):
        try:
            yield pool, manager.Queue()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _leave_interrupts_to_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent tells the others, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_on_ray(folder: Path, plan: Plan, workers: int, on_report: OnReport) -> list[dict[str, Any]]:
    """Run the jobs on a Ray cluster that all see the folder; one of this machine is started where there is none."""
    import ray

    absolute = (dataclasses.replace(job, folder=job.folder.resolve()) for job in plan.jobs)  # workers run elsewhere
    plan = dataclasses.replace(plan, jobs=tuple(absolute))
    mine = not ray.is_initialized()
    if mine:
        ray.init(num_cpus=None if "RAY_ADDRESS" in os.environ else workers, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1)(run_job)
        results = _done_before(plan, on_report)
        numbers = {
            remote.remote(number, job, plan, None): number
            for number, job in enumerate(plan.jobs)
            if number not in results
        }
        while len(results) < len(plan.jobs):
            done, _ = ray.wait([ref for ref, number in numbers.items() if number not in results])
            for ref in done:
                results[numbers[ref]] = ray.get(ref)
                on_report(plan.jobs[numbers[ref]], None)
    finally:
        if mine:
            ray.shutdown()
    return [results[number] for number in range(len(plan.jobs))]
