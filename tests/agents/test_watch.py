"""Watching a run: a terminal view and an animation of agents, models and models without cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from hardmem.agents import AgentConfig, SequenceConfig, load, train
from hardmem.agents.cli import main
from hardmem.agents.evaluation import over_seeds
from hardmem.agents.report import evaluation_table
from hardmem.agents.watch import play_one, view, watch

SMALL = {"max_length": 3, "start_length": 3, "num_symbols": 4, "max_updates": 2, "eval_problems": 5}
CONFIGS = {
    "agent with cells of its own": AgentConfig(num_envs=16, policy="ntm", num_cells=5, cell_width=5, **SMALL),
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
    cells = [line.split()[0] for line in text.splitlines() if line.strip() and line.split()[0].isdigit()]
    assert cells == [str(cell) for memory in record.memories().values() for cell in range(memory.weights.shape[-1])]
    assert len(record.memories()) == {"ntm": 2, None: bool(record.heads)}[getattr(load(run)[1], "policy", None)]
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


def test_a_film(run, tmp_path):
    """An .mp4 with the extra `video`: as many frames, and no sound."""
    reader = pytest.importorskip("moviepy.video.io.ffmpeg_reader")
    main(["watch", str(run), "--mp4", str(tmp_path / "one.mp4"), "--rate", "5"])
    assert (tmp_path / "one.mp4").read_bytes()[4:8] == b"ftyp"
    info = reader.ffmpeg_parse_infos(str(tmp_path / "one.mp4"))
    assert not info["audio_found"]
    steps = int(play_one(run, None, seed=0).running[:, 0].sum())
    assert info["duration"] == pytest.approx(steps / 5, abs=0.02)


def test_an_evaluation_over_several_seeds_with_films(run, monkeypatch, capsys):
    """Means of single examinations, and lowest and highest; a film of each length that is not too long for one."""
    monkeypatch.setattr("hardmem.agents.commands_look.can_film", lambda: False)
    monkeypatch.setattr("hardmem.agents.commands_look.FILMED", 2)
    main(["eval", str(run), "--lengths", "2", "4", "--problems", "20", "--seeds", "2", "--videos"])
    out = capsys.readouterr().out
    assert out.count("video: ") == 1
    assert [line.split()[:2] for line in out.splitlines() if " 40 " in line] == [["2", "40"], ["4", "40"]]
    with Image.open(run / "videos" / "length-2-seed-0.gif") as image:
        assert image.n_frames > 2


def test_several_examinations_are_averaged():
    """By hand; what cannot be run at a length stays so."""

    def one(exact):
        score = {"exact": exact, "accuracy": exact / 2}
        return {"3": {"problems": 10, "greedy": score, "sampled": score}, "4": None}

    merged = over_seeds([one(0.5), one(1.0)])
    assert merged["4"] is None
    assert merged["3"]["problems"] == 20
    assert merged["3"]["greedy"] == {"exact": 0.75, "accuracy": 0.375, "spread": (0.5, 1.0)}


def test_an_evaluation_is_no_wider_than_a_terminal():
    """A row is one line of at most 80 columns, however large its numbers and wide its spreads."""
    score = {"exact": 0.9995, "accuracy": 1.0, "spread": (0.998, 1.0)}
    console = Console(width=80)
    with console.capture() as capture:
        console.print(evaluation_table({"10000": {"problems": 5000, "greedy": score, "sampled": score}, "20000": None}))
    lines = [line.split() for line in capture.get().splitlines() if line.split()[:1] in (["10,000"], ["20,000"])]
    spread = ["100.0", "[99.8,", "100.0]", "100.0"]
    assert lines == [["10,000", "5,000", *spread, *spread], ["20,000", *"-----"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is not a run"),
        (["RUN", "--mp4", "one.gif"], "expected a file name that ends in .mp4, got 'one.gif'"),
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
