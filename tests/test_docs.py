"""The pages: links lead somewhere, and what they tell a reader to run does run, in an empty folder."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import gymnasium as gym
import pytest

from hardmem import BASELINES, SCHEMES, TASKS
from hardmem.agents.cli import main
from hardmem.envs import ENVIRONMENTS, FLAT_ENVIRONMENTS, Dynamics, TaskEnv, TaskVectorEnv, make_dynamics

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXTEND = (ROOT / "docs/extend.md").read_text()
ENVIRONMENTS_PAGE = (ROOT / "docs/environments.md").read_text()
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()


def blocks(text):
    """Fenced blocks as (language, content); a block without a language is for reading."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.S | re.M)


def anchors(page):
    """The anchors of a page's headings, as code hosts make them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", prose, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """To a file of this repository, to a heading in it, or elsewhere by https."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_python(page):
    """Every block that says so can be compiled."""
    for language, content in blocks(page.read_text()):
        if language == "python":
            compile(content, page.name, "exec")


@pytest.fixture
def registries():
    """What is registered during a test is forgotten after it."""
    known = (TASKS, BASELINES, SCHEMES, ENVIRONMENTS, FLAT_ENVIRONMENTS, gym.registry)
    before = [set(registry) for registry in known]
    yield
    for registry, names in zip(known, before, strict=True):
        for name in set(registry) - names:
            del registry[name]


def run(number):
    """A file of the page, which is complete: nothing but its own lines. Returns its names."""
    python = [content for language, content in blocks(EXTEND) if language == "python"]
    assert len(python) == 4
    names = {"__name__": "mine"}
    exec(compile(python[number], "extend.md", "exec"), names)
    return names


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("number", [0, 2, 3], ids=["task", "baseline", "addressing"])
def test_a_file_of_ones_own(number, tmp_path, monkeypatch, capsys):
    """What it trains learns its task."""
    monkeypatch.chdir(tmp_path)
    run(number)
    exact = int(re.search(r"(\d+)% exact after", capsys.readouterr().out).group(1))
    assert exact >= 90


@pytest.mark.usefixtures("registries")
def test_an_environment_of_ones_own(capsys):
    """It is registered, played and keeps the contract; without its `place` the contract says so, and what to do."""
    names = run(1)
    assert capsys.readouterr().out == "1.0\n"
    assert {"mine/Last-v0", "mine/LastFlat-v0"} <= set(gym.registry)
    assert gym.spec("mine/Last-v0").max_episode_steps == 11
    del names["Last"].place
    told = r"at step \d, after equal observations, of .*, it chose \{'address 0': .*`Task.place` put what replaces"
    with pytest.raises(AssertionError, match=told):
        names["TestLast"]().test_the_oracle_foresees_nothing()


def test_the_page_of_environments_runs(capsys):
    """Each of its blocks by itself, without a warning; the rules on a device earn what it says."""
    python = [content for language, content in blocks(ENVIRONMENTS_PAGE) if language == "python"]
    for content in python:
        exec(compile(content, "environments.md", "exec"), {})
    assert len(python) == 3
    assert capsys.readouterr().out == "1.0\n"


def test_the_page_of_environments_has_every_option():
    """Those of the rules in one table, those of the adapters in the other, with the defaults they have."""
    section = ENVIRONMENTS_PAGE.partition("## Options\n")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", section, flags=re.M))
    known = {}
    for function in (make_dynamics, Dynamics, TaskEnv, TaskVectorEnv):
        known |= inspect.signature(function).parameters
    assert set(told) == set(known) - {"task", "arguments", "kwargs"}
    for name in ("preset", "order", "write", "emit", "observation", "action", "endless", "observable", "num_envs"):
        default = known[name].default
        assert told[name].startswith(("the first", f'`"{default}"`', f"`{default}`", f"{default}")), name


def test_the_tutorial(tmp_path, monkeypatch, capsys):
    """From top to bottom: the agent solves its task, and the picture is there."""
    monkeypatch.chdir(tmp_path)
    commands = 0
    for language, content in blocks(TUTORIAL):
        if language == "python":
            exec(compile(content, "tutorial.md", "exec"), {})
        if language == "bash":
            for line in content.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "hardmem"
                main(arguments)
                commands += 1
    out = capsys.readouterr().out
    assert commands == 5
    assert "return 1.0" in out
    assert "solved after" in out
    assert (tmp_path / "first.gif").read_bytes().startswith(b"GIF")
