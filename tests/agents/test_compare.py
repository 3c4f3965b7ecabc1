"""The comparison, small: files, table, pictures, equal results for equal seeds; and the command line around it."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from hardmem.access import ACCESS
from hardmem.agents import SequenceConfig, load, train
from hardmem.agents import compare as module
from hardmem.agents.cli import main
from hardmem.agents.commands_train import in_short, progress_bar
from hardmem.agents.compare import METHODS, compare
from hardmem.agents.plans import summary, table
from hardmem.agents.progress import Progress
from hardmem.agents.report import LiveComparison, comparison_table
from hardmem.agents.sequence import MODELS
from hardmem.estimators import ESTIMATORS
from hardmem.models import CONTROLLERS
from hardmem.schemes import SCHEMES

PNG = b"\x89PNG"


@pytest.fixture
def tiny(monkeypatch):
    """The five methods with a budget of ten updates."""
    for config in METHODS["copy"].values():
        assert config.max_length == module.LENGTHS[0]
    small = {
        method: dataclasses.replace(config, max_updates=10, eval_problems=10, max_length=2, start_length=1)
        for method, config in METHODS["copy"].items()
    }
    monkeypatch.setitem(METHODS, "copy", small)
    return small


def without_seconds(node):
    """Results without what two equal runs differ in."""
    if isinstance(node, dict):
        return {name: without_seconds(value) for name, value in node.items() if name != "seconds"}
    return [without_seconds(value) for value in node] if isinstance(node, list) else node


def test_equal_comparisons_have_equal_results(tiny, tmp_path):
    """results.json twice, timings aside: identical, all five methods and both seeds in it."""
    for name in ("a", "b"):
        compare("copy", tmp_path / name, seeds=2, problems=10, lengths=(2, 4))
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert without_seconds(first) == without_seconds(second)
    assert list(first["methods"]) == list(tiny)
    assert [row["seed"] for row in first["methods"]["LSTM"]["seeds"]] == [0, 1]
    assert first["methods"]["LSTM"]["seeds"][0]["curve"] != first["methods"]["LSTM"]["seeds"][1]["curve"]


def test_the_table_says_what_was_measured():
    """Two seeds by hand: means, worst seeds, a method that cannot be run at a length, one that was never solved."""

    def row(exact, seconds, longer):
        score = {kind: {"exact": share, "accuracy": 1.0} for kind, share in (("greedy", exact), ("sampled", exact / 2))}
        solved = None if seconds is None else {"update": 7, "problems": 10, "rollouts": 80, "seconds": seconds}
        return {
            "seed": 0,
            "parameters": 1234,
            "solved": solved,
            "evaluation": {"10": score, "20": score if longer else None},
        }

    methods = {
        "one": {"config": {"max_length": 10}, "seeds": [row(1.0, 2.0, True), row(0.9, 4.0, True)]},
        "two": {"config": {"max_length": 10}, "seeds": [row(0.5, None, False), row(0.5, None, False)]},
    }
    for entry in methods.values():
        entry["summary"] = summary(entry["seeds"])
    results = {"task": "copy", "hardware": "a machine", "lengths": [10, 20], "methods": methods}
    console = Console(width=120)
    with console.capture() as capture:
        console.print(comparison_table(results, console))
    lines = [" ".join(line.split()) for line in capture.get().splitlines()]
    assert "solved 2/2 [34, 100] 0/2 [0, 66]" in lines
    assert "seconds 3.0 (4.0) -" in lines
    assert "greedy, 1-10 95.0 [90, 100] 50.0 [50, 50]" in lines
    assert "sampled, 20 47.5 [45, 50] -" in lines
    narrow = Console(width=40)
    with narrow.capture() as capture:
        narrow.print(comparison_table(results, narrow))
    lines = [" ".join(line.split()) for line in capture.get().splitlines()]
    at = lines.index("greedy, 1-10 95.0 50.0")
    assert lines[at + 1] == "[90, 100] [50, 50]"
    rows = table(results).splitlines()
    assert rows[0].startswith("task,method,seed,parameters,solved_update,solved_problems")
    assert rows[1] == "copy,one,0,1234,7,10,80,2.0,10,greedy,1.0,1.0"
    assert rows[-1] == "copy,two,0,1234,,,,,10,sampled,0.25,1.0"
    assert len(rows) == 1 + 2 * 4 + 2 * 2


def test_the_command_leaves_everything_in_one_folder(tiny, tmp_path, monkeypatch, capsys):
    """Table, two pictures, a run folder per training that `eval` reads; a second call takes the next free name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hardmem.agents.commands_look.LENGTHS", (2, 4))
    main(["compare", "copy", "--seeds", "1", "--problems", "5"])
    folder = Path("runs/copy-1")
    out = capsys.readouterr().out
    assert "[5/5]" in out
    assert "tensorboard --logdir runs/copy-1" in out
    for picture in ("learning_curves.png", "addresses.png"):
        assert (folder / picture).read_bytes().startswith(PNG)
    for method in tiny:
        run = folder / f"{method.lower().replace(' ', '-')}-seed0"
        assert {"config.json", "checkpoint.pt", "results.json"} <= {path.name for path in run.iterdir()}
        assert list(run.glob("events.out.tfevents.*"))
    main(["eval", str(folder / "hard-ntm-seed0"), "--lengths", "2", "6", "--problems", "5"])
    assert " ".join(capsys.readouterr().out.split()).count(" 5 ") == 2  # a row per length, five problems each


def test_any_methods_on_any_tasks(tmp_path, monkeypatch, capsys):
    """Known ones with changes, a kind, a file, on a task and an environment: a table each, and one over all of them."""
    monkeypatch.chdir(tmp_path)
    small = "max_updates=5,eval_problems=5,max_length=2,start_length=1"
    Path("mine.toml").write_text('kind = "agent"\nbaseline = "value"\nnum_envs = 16\n')
    methods = [f"hard-ntm,access=reinmax,{small}", f"agent,num_envs=16,{small}", f"mine.toml,{small}"]
    few = ["--seeds", "2", "--problems", "5", "--workers", "1", "--name", "both"]
    main(["compare", "reverse", "hardmem/CopyRandomAccess-v0", "--methods", *methods, *few])
    out = capsys.readouterr().out
    assert "[12/12]" in out
    assert "over all tasks: reverse, hardmem/CopyRandomAccess-v0" in out
    folder = Path("runs/both")
    results = json.loads((folder / "results.json").read_text())
    assert list(results["tasks"]) == ["reverse", "hardmem/CopyRandomAccess-v0"]
    assert results["lengths"] == [2, 4]
    configs = [[entry["config"] for entry in results["tasks"][task]["methods"].values()] for task in results["tasks"]]
    assert [(config.get("task"), config.get("env")) for config in configs[0]] == [
        ("reverse", None), (None, "hardmem/Reverse-v0"), (None, "hardmem/Reverse-v0")
    ]  # fmt: skip
    assert configs[1][0]["task"] == "copy"
    assert configs[0][0]["access"] == "reinmax"
    assert configs[1][2]["baseline"] == "value"
    exact = [
        seed["evaluation"]["2"]["greedy"]["exact"]
        for part in results["tasks"].values()
        for seed in part["methods"][f"agent, num_envs=16, {small.replace(',', ', ')}"]["seeds"]
    ]
    overall = results["overall"][f"agent, num_envs=16, {small.replace(',', ', ')}"]
    assert overall["exact"]["2"]["greedy"][0] == pytest.approx(sum(sorted(exact)[1:3]) / 2)  # the middle half of four
    rows = (folder / "results.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {"reverse", "hardmem/CopyRandomAccess-v0"}
    for task in ("reverse", "hardmem-copyrandomaccess-v0"):
        assert (folder / f"learning_curves-{task}.png").read_bytes().startswith(PNG)
    main(["resume", str(folder), "--quiet"])
    assert json.loads((folder / "results.json").read_text()) == results


def test_train_eval_and_envs_as_commands(tmp_path, monkeypatch, capsys):
    """Each works from an empty folder."""
    monkeypatch.chdir(tmp_path)
    small = ["--max-length", "2", "--start-length", "1", "--max-updates", "10", "--eval-problems", "10"]
    main(["train", "agent", "--name", "mine", "--num-envs", "32", *small])  # a flag may stand anywhere
    assert "not solved within 10 updates" in capsys.readouterr().out
    assert (tmp_path / "runs/mine/results.json").exists()
    main(["train", "sequence", "--access", "soft", *small])
    assert "runs/train-1" in capsys.readouterr().out
    main(["eval", "runs/mine", "--lengths", "2", "--problems", "5"])
    main(["envs"])
    assert "hardmem/Copy-v0" in capsys.readouterr().out


def test_the_lists_and_the_doctor(tmp_path, monkeypatch, capsys):
    """Every name is listed on a line of its own; the doctor finds nothing wrong, and exits with 1 where it does."""
    monkeypatch.chdir(tmp_path)
    main(["estimators"])
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert set(ESTIMATORS) <= set(lines)
    main(["models"])
    text = capsys.readouterr().out
    for name in (*MODELS, *ACCESS, *SCHEMES, *CONTROLLERS):
        assert len(re.findall(rf"--\w+ +{name} ", text)) >= 1
    main(["doctor", "--device", "cpu"])
    text = capsys.readouterr().out
    assert f"torch        {torch.__version__}" in text
    assert len(re.findall(r"^  ok     ", text, flags=re.M)) == 5
    monkeypatch.setattr("hardmem.agents.doctor.surrogate", lambda log_prob, cost: (log_prob.sum(dim=-1) * cost).sum())
    monkeypatch.setattr("hardmem.agents.doctor._learns", lambda config: "not tried")
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--device", "cpu"])
    assert stopped.value.code == 1
    assert "FAILED an estimator against the exact gradient: RuntimeError" in capsys.readouterr().out


def test_a_training_from_a_file(tmp_path, monkeypatch, capsys):
    """The file's fields, flags over them, defaults for the rest; and what the function does, the command does."""
    monkeypatch.chdir(tmp_path)
    small = ["max_length = 2", "start_length = 1", "max_updates = 10", "eval_problems = 10"]
    Path("mine.toml").write_text("\n".join(['kind = "sequence"', "num_symbols = 4", *small]))
    main(["train", "--config", "mine.toml", "--seed", "3", "--name", "a", "--quiet"])
    assert capsys.readouterr() == ("", "")
    config = SequenceConfig(seed=3, num_symbols=4, max_length=2, start_length=1, max_updates=10, eval_problems=10)
    assert load("runs/a")[1] == config
    learner, _ = train(config, "b")
    for name, value in load("runs/a")[0].state_dict().items():
        assert torch.equal(learner.state_dict()[name], value)
    results = [without_seconds(json.loads(Path(folder, "results.json").read_text())) for folder in ("runs/a", "b")]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'sequence'\nmax_updates = 'many'", "'bad.toml': max_updates must be of type int, got 'many'"),
        ("kind = 'sequence'\nheads = 'read'", "heads must be of type tuple, got 'read'"),
        ("kind = 'sequence'\nhead = 3", "unknown fields of a sequence configuration: ['head']; did you mean 'heads'?"),
        ("kind = 'robot'", "of a kind among ['agent', 'sequence'], got 'robot'"),
        ("kind = sequence", "cannot read 'bad.toml'"),
        (None, "there is no file 'bad.toml'"),
    ],
)
def test_a_bad_file_is_one_sentence(text, message, tmp_path, monkeypatch, capsys):
    """With its name and what is wrong in it."""
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("bad.toml").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", "bad.toml"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "agent", "--env", "Nope-v0"], "unknown environment 'Nope-v0'; `hardmem envs` lists ours"),
        (["train", "agent", "--env", "hardmem/Coppy-v0"], "did you mean 'hardmem/Copy-v0'?"),
        (["train", "agent", "--baseline", "magic"], "unknown baseline 'magic'"),
        (["train", "agent", "--device", "tpuu"], "no device 'tpuu' here"),
        (["train", "agent", "--num-envs", "-8"], "num_envs must be at least 1, got -8"),
        (["train", "agent", "--max-length", "-1"], "max_length must be at least 1, got -1"),
        (["train", "sequence", "--task", "nope"], "unknown task 'nope'"),
        (["train", "sequence", "--num-problems", "0"], "num_problems must be at least 1, got 0"),
        (["train", "--name", "taken", "agent"], "exists already"),
        (["train", "--runs", "file", "agent"], "cannot create the run folder 'file/train-1'"),
        (["compare", "chess"], "unknown environment 'chess'"),
        (["compare", "chess", "--methods", "lstm"], "unknown task 'chess'"),
        (["compare", "copy", "copy"], "expected every task once"),
        (["compare", "--methods", "magic"], "unknown method 'magic'; choose one of ['agent', 'hard-ntm'"),
        (["compare", "--methods", "agent,pollicy=gru"], "unknown field 'pollicy'"),
        (["compare", "--methods", "agent,hidden_size=8..16"], "expected one value for hidden_size"),
        (["compare", "--methods", "lstm", "lstm"], "expected every method once"),
        (["compare", "--methods", "nowhere.toml"], "there is no file 'nowhere.toml'"),
        (["compare", "CartPole-v1", "--methods", "lstm"], "unknown task 'CartPole-v1'"),
        (["compare", "spelling", "--methods", "agent"], "unknown environment 'spelling'"),
        (["compare", "copy", "--seeds", "0"], "seeds must be at least 1, got 0"),
        (["compare", "copy", "--name", "taken"], "exists already"),
        (["eval", "nowhere"], "is not a run"),
        (["eval", "runs/taken", "--problems", "0"], "must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(arguments, message, tmp_path, monkeypatch, capsys):
    """On the standard error, and nothing on disk is changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())  # flags are refused in a box
    assert message in error
    assert "Traceback" not in error
    assert sorted(tmp_path.rglob("*")) == before


def test_the_live_view_follows_its_jobs(tiny, tmp_path):
    """Waiting, running with rate and remaining time, done."""
    jobs = module.plan_of("copy", tmp_path, seeds=1).jobs
    view = LiveComparison(jobs)
    metrics = {"accuracy": 0.5, "loss": 0.25, "return": 0.75}
    view.update(jobs[0], Progress(update=5, rollouts=100, seconds=2.0, length=2, exact=0.5, metrics=metrics))
    console = Console(width=140)

    def shown():
        with console.capture() as capture:
            console.print(view)
        return capture.get()

    assert "50/s" in shown()
    assert "<2 s" in shown()
    assert shown().count("waiting") == 4
    view.update(jobs[0], None)
    assert "1 of 5 trainings done" in shown()
    console = Console(width=80)
    for job in jobs:
        view.update(job, dataclasses.replace(view.latest[jobs[0].folder], update=9, rollouts=100_000, seconds=20_000.0))
    view.done.clear()
    row = next(line for line in shown().splitlines() if line.strip().startswith("paper NTM"))
    assert row.split() == ["paper", "NTM", "0", "9/10", "2", "50%", "50.0%", "0.750", "0.250", "5/s", "<37", "min"]


def test_the_bar_fits_a_terminal():
    """The three numbers, the speed, what is done of how much, and both times, in 80 columns; nothing cut off."""
    metrics = {"return": 0.9994, "loss": -0.5}
    progress = Progress(update=1234, steps=1_203_450, seconds=10.0, length=10, exact=1.0, metrics=metrics)
    console = Console(width=80, force_terminal=True, color_system=None)
    bar = progress_bar(console)
    bar.update(bar.add_task(in_short(progress), total=2000), completed=1234)
    with console.capture() as capture:
        console.print(bar.get_renderable())
    (line,) = capture.get().splitlines()
    assert line.startswith("length 10, exact 100%, return 0.999, 120k/s ")
    assert re.search(r" 1234/2000 \d:\d\d:\d\d -:--:--$", line.rstrip())


def test_python_dash_m(tmp_path):
    """`python -m hardmem` is the same command."""
    out = subprocess.run(
        [sys.executable, "-m", "hardmem", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    for command in ("train", "resume", "eval", "compare", "envs", "estimators", "models", "doctor"):
        assert command in out
