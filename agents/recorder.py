"""Recorder: what a training leaves in its run folder while it goes on, and at its end."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from hardmem.agents.checkpoints import save_checkpoint
from hardmem.agents.config import TrainConfig, to_json
from hardmem.agents.figures import pixels, trace_figures
from hardmem.agents.progress import Progress
from hardmem.agents.runs import RESULTS, RunError, write_json
from hardmem.agents.trace import Trace, diagnose

TAGS = {
    "exact": "1_learning/exact",
    "accuracy": "1_learning/accuracy",
    "return": "1_learning/return",
    "loss": "1_learning/loss",
    "length": "1_learning/length",
    "spread": "3_memory/spread",
    "entropy": "4_choices/entropy",
    "grad_norm": "5_gradient/norm",
    "gradient_variance": "5_gradient/variance",
    "gradient_signal_to_noise": "5_gradient/signal_to_noise",
    "baseline_loss": "6_baseline/loss",
    "explained_variance": "6_baseline/explained_variance",
    "steps_per_second": "7_speed/steps_per_second",
    "attempt": "7_speed/attempt",
}
"""Where the page shows a metric; any other is shown under 9_more. Numbers keep the groups in order of interest, and the
columns of the page "HParams", which shows the first five."""

LAYOUT = {
    "Is it learning?": {
        "exact sequences": ["Multiline", ["1_learning/exact"]],
        "single answers": ["Multiline", ["1_learning/accuracy"]],
        "return of an episode": ["Multiline", ["1_learning/return"]],
        "problem length (level of the curriculum)": ["Multiline", ["1_learning/length"]],
        "steps per second": ["Multiline", ["7_speed/steps_per_second"]],
    },
    "What does it remember?": {
        "right answers by lag": ["Multiline", ["2_recall/.*"]],
        "share of the cells touched": ["Multiline", ["3_memory/.*cells_touched"]],
        "evenness of their use": ["Multiline", ["3_memory/.*evenness"]],
        "entropy, nats per choice": ["Multiline", ["4_choices/.*"]],
    },
    "How good are its gradients?": {
        "norm": ["Multiline", ["5_gradient/norm"]],
        "variance, estimated": ["Multiline", ["5_gradient/variance"]],
        "explained variance of the baseline": ["Multiline", ["6_baseline/explained_variance"]],
    },
}
"""The page "Custom scalars": titles, charts, and the curves in each."""


class Recorder:
    """Writes TensorBoard events, checkpoints and results of one training into its folder.

    Args:
        folder: of the run; the caller owns its lock.
        config: what is trained.
        since: where a resumed training stands; its curves go on from there, what was drawn beyond is forgotten.
    """

    def __init__(self, folder: Path, config: TrainConfig, since: Progress) -> None:
        self.folder, self.config = folder, config
        resumed = since.update > 0
        self.writer = SummaryWriter(str(folder), purge_step=since.steps + 1 if resumed else None)
        if not resumed:
            self.writer.add_text("config", f"```json\n{to_json(config)}\n```")
            self.writer.add_custom_scalars(LAYOUT)

    def log(self, progress: Progress) -> None:
        """Add one point to every curve, over transitions (an environment's steps, or a sequence's)."""
        scalars = {"exact": progress.exact, "length": progress.length, "attempt": progress.attempt, **progress.metrics}
        scalars["steps_per_second"] = progress.steps / progress.seconds
        self._scalars({TAGS.get(name, f"9_more/{name}"): value for name, value in scalars.items()}, progress.steps)

    def inspect(self, record: Trace, steps: int) -> None:
        """Add what a trace says: recall by lag, entropy by factor, use of the cells."""
        diagnosis = diagnose(record)
        groups: dict[str, list[float]] = {}
        for lag, share in diagnosis.recall.items():
            groups.setdefault(lag_group(lag), []).append(share)
        scalars = {tag: sum(shares) / len(shares) for tag, shares in groups.items()}
        scalars |= {
            f"4_choices/entropy_of_{name.replace(':', '').replace(' ', '_')}": nats
            for name, nats in diagnosis.entropy.items()
        }
        scalars |= {f"3_memory/{name}": share for name, share in diagnosis.use.items()}
        self._scalars(scalars, steps)

    def picture(self, record: Trace, steps: int) -> None:
        """Add the pictures of a trace: where each head was, what the cells held."""
        for name, figure in trace_figures(record).items():
            self.writer.add_image(f"one_problem/{name}", pixels(figure), steps, dataformats="HWC")

    def _scalars(self, scalars: dict[str, float], steps: int) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, steps)

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the events of everything before it are on the disk first, so that no curve has a gap."""
        self.writer.flush()
        save_checkpoint(self.folder, state)

    def finish(self, results: dict[str, Any], steps: int) -> None:
        """Write the results of a finished training, and its line in the table of hyper-parameters."""
        final = {"8_final/solved": float(results["solved"] is not None)}
        examined = [(int(length), found) for length, found in results["evaluation"].items() if found is not None]
        for name, (_, found) in zip(("exact", "exact_at_the_longest"), (examined[0], examined[-1]), strict=True):
            final[f"8_final/{name}"] = found["greedy"]["exact"]
        self._scalars(final, steps)
        fields = {name: _plain(value) for name, value in dataclasses.asdict(self.config).items()}
        for name in [name for name in fields if name.endswith("_every") or name in ("device", "eval_problems")]:
            del fields[name]  # nothing that is learned depends on them
        # Not add_hparams: it makes a run of its own inside this one. And without its first summary, which declares the
        # columns: those of all runs are found by themselves then, the ones in which runs differ before the others.
        for summary in hparams(fields, final)[1:]:
            self.writer._get_file_writer().add_summary(summary)
        write_json(self.folder / RESULTS, results)


def lag_group(lag: int) -> str:
    """The curve of a lag: 1, 2, 3 to 4, 5 to 8, 9 to 16, ...; the same in every run, so that runs can be compared."""
    high = 1 << max(lag - 1, 0).bit_length()
    low = high // 2 + 1
    return f"2_recall/lag_{high:04d}" if low >= high else f"2_recall/lag_{low:04d}_to_{high:04d}"


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else ", ".join(map(str, value))  # heads


@contextmanager
def recording(folder: Path, config: TrainConfig, since: Progress) -> Iterator[Recorder]:
    """A recorder, closed at the end, whatever that is.

    Raises:
        RunError: if the folder cannot be written to, at the beginning or later (a full disk).
    """
    before, threading.excepthook = threading.excepthook, _leave_to_writer
    try:
        recorder = Recorder(folder, config, since)
        try:
            yield recorder
        finally:
            recorder.writer.close()
    except OSError as error:
        raise RunError(
            f"cannot write into the run folder {str(folder)!r}: {error.strerror}; the last good checkpoint is kept"
        ) from error
    finally:
        threading.excepthook = before


def _leave_to_writer(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread, and raises what failed there again at its next call: one message is enough."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
