"""The command line. Every command is a thin layer over a function; `hardmem --help` is the manual."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import tyro

from hardmem.agents.commands_list import doctor_command, envs_command, estimators_command, models_command
from hardmem.agents.commands_look import eval_command, watch_command
from hardmem.agents.commands_many import compare_command, sweep_with
from hardmem.agents.commands_train import resume_command, train_with
from hardmem.agents.config_flags import flags_for
from hardmem.agents.distributed import main_process
from hardmem.agents.signals import Interrupted
from hardmem.agents.training import NonFiniteError

MANUAL = """Hard and soft attention over an external memory: train, watch, compare.

Begin
  hardmem compare copy         five methods side by side: a table, two pictures
  hardmem train agent          REINFORCE in hardmem/Copy-v0
  hardmem train sequence       a hard Neural Turing Machine on the task copy;
                               --access soft makes it a soft one
  hardmem eval runs/train-1 --lengths 10 100 1000
  hardmem watch runs/train-1   inputs, heads, cells and answers, step by step;
                               --gif FILE or --mp4 FILE writes an animation
  tensorboard --logdir runs    curves, pictures, hyper-parameters

Choose
  hardmem envs, estimators, models    what there is, a line each
  hardmem train agent --env hardmem/Stack-v0 --policy gru --baseline value
  hardmem train sequence --task reverse --controller lstm
                        every environment and task has a preset: its size, and
                        what memory it asks for; flags win over it
  hardmem train --config mine.toml    the same from a file:
                        kind = "agent", learning_rate = 3e-3, ...

Many
  hardmem compare copy reverse --methods hard-ntm hard-ntm,access=reinmax
                        any methods on any tasks, five seeds each
  hardmem sweep --vary learning_rate=1e-3,1e-2 agent --max-updates 300
                        every combination of values, or --random draws

Runs
  A training has a folder of its own, runs/train-1, runs/train-2, ...:
  config.json, TensorBoard events, the last two checkpoints, and at its end
  results.json. Nothing that exists is written over. Ctrl-C or SIGTERM finishes
  the update and writes a checkpoint; `hardmem resume RUN` goes on, after a kill
  too, and ends as if nothing had happened.

Scale
  torchrun --nproc-per-node 2 -m hardmem train agent --num-envs 8192 shares one
  training's batch among processes; docs/scaling.md says when that pays.

Python
  hardmem.agents.train(config, folder) is `hardmem train`; resume, load and
  preset_of are there as well, and hardmem.agents.compare.compare.

Exit codes
  0 done, 1 a failed self-test, 2 bad input or a training that had to stop,
  130 and 143 stopped by Ctrl-C and SIGTERM.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. A bad input is one sentence on the standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    warnings.formatwarning = _one_sentence
    try:
        flags = flags_for(arguments)
        commands: dict[str, Any] = {
            "train": train_with(flags),
            "resume": resume_command,
            "eval": eval_command,
            "watch": watch_command,
            "compare": compare_command,
            "sweep": sweep_with(flags),
            "envs": envs_command,
            "estimators": estimators_command,
            "models": models_command,
            "doctor": doctor_command,
        }
        # What a file decides is no longer a choice between subcommands.
        markers = (
            tyro.conf.CascadeSubcommandArgs,
            *(() if flags.default is tyro.MISSING else (tyro.conf.AvoidSubcommands,)),
        )
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="hardmem", description=MANUAL, args=arguments, config=markers
        )
    except (ValueError, NonFiniteError) as error:
        print(f"hardmem: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that went away: wherever no better sentence was found
        print(f"hardmem: {error.strerror or error}: {error.filename or 'no file'}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as interrupted:
        if main_process():
            print(f"hardmem: {interrupted}", file=sys.stderr)
        sys.exit(interrupted.exit_code)
    except KeyboardInterrupt:
        print("hardmem: stopped", file=sys.stderr)
        sys.exit(130)


def _one_sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as a user wants to read it, without the line of code that gave it."""
    return f"hardmem: {message}\n"
