"""The page on training: its code runs, its commands, files and groups exist, its links lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from hardmem.agents import checkpoints, runs
from hardmem.agents.cli import main
from hardmem.agents.config_files import read_toml
from hardmem.agents.recorder import LAYOUT, TAGS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "training.md", DOCS / "scaling.md"]
TRAINING = PAGES[0].read_text()


def blocks(language):
    """The fenced blocks of a language on the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", TRAINING, flags=re.S | re.M)


def test_its_python_runs(tmp_path, monkeypatch):
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        exec(compile(block, "training.md", "exec"), {})
    assert (tmp_path / "runs/mine/results.json").exists()


def test_its_file_is_a_configuration(tmp_path):
    """Every line of it is understood."""
    (block,) = blocks("toml")
    (tmp_path / "mine.toml").write_text(block)
    config = read_toml(tmp_path / "mine.toml")
    for name, value in tomllib.loads(block).items():
        if name != "kind":
            assert getattr(config, name) == (tuple(value) if isinstance(value, list) else value)


def test_its_commands_exist(capsys):
    """Every command in code, and its flags, are in the help."""
    mentioned = re.findall(r"hardmem ([a-z]+)", " ".join(re.findall(r"`([^`]*)`", TRAINING)))
    assert len(set(mentioned)) >= 7
    for command in sorted(set(mentioned)):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert f"usage: hardmem {command}" in capsys.readouterr().out


def test_its_names_are_those_of_the_code():
    """Files of a run folder and groups of curves."""
    files = (runs.CONFIG, runs.RESULTS, runs.LOCK, checkpoints.CHECKPOINT, checkpoints.PREVIOUS, checkpoints.DAMAGED)
    for file in files:
        assert f"`{file}`" in TRAINING
    charts = str([charts for section in LAYOUT.values() for charts in section.values()])
    for group in {tag.split("/")[0] for tag in TAGS.values()} | set(re.findall(r"\d_[a-z]+", charts)):
        assert f"`{group}`" in TRAINING


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page):
    """Files in this repository."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (DOCS / target).exists(), target
    for script in re.findall(r"python (benchmarks/\w+\.py)", page.read_text()):
        assert (DOCS.parent / script).exists()
