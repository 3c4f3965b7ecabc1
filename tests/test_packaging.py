"""What is shipped: the wheel and the sdist, built from a copy, each installed alone, far from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD_INPUTS = ["pyproject.toml", "README.md", "LICENSE", "hardmem", "envs", "agents"]

PROBE = """
import json
import gymnasium as gym
import hardmem, hardmem.agents, hardmem.envs

env = gym.make("hardmem.envs:hardmem/Copy-v0")
observation, _ = env.reset(seed=0)
reward = env.step(env.action_space.sample())[1]
files = [module.__file__ for module in (hardmem, hardmem.agents, hardmem.envs)]
print(json.dumps({"files": files, "observed": observation in env.observation_space, "reward": float(reward)}))
"""


class Installation(NamedTuple):
    """A fresh virtual environment that holds hardmem, and the folder, outside the checkout, in which to run it."""

    python: Path
    console_script: Path
    site_packages: Path
    cwd: Path


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command prints, run without the caller's PYTHON* variables; if it fails, show all it said."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def files_of_the_package() -> set[str]:
    """Every file under hardmem/, through its links, by the path an import sees: hardmem/envs/__init__.py."""
    return {
        (Path(folder) / name).relative_to(ROOT).as_posix()
        for folder, _, names in os.walk(ROOT / "hardmem", followlinks=True)
        for name in names
        if not folder.endswith("__pycache__") and not name.startswith(".")
    }


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both from a copy, since setuptools leaves files beside its sources; the wheel too, not from the sdist."""
    work = tmp_path_factory.mktemp("build")
    source = work / "source"
    source.mkdir()
    for name in BUILD_INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "-o", work / "dist", source, cwd=work)
    (wheel,) = (work / "dist").glob("*.whl")
    (sdist,) = (work / "dist").glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installation(
    request: pytest.FixtureRequest, archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    """Install one archive into a fresh environment that borrows the dependencies, but no hardmem, from this one.

    A .pth file adds this environment's folder to the path behind the fresh one's own. The .pth files inside that
    folder are not read, so an editable hardmem there stays out of sight.
    """
    cwd = tmp_path_factory.mktemp(request.param)
    base = {"base": str(cwd / "fresh"), "platbase": str(cwd / "fresh")}
    venv.create(cwd / "fresh", symlinks=os.name != "nt")
    scripts = Path(sysconfig.get_path("scripts", "venv", base))
    site_packages = Path(sysconfig.get_path("purelib", "venv", base))
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")

    python = scripts / "python"
    install = [python, "-m", "pip", "install", "--no-input", "--no-index", "--no-deps", "--no-build-isolation"]
    run(*install, "--ignore-installed", "--no-compile", archives[request.param], cwd=cwd)
    return Installation(python, scripts / "hardmem", site_packages, cwd)


def test_wheel_holds_the_package_and_nothing_else(archives: dict[str, Path]) -> None:
    """A folder without __init__.py, a data file left out, or a top-level `envs` would each show as a difference."""
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        names = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert names == files_of_the_package()


def test_sdist_holds_the_package_as_plain_files(archives: dict[str, Path]) -> None:
    """The links hardmem/envs and hardmem/agents have become folders: unpacking needs no support for links."""
    with tarfile.open(archives["sdist"]) as sdist:
        members = sdist.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    names = {member.name.split("/", 1)[1] for member in members if member.isfile()}
    assert {name for name in names if name.split("/")[0] in {"hardmem", "envs", "agents"}} == files_of_the_package()


def test_installed_package_steps_an_environment(installation: Installation) -> None:
    """All three floors are imported from the fresh environment, and the string that makes Copy works there."""
    result = json.loads(run(installation.python, "-c", PROBE, cwd=installation.cwd))
    assert [file for file in result["files"] if not Path(file).is_relative_to(installation.site_packages)] == []
    assert result["observed"]
    assert abs(result["reward"]) < float("inf")


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_short_names_are_not_importable(installation: Installation, name: str) -> None:
    """Nothing that was installed answers to `envs` or `agents`, names that other published packages own."""
    path = [str(installation.site_packages)]
    assert PathFinder.find_spec("hardmem", path) is not None  # the search itself works
    assert PathFinder.find_spec(name, path) is None


def test_py_typed_is_installed(installation: Installation) -> None:
    """Without this marker a type checker ignores every annotation of an installed package."""
    assert (installation.site_packages / "hardmem" / "py.typed").is_file()


def test_console_script_shows_its_help(installation: Installation) -> None:
    """The `hardmem` command was installed, starts, and names itself."""
    assert "hardmem" in run(installation.console_script, "--help", cwd=installation.cwd)
