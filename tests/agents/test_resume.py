"""Runs survive: killed, damaged, interrupted, out of space, gone astray, or wanted twice."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hardmem.agents import (
    AgentConfig,
    Interrupted,
    NonFiniteError,
    RunError,
    SequenceConfig,
    load,
    resume,
    train,
)
from hardmem.agents.checkpoints import CHECKPOINT, DAMAGED, PREVIOUS, DamageWarning, load_checkpoint, save_checkpoint
from hardmem.agents.cli import main
from hardmem.agents.runs import CONFIG, LOCK, RESULTS, locked, write_json

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"max_length": 3, "start_length": 1, "eval_problems": 10, "checkpoint_every": 10, "max_updates": 30}
TINY = {
    "agent": AgentConfig(num_symbols=3, num_envs=32, **SMALL),
    "moving average": AgentConfig(num_symbols=3, num_envs=32, baseline="moving-average", policy="gru", **SMALL),
    "critic": AgentConfig(
        num_symbols=3,
        num_envs=32,
        baseline="value",
        group_size=1,
        learning_rate_updates=20,
        entropy_updates=20,
        **SMALL,
    ),
    "sequence": SequenceConfig(num_symbols=4, **SMALL),
    # Three attempts, of which the first, given up after 10 updates, is the best.
    "restarted": SequenceConfig(seed=4, num_symbols=4, learning_rate=1e-9, restart_after=5, **SMALL),
}
AGENT = TINY["agent"]


def outcome(folder):
    """All a run came to, but the seconds."""

    def timeless(node):
        if isinstance(node, dict):
            return {name: timeless(value) for name, value in node.items() if name != "seconds"}
        if isinstance(node, torch.Tensor):
            return node.tolist()
        return [timeless(value) for value in node] if isinstance(node, list | tuple) else node

    return timeless(load_checkpoint(folder)), timeless(json.loads((folder / RESULTS).read_text()))


def stop_at(update):
    """Called with progress: asks the process to stop."""

    def listener(progress):
        if progress.update == update:
            os.kill(os.getpid(), signal.SIGTERM)

    return listener


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_stopped_run_ends_as_the_undisturbed_one(name, tmp_path):
    """Weights, optimiser, baseline, curriculum, random state, counts, curve and results: every bit."""
    train(TINY[name], tmp_path / "whole")
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM after update 15, .* `hardmem resume ") as stopped:
        train(TINY[name], tmp_path / "run", stop_at(15))
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert load_checkpoint(tmp_path / "run")["progress"]["update"] == 15
    points = []
    _, result = resume(tmp_path / "run", lambda progress: points.append(progress.update))
    assert points == [20, 25, 30]
    assert [point.update for point in result.curve] == [5, 10, 15, 20, 25, 30]
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the benchmark forks")
def test_kills_at_random_moments_change_nothing():
    """SIGKILL; benchmarks/kills.py does the same with any number of them."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "3", "--longest", "0.5"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for entry in json.loads(done.stdout).values():
        assert entry["kills"] == 3
        assert entry["equal"] >= 1
        assert entry["different"] == 0


@pytest.mark.parametrize("name", ["agent", "restarted"])
def test_a_finished_run_stays_and_can_be_given_more(name, tmp_path, capsys):
    """Resuming it trains nothing; a larger budget goes on, to the same end as if it had been given at once.

    With the attempt under way, too, where the run had ended with a better one.
    """
    train(TINY[name], tmp_path / "run")
    before = outcome(tmp_path / "run")
    assert (before[0]["under_way"] is not None) == (name == "restarted")
    resume(tmp_path / "run", lambda progress: pytest.fail("trained on"))
    main(["resume", str(tmp_path / "run")])
    assert ("updates: the best of 3 attempts is kept" in capsys.readouterr().out) == (name == "restarted")
    assert outcome(tmp_path / "run") == before
    longer = dataclasses.replace(TINY[name], max_updates=40)
    resume(tmp_path / "run", max_updates=40)
    train(longer, tmp_path / "longer")
    assert load(tmp_path / "run")[1] == longer
    assert outcome(tmp_path / "run") == outcome(tmp_path / "longer")


def test_a_checkpoint_from_before_attempts_were_kept_is_gone_on_from(tmp_path):
    """It knows of no attempt but the one under way."""
    with pytest.raises(Interrupted):
        train(TINY["restarted"], tmp_path / "run", stop_at(15))
    state = load_checkpoint(tmp_path / "run")
    del state["given_up"], state["under_way"]
    save_checkpoint(tmp_path / "run", state)
    assert resume(tmp_path / "run")[1].curve[-1].update == 30


def test_a_run_without_checkpoint_starts_again(tmp_path):
    """Killed before the first one, it loses what it had, and ends the same."""
    train(AGENT, tmp_path / "run")
    expected = outcome(tmp_path / "run")
    for name in (CHECKPOINT, PREVIOUS, RESULTS):
        (tmp_path / "run" / name).unlink()
    resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == expected


class _Malicious:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def damage(kind, path, marker):
    """Spoil a checkpoint in one of the ways in which files are spoilt."""
    good = path.read_bytes()
    if kind == "cut short":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "flipped":
        middle = len(good) // 2
        path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    elif kind == "foreign":
        path.write_bytes(b"PNG, in fact" * 20)
    elif kind == "older":
        path.write_bytes(re.sub(rb"hardmem checkpoint \d{6}", b"hardmem checkpoint 000000", good))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(_Malicious(str(marker))))
    elif kind == "sealed pickle":  # by somebody who knows the format
        save_checkpoint(path.parent, {"learner": _Malicious(str(marker))})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut short", "it was cut short, or it is not one of ours"),
        ("empty", "it was cut short, or it is not one of ours"),
        ("flipped", "its checksum does not match: it is damaged"),
        ("foreign", "it was cut short, or it is not one of ours"),
        ("older", "it is of format 0, and this version of hardmem reads format 1"),
        ("pickle", "it was cut short, or it is not one of ours"),
        ("sealed pickle", "it holds more than tensors and plain data: refused"),
    ],
)
def test_a_bad_checkpoint_is_named_and_the_one_before_it_used(kind, message, tmp_path):
    """And the run still ends as the undisturbed one; with both generations spoilt it is an error. No code is run."""
    run, marker = tmp_path / "run", tmp_path / "executed"
    train(AGENT, run)
    expected = outcome(run)
    damage(kind, run / CHECKPOINT, marker)
    with pytest.warns(DamageWarning, match=rf"checkpoint\.pt': {message}; going on from {PREVIOUS} instead"):
        load(run)
    with pytest.warns(DamageWarning, match=message):
        resume(run)
    assert outcome(run) == expected
    assert (run / DAMAGED).exists()

    for name in (CHECKPOINT, PREVIOUS):
        if kind == "sealed pickle":
            save_checkpoint(run, {"learner": _Malicious(str(marker))})
        else:
            damage(kind, run / name, marker)
    with pytest.raises(RunError, match=message):
        resume(run)
    assert not marker.exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    """Its configuration says so; the run's own one before it is used, and where that is another's too, none."""
    train(AGENT, tmp_path / "run")
    expected = outcome(tmp_path / "run")
    train(dataclasses.replace(AGENT, seed=1, learning_rate=0.1), tmp_path / "other")
    foreign = (tmp_path / "other" / CHECKPOINT).read_bytes()
    message = r"another run: its configuration differs in \['learning_rate', 'seed'\]"
    (tmp_path / "run" / CHECKPOINT).write_bytes(foreign)
    with pytest.warns(DamageWarning, match=message):
        resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == expected
    for name in (CHECKPOINT, PREVIOUS):
        (tmp_path / "run" / name).write_bytes(foreign)
    with pytest.raises(RunError, match=message):
        resume(tmp_path / "run")


def test_one_process_at_a_time(tmp_path):
    """The second is refused while the first lives; the lock of a killed one is taken over."""
    train(dataclasses.replace(AGENT, max_updates=5), tmp_path / "run")
    with locked(tmp_path / "run"), pytest.raises(RunError, match=rf"is in use by process {os.getpid()}: one at a time"):
        resume(tmp_path / "run")
    hold = (
        "import sys, time; from pathlib import Path; from hardmem.agents.runs import locked\n"
        f"with locked(Path({str(tmp_path / 'run')!r})): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"is in use by process {other.pid}: one at a time"):
            resume(tmp_path / "run")
        other.kill()
    assert (tmp_path / "run" / LOCK).read_text() == str(other.pid)
    resume(tmp_path / "run")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_finishes_its_update_and_says_how_to_go_on(number, code, tmp_path, heard, monkeypatch, capsys):
    """One sentence, the exit code a shell expects, a checkpoint; `hardmem resume` then reaches the end."""
    monkeypatch.chdir(tmp_path)
    sender = threading.Thread(target=_send_when, args=(tmp_path / "runs/mine", number))
    sender.start()
    arguments = ["--num-envs", "32", "--max-length", "2", "--start-length", "1", "--eval-problems", "10"]
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--name", "mine", "agent", *arguments, "--max-updates", "100000", "--promote-at", "2"])
    sender.join()
    assert stopped.value.code == code
    error = capsys.readouterr().err
    assert re.fullmatch(
        rf"hardmem: stopped by {number.name} after update \d+, with a checkpoint; go on by "
        r"`hardmem resume runs/mine`\n",
        error,
    )
    update = load_checkpoint(tmp_path / "runs/mine")["progress"]["update"]
    main(["resume", "runs/mine", "--max-updates", str(update + 3)])
    assert load_checkpoint(tmp_path / "runs/mine")["progress"]["update"] == update + 3


def _send_when(folder, number):
    """Send a signal to this process once the run is under way."""
    while not list(folder.glob("events*")):
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "reward",
            r"update 12: return is nan, expected .*; the last good checkpoint, of update 10, is kept in",
        ),
        ("loss", r"update 12: loss is nan"),
        ("gradient", r"update 12: the gradient of policy\.body\.layer\.weight, .*policy\.head\.bias is not finite"),
    ],
)
def test_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(where, message, tmp_path, monkeypatch):
    """Put into the reward, the loss or one gradient at update 12, it is named at update 12."""
    from hardmem.agents import estimates, reinforce

    collect, surrogate, calls = reinforce.collect, estimates.surrogate, []

    def bad_collect(*arguments, **keywords):
        rollout = collect(*arguments, **keywords)
        if rollout.record.log_prob.requires_grad:  # training, not validation
            calls.append(None)
        if where == "reward" and len(calls) == 12:
            rollout = rollout._replace(reward=rollout.reward * torch.nan)
        return rollout

    def bad_surrogate(log_prob, cost, **keywords):
        loss = surrogate(log_prob, cost, **keywords)
        if len(calls) != 12 or where == "reward":
            return loss
        return loss * torch.nan if where == "loss" else _SpoilGradient.apply(loss)

    monkeypatch.setattr(reinforce, "collect", bad_collect)
    monkeypatch.setattr(estimates, "surrogate", bad_surrogate)
    with pytest.raises(NonFiniteError, match=message):
        train(AGENT, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run")["progress"]["update"] == 10
    monkeypatch.undo()
    resume(tmp_path / "run")


class _SpoilGradient(torch.autograd.Function):
    """The value as it is, and a gradient that is not a number."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.nan


@pytest.mark.parametrize("name", ["checkpoint.pt.tmp", "results.json.tmp", "events"])
def test_a_full_disk_is_one_sentence(name, tmp_path, monkeypatch, capsys):
    """Whatever was to be written when it became full; the last good checkpoint stays."""
    train(dataclasses.replace(AGENT, max_updates=5), tmp_path / "run")
    good = (tmp_path / "run" / CHECKPOINT).read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if name == "events":
        from tensorboard.summary.writer.record_writer import RecordWriter

        def write(self, data):
            raise full

        monkeypatch.setattr(RecordWriter, "write", write)
    else:
        whole = Path.open

        def open_(self, mode="r", **keywords):
            if self.name == name and mode == "wb":
                raise full
            return whole(self, mode, **keywords)

        monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(RunError, match="No space left on device; the last good"):
        resume(tmp_path / "run", max_updates=10)
    monkeypatch.undo()
    assert good in (
        (tmp_path / "run" / kept).read_bytes() for kept in (CHECKPOINT, PREVIOUS) if (tmp_path / "run" / kept).exists()
    )
    assert "Traceback" not in capsys.readouterr().err


def test_a_read_only_folder_is_one_sentence(tmp_path, monkeypatch):
    """Before anything is trained."""
    train(dataclasses.replace(AGENT, max_updates=5), tmp_path / "run")
    whole = Path.open

    def open_(self, mode="r", **keywords):
        if mode != "r":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return whole(self, mode, **keywords)

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(RunError, match=r"cannot write into the run folder '.*/run': Read-only file system"):
        resume(tmp_path / "run", max_updates=10)


def test_tensorboard_shows_a_resumed_run_as_one_curve(tmp_path):
    """Points that were drawn after the last checkpoint, and again after the resume, are there once."""
    config = dataclasses.replace(AGENT, checkpoint_every=20)
    with pytest.raises(ZeroDivisionError):
        train(config, tmp_path / "run", lambda progress: progress.update // (30 - progress.update))
    assert load_checkpoint(tmp_path / "run")["progress"]["update"] == 20
    _, result = resume(tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    points = events.Scalars("1_learning/exact")
    assert [point.step for point in points] == [point.steps for point in result.curve]
    assert [point.value for point in points] == pytest.approx([point.exact for point in result.curve])


def test_a_foreign_configuration_is_refused(tmp_path):
    """An edited config.json no longer fits the checkpoint."""
    train(AGENT, tmp_path / "run")
    config = json.loads((tmp_path / "run" / CONFIG).read_text())
    write_json(tmp_path / "run" / CONFIG, {**config, "hidden_size": 32})
    with pytest.raises(RunError, match=r"configuration differs in \['hidden_size'\]"):
        resume(tmp_path / "run")
