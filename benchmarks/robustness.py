"""Where hard addresses are learned, and which part of the defaults is to thank: case x arm x seed.

    python benchmarks/robustness.py --out runs.jsonl                   # again: goes on where it stopped
    python benchmarks/robustness.py --out runs.jsonl --cases copy-gru reverse-gru --arms default "no gates" --seeds 5
    python benchmarks/robustness.py --out runs.jsonl --report --docs docs     # tables and figure into the docs

Every case is one configuration with the defaults of the library; an arm changes one thing in all of them. Success is
99 % exact greedy sequences on 500 fresh problems of the training lengths and, where the addresses allow, on 100 of ten
times the longest. Seeds are 1000, 1001, ...; none of the defaults was chosen on them. Seconds are CPU seconds of one
thread, of which a run gets `--minutes`; then it stops, and counts as it is: unsolved, or solved and not quite finished.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from measured import write_section

from hardmem.agents import AgentConfig, SequenceConfig
from hardmem.agents.config import TrainConfig
from hardmem.agents.evaluation import evaluate
from hardmem.agents.learner import Generators
from hardmem.agents.training import SOLVED, Training
from hardmem.envs import ENVIRONMENTS
from hardmem.schemes import SCHEMES

FIRST_SEED, PROBLEMS, LONG_PROBLEMS = 1000, 500, 100
MODEL = SequenceConfig(max_updates=3000, eval_every=10)
AGENT = AgentConfig(max_updates=3000, eval_every=10)

SELF_PACED = "robustness/RepeatCopySelfPaced-v0"
ENVIRONMENTS[SELF_PACED] = {"task": "repeat-copy", "interface": "tape", "self_paced": True}

CASES: dict[str, TrainConfig] = {
    "Copy, feed-forward": MODEL,
    "Copy, GRU": dataclasses.replace(MODEL, controller="gru"),
    "Copy, LSTM": dataclasses.replace(MODEL, controller="lstm"),
    "Reverse, feed-forward": dataclasses.replace(MODEL, task="reverse"),
    "Reverse, GRU": dataclasses.replace(MODEL, task="reverse", controller="gru"),
    "Reverse, LSTM": dataclasses.replace(MODEL, task="reverse", controller="lstm"),
    "Copy, move-write-read": dataclasses.replace(MODEL, order="move-write-read"),
    "Reverse, move-write-read": dataclasses.replace(MODEL, task="reverse", order="move-write-read"),
    "Copy, no curriculum": dataclasses.replace(MODEL, start_length=10),
    "Copy, length 10 only": dataclasses.replace(MODEL, start_length=10, min_length=10),
    "Reverse, no curriculum": dataclasses.replace(MODEL, task="reverse", start_length=10),
    "RepeatCopy": dataclasses.replace(MODEL, task="repeat-copy"),
    "Copy, 12 cells by number": dataclasses.replace(MODEL, addressing="absolute"),
    "Copy, 16 cells by number": dataclasses.replace(MODEL, addressing="absolute", max_length=14),
    "Copy, 64 cells by number": dataclasses.replace(MODEL, addressing="absolute", max_length=62),
    "agent: Copy, feed-forward": AGENT,
    "agent: Copy, GRU": dataclasses.replace(AGENT, policy="gru"),
    "agent: Copy, LSTM": dataclasses.replace(AGENT, policy="lstm"),
    "agent: Reverse, feed-forward": dataclasses.replace(AGENT, env="hardmem/Reverse-v0"),
    "agent: Reverse, GRU": dataclasses.replace(AGENT, env="hardmem/Reverse-v0", policy="gru"),
    "agent: Reverse, LSTM": dataclasses.replace(AGENT, env="hardmem/Reverse-v0", policy="lstm"),
    "agent: RepeatCopy": dataclasses.replace(AGENT, env="hardmem/RepeatCopy-v0"),
    "agent: RepeatCopy x2, self-paced": dataclasses.replace(AGENT, env=SELF_PACED, preset="easiest", max_length=5),
    "agent: Copy, 12 cells by number": dataclasses.replace(AGENT, env="hardmem/CopyRandomAccess-v0"),
    "agent: Copy, 16 cells by number": dataclasses.replace(AGENT, env="hardmem/CopyRandomAccess-v0", max_length=14),
    "agent: Copy, 64 cells by number": dataclasses.replace(AGENT, env="hardmem/CopyRandomAccess-v0", max_length=62),
    "agent: slots, 16 cells by number": dataclasses.replace(AGENT, env="hardmem/SlotRecallRandomAccess-v0"),
    "agent: facts, 16 cells by number": dataclasses.replace(AGENT, env="hardmem/FactRecallRandomAccess-v0"),
}
"""What is learned: sequence models on 8-bit symbols, and agents in environments."""

SOLVED_CASES = ["Copy, LSTM", "Reverse, LSTM", "Copy, move-write-read", "Copy, length 10 only"]
OPEN_CASES = ["RepeatCopy", "agent: Copy, 64 cells by number"]
"""Those drawn as curves: some that are learned every time, and what is not."""

CONSTANT: dict[str, Any] = {"entropy_coef": 0.01, "entropy_final": 0.01}
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "soft": {"access": "soft"},
    "no gates": {"gated": False},
    "no annealing": CONSTANT,
    "entropy alone": {"evenness_share": 0.0},
    "no soft attempts": {"soft_after": 0},
    "no spreading": {"spread_coef": 0.0},
    "no restarts": {"restart_after": 0, "max_updates": 800},
    "soft updates first": {**CONSTANT, "soft_after": 0, "soft_updates": 300},
    "none of these": {**CONSTANT, "spread_coef": 0.0, "gated": False, "restart_after": 0, "max_updates": 800},
}
"""What is changed. Agents have no soft attempts and no soft twin, and models whose heads move are not asked to spread:
an arm leaves out whom it cannot change. Where nothing is restarted no attempt is soft, either."""


def configured(case: str, arm: str, seed: int) -> TrainConfig | None:
    """The configuration of a run; None where the arm has nothing to change in the case."""
    config = CASES[case]
    changes = {name: value for name, value in ARMS[arm].items() if hasattr(config, name)}
    soft_arm = "soft" in arm  # part of what it changes is there in agents, too
    if (isinstance(config, AgentConfig) and soft_arm) or (ARMS[arm] and not changes):
        return None
    if isinstance(config, SequenceConfig) and arm == "no spreading" and beyond(config):
        return None
    return dataclasses.replace(config, **changes, seed=seed)


def run(case: str, arm: str, seed: int, minutes: float) -> dict[str, Any]:
    """Train within the budget, examine, and put both into plain data."""
    torch.set_num_threads(1)
    config = configured(case, arm, seed)
    assert config is not None
    training = Training(config)
    start, seconds, curve, answers = time.process_time(), 0.0, list[tuple[float, int, int, float]](), list[float]()
    while not training.done() and seconds < 60 * minutes:
        point = training.update()
        seconds = time.process_time() - start
        if point is not None:
            curve.append((round(seconds, 2), point.update, point.rollouts, point.exact))
            answers.append(point.metrics["accuracy"])
    spent = next((point for point in curve if point[3] >= SOLVED), curve[-1])
    test, length = Generators.seeded(seed, torch.device("cpu")).test, config.max_length
    scores = evaluate(training.learner, [length], PROBLEMS, test)
    if beyond(config):
        scores |= evaluate(training.learner, [10 * length], LONG_PROBLEMS, test)
    present = scores[str(length)]
    assert present is not None
    exact = [score["greedy"]["exact"] for score in scores.values() if score is not None]
    return {
        "case": case, "arm": arm, "seed": seed,
        "solved": training.solved is not None, "success": min(exact) >= SOLVED, "exact": exact,
        "sampled": present["sampled"]["exact"], "attempts": training.progress.attempt,
        "seconds": spent[0], "updates": spent[1], "rollouts": spent[2], "curve": curve, "answers": answers,
    }  # fmt: skip


def beyond(config: TrainConfig) -> bool:
    """Whether what is learned can be asked for ten times the length: cells known by number end with the last number."""
    if isinstance(config, SequenceConfig):
        return SCHEMES[config.addressing].any_size
    return isinstance(config, AgentConfig) and ENVIRONMENTS[config.env]["interface"] == "tape"


def cell(rows: list[dict[str, Any]]) -> str:
    """Successes of runs, and in brackets those solved at the training lengths where they are more."""
    solved, success = (sum(row[name] for row in rows) for name in ("solved", "success"))
    return f"{success}/{len(rows)}" + (f" ({solved})" if solved != success else "")


def effort(rows: list[dict[str, Any]], name: str) -> str:
    """Mean and worst of what the solved runs took."""
    values = [row[name] for row in rows if row["solved"]]
    digits = 1 if name == "seconds" else 0
    return f"{sum(values) / len(values):,.{digits}f} ({max(values):,.{digits}f})" if values else "-"


def sampled(rows: list[dict[str, Any]]) -> str:
    """Mean and worst sampled success of the solved runs at the training lengths, in percent."""
    values = [100 * row["sampled"] for row in rows if row["solved"]]
    return f"{sum(values) / len(values):.1f} ({min(values):.1f})" if values else "-"


def by_case(rows: list[dict[str, Any]], arm: str) -> dict[str, list[dict[str, Any]]]:
    """The runs of an arm, case by case, in the order of `CASES`."""
    found = {case: [row for row in rows if row["arm"] == arm and row["case"] == case] for case in CASES}
    return {case: mine for case, mine in found.items() if mine}


def against_soft(rows: list[dict[str, Any]]) -> str:
    """One line per case: the default beside its soft twin."""
    lines = [
        "| case | hard | CPU s | rollouts | sampled, % | soft | CPU s | rollouts |",
        "|---|---|--:|--:|--:|---|--:|--:|",
    ]
    soft = by_case(rows, "soft")
    for case, mine in by_case(rows, "default").items():
        twin = soft.get(case, [])
        other = [cell(twin), effort(twin, "seconds"), effort(twin, "rollouts")] if twin else ["", "", ""]
        texts = [case, cell(mine), effort(mine, "seconds"), effort(mine, "rollouts"), sampled(mine), *other]
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def ablation(rows: list[dict[str, Any]]) -> str:
    """One line per case, one column per arm."""
    found = {arm: by_case(rows, arm) for arm in ARMS if arm != "soft"}
    arms = [arm for arm, cases in found.items() if cases]
    if arms in ([], ["default"]):
        return "Not measured on fresh seeds yet; what was seen while the defaults were chosen stands below."
    lines = ["| case | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for case in CASES:
        if any(case in found[arm] for arm in arms if arm != "default"):
            texts = [cell(found[arm][case]) if case in found[arm] else "" for arm in arms]
            lines.append(f"| {case} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def figure(rows: list[dict[str, Any]], cases: list[str], what: str, path: Path) -> None:
    """Curves of some cases against CPU seconds, one line per seed: of "exact" sequences, or of right "answers"."""
    fig, grid = plt.subplots(1, len(cases), figsize=(3 * len(cases), 2.6), sharey=True)
    for axes, case in zip(grid, cases, strict=True):
        for number, arm in enumerate(["default", "soft"]):
            for index, row in enumerate(by_case(rows, arm).get(case, [])):
                seconds, _, _, exact = zip(*row["curve"], strict=True)
                shares = exact if what == "exact" else row["answers"]
                label = arm if index == 0 else None
                axes.plot(seconds, shares, color=f"C{number}", alpha=0.6, linewidth=1, label=label)
        axes.set(title=case.replace(", 64 cells by number", ", 64 numbers"), xlabel="CPU seconds", xscale="log")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("exact sequences" if what == "exact" else "right answers")
    grid[0].legend(fontsize=8)
    fig.tight_layout()
    path.parent.mkdir(exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main() -> None:
    """Run what is missing, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="one line of JSON per run; runs it holds are not redone"
    )
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="below 1000: to try things out")
    parser.add_argument("--minutes", type=float, default=5.0, help="CPU minutes of a run")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--report", action="store_true", help="run nothing, print the tables")
    parser.add_argument("--docs", type=Path, help="with --report: folder with training-hard-memory.md to rewrite")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    if options.report:
        tables = {"soft": against_soft(rows), "ablation": ablation(rows)}
        print("\n\n".join(tables.values()))
        if options.docs:
            for name, text in tables.items():
                write_section(options.docs / "training-hard-memory.md", f"robustness {name}", text)
            images = options.docs / "images"
            figure(rows, SOLVED_CASES, "exact", images / "robustness.png")
            figure(rows, OPEN_CASES, "answers", images / "robustness_open.png")
        return
    known = {(row["case"], row["arm"], row["seed"]) for row in rows}
    jobs = [
        (case, arm, seed)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for case in options.cases
        for arm in options.arms
        if (case, arm, seed) not in known and configured(case, arm, seed) is not None
    ]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool, options.out.open("a") as out:
        for future in as_completed([pool.submit(run, *job, options.minutes) for job in jobs]):
            row = future.result()
            print(json.dumps(row), file=out, flush=True)
            print(
                *(row[name] for name in ("case", "arm", "seed", "success", "solved", "seconds", "rollouts")), flush=True
            )


if __name__ == "__main__":
    main()
