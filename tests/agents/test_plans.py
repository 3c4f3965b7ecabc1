"""Many trainings as one: sweeps by grid and at random, stopped and gone on with, refused where they make no sense."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardmem.agents import AgentConfig, Interrupted, SequenceConfig
from hardmem.agents.checkpoints import CHECKPOINT
from hardmem.agents.cli import main
from hardmem.agents.plans import PLAN, Plan, begin, carry_out, read_plan
from hardmem.agents.runs import RESULTS, RunError, locked
from hardmem.agents.sweep import settings, sweep_plan

TINY = AgentConfig(
    num_envs=16, max_length=2, start_length=1, num_symbols=3, max_updates=10, eval_problems=5, picture_every=1000
)


def timeless(node):
    """Results without what two equal plans differ in."""
    if isinstance(node, dict):
        return {name: timeless(value) for name, value in node.items() if name != "seconds"}
    return [timeless(value) for value in node] if isinstance(node, list) else node


def test_a_grid_is_every_combination(tmp_path):
    """In order, with the seeds of each, in folders that say what they hold."""
    plan = sweep_plan(TINY, ["learning_rate=1e-3,0.01", "baseline=none,leave-one-out"], tmp_path / "s", seeds=2)
    assert [(job.method, job.config.seed) for job in plan.jobs][:3] == [
        ("learning_rate=0.001, baseline=none", 0),
        ("learning_rate=0.001, baseline=none", 1),
        ("learning_rate=0.001, baseline=leave-one-out", 0),
    ]
    assert len(plan.jobs) == 8
    assert plan.jobs[2].config.baseline == "leave-one-out"
    assert plan.jobs[2].config.learning_rate == 0.001
    assert plan.jobs[2].folder == tmp_path / "s" / "learning_rate=0.001,baseline=leave-one-out-seed0"


def test_random_settings_lie_in_their_ranges(tmp_path):
    """Uniform in the logarithm for positive reals, whole numbers for whole numbers; equal seeds, equal draws."""
    vary = ["learning_rate=1e-4..1e-1", "hidden_size=8..9", "policy=gru,lstm"]
    plan = sweep_plan(TINY, vary, tmp_path, seeds=1, random=200)
    assert plan == sweep_plan(TINY, vary, tmp_path, seeds=1, random=200)
    rates = [job.config.learning_rate for job in plan.jobs]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-1
    assert 0.4 < sum(rate < 10**-2.5 for rate in rates) / len(rates) < 0.6
    assert {job.config.hidden_size for job in plan.jobs} == {8, 9}
    assert {job.config.policy for job in plan.jobs} == {"gru", "lstm"}
    assert len(settings([], 5, 0)) == 1  # nothing varies: one setting


@pytest.mark.parametrize(
    ("vary", "options", "message"),
    [
        (["learning_rat=1"], {}, "unknown field 'learning_rat'; choose one of"),
        (["seed=1,2"], {}, "unknown field 'seed'"),
        (["learning_rate"], {}, "expected field=value,value or field=low..high, got 'learning_rate'"),
        (["max_updates=many"], {}, "max_updates must be of type int, got 'many'"),
        (["learning_rate=1e-3..1e-1"], {}, r"learning_rate=0.001..0.1 is a range: say how many to draw, --random N"),
        (["learning_rate=2..1"], {"random": 3}, "expected two numbers, the smaller first"),
        (["policy=gru", "policy=lstm"], {}, "expected every field once"),
        (["max_updates=0"], {}, "max_updates must be at least 1, got 0"),
        ([], {"seeds": 0}, "seeds and random must be at least 1, got 0"),
        ([], {"problems": 0}, "problems and lengths must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(vary, options, message, tmp_path):
    """Before anything is made."""
    with pytest.raises(ValueError, match=message):
        sweep_plan(TINY, vary, tmp_path / "s", **options)
    with pytest.raises(ValueError, match="heads cannot be varied: it is a tuple"):
        sweep_plan(SequenceConfig(), ["heads=read"], tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_plan_is_carried_out_once_and_goes_on_where_it_was_stopped(tmp_path):
    """Stopped by SIGTERM at the first report, then resumed: the results of an undisturbed one. Done work is kept."""
    plan = sweep_plan(TINY, ["hidden_size=8,16"], tmp_path / "a", seeds=1, problems=5)
    begin(tmp_path / "a", plan)
    assert read_plan(tmp_path / "a") == plan
    whole = carry_out(tmp_path / "a", workers=1)
    assert list(whole["methods"]) == ["hidden_size=8", "hidden_size=16"]

    begin(tmp_path / "b", sweep_plan(TINY, ["hidden_size=8,16"], tmp_path / "b", seeds=1, problems=5))
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM with \d of 2 trainings done; go on by `hardmem resume"):
        carry_out(tmp_path / "b", workers=1, on_report=lambda job, progress: os.kill(os.getpid(), signal.SIGTERM))
    assert not (tmp_path / "b" / RESULTS).exists()
    main(["resume", str(tmp_path / "b"), "--quiet"])
    resumed = json.loads((tmp_path / "b" / RESULTS).read_text())
    assert timeless(resumed) == timeless(json.loads(json.dumps(whole)))

    told = []
    carry_out(tmp_path / "b", workers=1, on_report=lambda job, progress: told.append(progress))
    assert told == [None, None]  # nothing was trained again
    with locked(tmp_path / "b"), pytest.raises(RunError, match="is in use by process"):
        carry_out(tmp_path / "b")


def test_ctrl_c_reaches_every_training(tmp_path, heard):
    """As from a terminal, SIGINT to the whole group: checkpoints are there, the exit code is 130, one sentence."""
    command = [sys.executable, "-m", "hardmem", "sweep", "--vary", "hidden_size=8,16", "--seeds", "1", "--name", "s"]
    command += ["--workers", "2", "agent", "--num-envs", "32", "--max-updates", "100000", "--promote-at", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        runs = tmp_path / "runs" / "s"
        while len(list(runs.glob("*/events*"))) < 2:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    assert error == "hardmem: stopped by SIGINT with 0 of 2 trainings done; go on by `hardmem resume runs/s`\n"
    assert len(list(runs.glob(f"*/{CHECKPOINT}"))) == 2


def test_what_is_no_plan_is_refused(tmp_path):
    """None there, a damaged one, and one without trainings."""
    with pytest.raises(RunError, match="cannot read the plan"):
        carry_out(tmp_path)
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(RunError, match="cannot read the plan"):
        carry_out(tmp_path)
    with pytest.raises(ValueError, match="expected at least one training, got none"):
        Plan("none", (), (2,), 5)


def test_a_disk_that_fills_up_under_a_plan_is_one_sentence(tmp_path, monkeypatch, capsys):
    """Whatever file it was that could not be written; exit code 2."""
    begin(tmp_path / "a", sweep_plan(TINY, [], tmp_path / "a", seeds=1, problems=5))

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results.json")

    monkeypatch.setattr("hardmem.agents.commands_many.carry_out", full)
    with pytest.raises(SystemExit) as stopped:
        main(["resume", str(tmp_path / "a")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "hardmem: No space left on device: results.json\n"


def test_the_command_and_its_table(tmp_path, monkeypatch, capsys):
    """More settings than a table has columns: a row each, the best first; curves and CSV beside it."""
    monkeypatch.chdir(tmp_path)
    Path("base.toml").write_text('kind = "agent"\nnum_envs = 16\nmax_length = 2\nstart_length = 1\nmax_updates = 5\n')
    few = ["--seeds", "1", "--problems", "5", "--workers", "1"]
    main(["sweep", "--config", "base.toml", "--vary", "hidden_size=2,3,4,5,6,7,8", *few])
    out = capsys.readouterr().out
    assert out.count("hidden_size=") >= 14  # one line when it is done, one row of the table
    for name in (RESULTS, "results.csv", "learning_curves.png"):
        assert (tmp_path / "runs/sweep-1" / name).exists()
    with pytest.raises(SystemExit):
        main(["sweep", "--backend", "slurm", "--config", "base.toml"])
    assert "unknown backend 'slurm'; choose one of ['pool', 'ray']" in capsys.readouterr().err
