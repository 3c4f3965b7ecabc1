"""Report: the results of a comparison as a table, and the live view of a comparison under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hardmem.agents.plans import Job
from hardmem.agents.progress import Progress


def comparison_table(results: Mapping[str, Any], console: Console) -> Table:
    """A column per method: size, cost of learning, mean (worst), and exact sequences, interquartile mean [interval].

    What stands in brackets has a line of its own where the console is too narrow for one.
    """
    table = _comparison(results, " ")
    boundless = console.options.update(width=10_000)
    return table if console.measure(table, options=boundless).maximum <= console.width else _comparison(results, "\n")


def _comparison(results: Mapping[str, Any], between: str) -> Table:
    methods = results["methods"]
    seeds = len(next(iter(methods.values()))["seeds"])
    table = Table(
        title=f"{results['task']}: {seeds} seeds on {results['hardware']}",
        caption="solved: 99 % exact greedy sequences at all training lengths, on validation, with Wilson's 95 % "
        "interval of the rate; then the cost in problems, rollouts and seconds, mean (worst). Below: exact sequences "
        "in % on fresh problems without further training, interquartile mean [95 % bootstrap interval].",
        box=box.SIMPLE_HEAVY,
        padding=0,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    for method in methods:
        table.add_column(method, justify="right")
    entries = [entry["seeds"] for entry in methods.values()]
    solved = [[row["solved"] for row in rows if row["solved"]] for rows in entries]
    table.add_row("parameters", *(f"{rows[0]['parameters']:,}" for rows in entries))
    rates = [entry["summary"]["solved"] for entry in methods.values()]
    counts = [f"{len(at)}/{len(rows)}" for at, rows in zip(solved, entries, strict=True)]
    table.add_row(
        "solved",
        *(
            f"{n}{between}\\[{100 * low:.0f}, {100 * high:.0f}]"
            for n, (_, low, high) in zip(counts, rates, strict=True)
        ),
    )
    for unit, form in (("problems", "{:,.0f}"), ("rollouts", "{:,.0f}"), ("seconds", "{:,.1f}")):
        table.add_row(unit, *(_mean_worst([row[unit] for row in at], max, form, between) for at in solved))
    table.add_section()
    for kind in ("greedy", "sampled"):
        for length in results["lengths"]:
            heading = f"{kind}, {_length_heading(results, length)}"
            scores = (_exact(entry["summary"], str(length), kind, between) for entry in methods.values())
            table.add_row(heading, *scores)
        table.add_section()
    return table


def overall_table(results: Mapping[str, Any]) -> Table:
    """Several tasks as one: a row per method, success rate and exact sequences over all of them."""
    lengths = [str(length) for length in results["lengths"]]
    table = Table(
        title=f"over all tasks: {results['task']}",
        caption="runs that solved their task, with Wilson's 95 % interval of the rate; exact greedy sequences in % by "
        "length, interquartile mean over seeds and tasks [95 % bootstrap interval, seeds drawn anew within each task].",
        box=box.SIMPLE_HEAVY,
        pad_edge=False,
    )
    for heading in ("method", "solved, %", *lengths):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for method, entry in results["overall"].items():
        rate, low, high = (100 * share for share in entry["solved"])
        scores = [_exact(entry, length, "greedy") for length in lengths]
        table.add_row(method, f"{rate:.0f} \\[{low:.0f}, {high:.0f}]", *scores)
    return table


def sweep_table(results: Mapping[str, Any]) -> Table:
    """A row per setting, the best first: success rate, cost, exact sequences at the first length."""
    length = str(results["lengths"][0])
    table = Table(
        title=f"{results['task']}: best first",
        caption=f"solved, with Wilson's 95 % interval of the rate; rollouts until then, mean (worst); exact sequences "
        f"in %, interquartile mean [95 % bootstrap interval], at {_length_heading(results, int(length))}.",
        box=box.SIMPLE_HEAVY,
        pad_edge=False,
    )
    for heading in ("setting", "solved", "rollouts", "greedy", "sampled"):
        table.add_column(heading, justify="left" if heading == "setting" else "right")
    for method, entry in ranked(results):
        at = [seed["solved"] for seed in entry["seeds"] if seed["solved"]]
        _, low, high = entry["summary"]["solved"]
        table.add_row(
            method,
            f"{len(at)}/{len(entry['seeds'])} \\[{100 * low:.0f}, {100 * high:.0f}]",
            _mean_worst([row["rollouts"] for row in at], max, "{:,.0f}"),
            *(_exact(entry["summary"], length, kind) for kind in ("greedy", "sampled")),
        )
    return table


def ranked(results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Methods and their entries, the best first: by success rate, by exact sequences, by rollouts needed."""

    def badness(item: tuple[str, Any]) -> tuple[float, float, float]:
        summary = item[1]["summary"]
        exact = summary["exact"][str(results["lengths"][0])]
        spent = [
            seed["curve"][-1]["rollouts"] if not seed["solved"] else seed["solved"]["rollouts"]
            for seed in item[1]["seeds"]
        ]
        return (-summary["solved"][0], -exact["greedy"][0] if exact else 0.0, sum(spent))

    return sorted(results["methods"].items(), key=badness)


def _length_heading(results: Mapping[str, Any], length: int) -> str:
    longest = {entry["config"]["max_length"] for entry in results["methods"].values()}
    return f"1-{length}" if length in longest else f"{length:,}"


def _exact(summary: Mapping[str, Any], length: str, kind: str, between: str = " ") -> str:
    """Exact sequences in %; a dash where the method cannot be run at that length."""
    if summary["exact"][length] is None:
        return "-"
    middle, low, high = (100 * number for number in summary["exact"][length][kind])
    return f"{middle:.1f}{between}\\[{low:.0f}, {high:.0f}]"


def _mean_worst(
    values: Sequence[float], worst: Callable[[Sequence[float]], float], form: str, between: str = " "
) -> str:
    if not values:
        return "-"
    return f"{form.format(sum(values) / len(values))}{between}({form.format(worst(values))})"


class LiveComparison:
    """A table of all trainings that fills while they run.

    Args:
        jobs: the trainings, in the order in which they are shown.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.latest: dict[Path, Progress] = {}
        self.done: set[Path] = set()

    def update(self, job: Job, progress: Progress | None) -> None:
        """Take note of a job's progress; None says that it is done."""
        key = job.folder
        if progress is None:
            self.done.add(key)
        else:
            self.latest[key] = progress

    def __rich__(self) -> Table:
        """The present state, for rich to draw."""
        title = f"{len(self.done)} of {len(self.jobs)} trainings done"
        table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)  # ten columns in a terminal's 80
        table.add_column("method")
        for heading in ("seed", "update", "length", "exact", "answers", "return", "loss", "rate", "ETA"):
            table.add_column(heading, justify="right", no_wrap=True)
        for job in self.jobs:
            key = job.folder
            progress = self.latest.get(key)
            style = "dim" if progress is None else "green" if key in self.done else "default"
            table.add_row(
                _title(job, self.jobs),
                str(job.config.seed),
                *self._columns(job, progress, key in self.done),
                style=style,
            )
        return table

    @staticmethod
    def _columns(job: Job, progress: Progress | None, done: bool) -> list[str]:
        if progress is None:
            return ["waiting"]
        rate = progress.rollouts / max(progress.seconds, 1e-9)
        left = progress.seconds * (job.config.max_updates / progress.update - 1)
        metrics = progress.metrics
        return [
            f"{progress.update}/{job.config.max_updates}",
            str(progress.length),
            f"{progress.exact:.0%}",
            f"{metrics['accuracy']:.1%}",
            f"{metrics['return']:.3f}" if "return" in metrics else "",
            f"{metrics['loss']:.3f}",
            per_second(rate),
            "done" if done else f"<{left:.0f} s" if left < 600 else f"<{left / 60:.0f} min",
        ]


def per_second(rate: float) -> str:
    """A speed in at most six characters up to a million."""
    return f"{rate / 1000:,.0f}k/s" if rate >= 10_000 else f"{rate:.0f}/s"


def _title(job: Job, jobs: Sequence[Job]) -> str:
    """The method; where there are several tasks, on which."""
    return f"{job.method}, {job.task}" if len({other.task for other in jobs}) > 1 else job.method


@contextmanager
def live_comparison(jobs: Sequence[Job], console: Console) -> Iterator[Callable[[Job, Progress | None], None]]:
    """Show a comparison while it runs: a live table on a terminal, one line per finished training elsewhere."""
    view = LiveComparison(jobs)
    if console.is_terminal:
        with Live(view, console=console, refresh_per_second=4):
            yield view.update
        return

    def say(job: Job, progress: Progress | None) -> None:
        view.update(job, progress)
        if progress is None:
            last = view.latest.get(job.folder)
            reached = (
                "" if last is None else f": {last.exact:.0%} exact after {last.update} updates, {last.seconds:.0f} s"
            )
            console.print(
                f"[{len(view.done)}/{len(jobs)}] {_title(job, jobs)}, seed {job.config.seed}{reached}", highlight=False
            )

    yield say


def evaluation_table(evaluation: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """A row per length of an examination: exact sequences and single answers, greedy and sampled; 80 columns do."""
    caption = (
        "in %, on fresh problems, without further training; exact: sequences without a fault, answers: single ones "
        "that are right"
    )
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=caption,
    )
    for heading in ("length", "problems", "greedy: exact", "answers", "sampled: exact", "answers"):
        table.add_column(heading, justify="right", no_wrap=True)
    for length, result in evaluation.items():
        if result is None:
            table.add_row(f"{int(length):,}", *["-"] * 5)
            continue
        shares = []
        for kind in ("greedy", "sampled"):
            low, high = result[kind].get("spread", (0.0, 0.0))
            spread = f" \\[{100 * low:.1f}, {100 * high:.1f}]" if low < high else ""
            if spread:
                table.caption = f"{caption}; in brackets the lowest and highest of the seeds"
            shares += [f"{100 * result[kind]['exact']:.1f}{spread}", f"{100 * result[kind]['accuracy']:.1f}"]
        table.add_row(f"{int(length):,}", f"{result['problems']:,}", *shares)
    return table
