"""Watching a run: a terminal view and an animation of agents, models and models without cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from hardmem.agents import AgentConfig, SequenceConfig, train
from hardmem.agents.cli import main
from hardmem.agents.watch import play_one, view, watch

SMALL = {"max_length": 3, "start_length": 3, "num_symbols": 4, "max_updates": 2, "eval_problems": 5}
CONFIGS = {
    "agent": AgentConfig(num_envs=16, **SMALL),
    "hard": SequenceConfig(heads=("read", "write"), **SMALL),
    "lstm": SequenceConfig(model="lstm", **SMALL),
}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "run"
    train(CONFIGS[request.param], folder, problems=5)
    return folder


def shown(renderable):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_step_in_the_terminal(run):
    """Step, symbol shown, the answers so far, every cell with its head and contents."""
    record = play_one(run, None, seed=0)
    steps = int(record.running[:, 0].sum())
    text = shown(view(record, steps - 1, "title"))
    assert f"step {steps} of {steps}" in text
    answers = next(line for line in text.splitlines() if line.startswith("answers")).split()[1:]
    assert answers == [str(int(answer)) for answer in record.answer[:, 0][record.mask[:, 0]]]
    if record.heads:
        cells = [line.split()[0] for line in text.splitlines() if line.strip() and line.split()[0].isdigit()]
        assert cells == [str(cell) for cell in range(record.weights.shape[-1])]
    console = Console(width=100)
    with console.capture() as capture:
        watch(run, console, problems=2)
    assert capture.get().count("update 2, ") == 2


def test_an_animation_has_a_frame_for_every_step(run, tmp_path, capsys):
    """Written by the command; frames differ, and longer problems than trained on can be asked for."""
    main(["watch", str(run), "--gif", str(tmp_path / "new" / "one.gif"), "--length", "4"])
    assert "one.gif" in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "one.gif") as image:
        assert image.n_frames == int(play_one(run, 4, seed=0).running[:, 0].sum())
        first = image.convert("RGB").tobytes()
        image.seek(image.n_frames - 1)
        assert image.convert("RGB").tobytes() != first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is not a run"),
        (["RUN", "--gif", "one.mp4"], "expected a file name that ends in .gif, got 'one.mp4'"),
        (["RUN", "--length", "0"], "length must be at least 1, got 0"),
        (["RUN", "--rate", "0"], "rate must be positive and problems at least 1"),
        (["ABSOLUTE", "--length", "9"], "cannot be run at length 9: it knows no cell beyond"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    """And exit code 2."""
    monkeypatch.chdir(tmp_path)
    train(CONFIGS["lstm"], "RUN", problems=5)
    if arguments[0] == "ABSOLUTE":
        train(SequenceConfig(addressing="absolute", **SMALL), "ABSOLUTE", problems=5)
    with pytest.raises(SystemExit) as stopped:
        main(["watch", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("one.mp4").exists()
