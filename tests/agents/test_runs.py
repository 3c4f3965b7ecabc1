"""Runs on disk: what is written, what is given back, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hardmem.agents import AgentConfig, SequenceConfig, load, train
from hardmem.agents.learner import Generators
from hardmem.agents.recorder import lag_group
from hardmem.agents.runs import CHECKPOINT, CONFIG, RunError, create_folder, write_json

TINY = [
    AgentConfig(max_length=2, start_length=1, num_symbols=3, num_envs=32, max_updates=10, eval_problems=10),
    SequenceConfig(max_length=2, start_length=1, num_symbols=4, max_updates=10, eval_problems=10),
]


@pytest.mark.parametrize("config", TINY, ids=["agent", "sequence"])
def test_load_gives_back_what_was_trained(config, tmp_path):
    """Configuration, every weight, and the same answers."""
    learner, _ = train(config, tmp_path / "run")
    loaded, read = load(tmp_path / "run")
    assert read == config
    for (name, old), new in zip(learner.state_dict().items(), loaded.state_dict().values(), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=0, msg=name)
    scores = [
        one.score(50, Generators.seeded(0, torch.device("cpu")).test, max_length=2, greedy=False)
        for one in (learner, loaded)
    ]
    assert scores[0] == scores[1]


def test_tensorboard_shows_the_curve(tmp_path):
    """One point per validation over the steps played, and the configuration as text."""
    _, outcome = train(TINY[0], tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert "config/text_summary" in events.Tags()["tensors"]
    points = events.Scalars("1_learning/exact")
    assert [point.step for point in points] == [point.steps for point in outcome.curve]
    assert [point.value for point in points] == pytest.approx([point.exact for point in outcome.curve])
    assert set(events.Tags()["scalars"]) == {
        "1_learning/exact", "1_learning/accuracy", "1_learning/return", "1_learning/loss", "1_learning/length",
        "2_recall/lag_0002", "2_recall/lag_0003_to_0004",
        "3_memory/cells_touched", "3_memory/evenness",
        "4_choices/entropy", "4_choices/entropy_of_address_0", "4_choices/entropy_of_write_0",
        "4_choices/entropy_of_answer",
        "5_gradient/norm", "5_gradient/variance", "5_gradient/signal_to_noise",
        "6_baseline/loss", "6_baseline/explained_variance",
        "7_speed/steps_per_second", "7_speed/attempt",
        "8_final/solved", "8_final/exact", "8_final/exact_at_the_longest",
    }  # fmt: skip
    assert events.Tags()["images"] == ["one_problem/head_0", "one_problem/cells"]
    assert {"custom_scalars__config__", "_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(
        events.summary_metadata
    ) | set(events.Tags()["tensors"])
    assert [path for path in (tmp_path / "run").iterdir() if path.is_dir()] == []  # no run inside the run


@pytest.mark.parametrize(
    ("lag", "name"),
    [(0, "0001"), (1, "0001"), (2, "0002"), (3, "0003_to_0004"), (4, "0003_to_0004"), (5, "0005_to_0008"),
     (9, "0009_to_0016"), (1024, "0513_to_1024"), (1025, "1025_to_2048")],
)  # fmt: skip
def test_a_lag_has_one_curve_in_every_run(lag, name):
    """Groups twice as wide each, whatever the lengths of a run."""
    assert lag_group(lag) == f"2_recall/lag_{name}"


def test_an_existing_folder_is_left_alone(tmp_path):
    """Nothing is written over, not even into an empty folder."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("data")
    with pytest.raises(RunError, match="exists already"):
        train(TINY[0], tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A file where a folder should be: works for every user, root included."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot create the run folder .*file/run"):
        create_folder(tmp_path / "file" / "run")


def test_what_is_no_run_or_does_not_fit_is_refused(tmp_path):
    """No run, no checkpoint, a configuration that is none, or of another model: a sentence each."""
    with pytest.raises(RunError, match=r"is not a run: it has no config\.json"):
        load(tmp_path)
    run = tmp_path / "run"
    train(TINY[0], run)
    config = json.loads((run / CONFIG).read_text())
    write_json(run / CONFIG, {**config, "hidden_size": 32})
    with pytest.raises(RunError, match=r"does not fit its config\.json"):
        load(run)
    (run / CHECKPOINT).unlink()
    with pytest.raises(RunError, match=r"has no checkpoint\.pt"):
        load(run)
    (run / CONFIG).write_text("{}")
    with pytest.raises(RunError, match=r"cannot read .*kind"):
        load(run)


def test_a_crash_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    """The new content is complete on disk before it takes the old one's name."""
    path = tmp_path / "results.json"
    write_json(path, {"old": 1})

    def crash(source, target):
        assert json.loads(Path(source).read_text()) == {"new": 2}
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}


def test_configurations_of_different_kinds_do_not_mix(tmp_path):
    """An agent's run loads as an agent."""
    train(TINY[0], tmp_path / "run")
    learner, config = load(tmp_path / "run")
    assert dataclasses.is_dataclass(config)
    assert type(config) is AgentConfig
    assert hasattr(learner, "policy")
