"""`transformers.Trainer` with what it leaves open: the loss over a whole optimiser step, the order of the rows, what
makes a checkpoint complete, and when to stop."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from tripost_core.buffers import sha256_of_file, write_file
from tripost_core.errors import ModelError
from tripost_core.lm.batches import EpochLoader, MicroBatches, Rows
from tripost_core.lm.loss import count_trained_tokens
from tripost_core.lm.packing import Batch
from tripost_core.lm.replicas import ShareRunner

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, where it is installed, says on stdout that it looked

MARKER = "complete.json"


class WeightedTrainer(Trainer):
    """`transformers.Trainer` with the weighted loss, normalised over the whole optimiser step of all ranks.

    `order` gives this rank's micro-batches; the model computes the sum itself (`loss.attach_weighted_loss`).
    """

    loss_is_scaled_for_ga = True  # by the step's trained tokens, so the Trainer shall not divide again

    def __init__(
        self,
        *args: Any,
        order: MicroBatches,
        rows: Rows,
        replicas: Sequence[torch.nn.Module] = (),
        **kwargs: Any,
    ) -> None:
        """`replicas`: the model and its copies, for micro-batches in as many shares."""
        super().__init__(*args, train_dataset=rows, **kwargs)  # type: ignore[arg-type]
        self.order = order
        self.rows = rows
        self.runner = ShareRunner(replicas) if len(replicas) > 1 else None
        self.num_trained_tokens, self.last_log = 0, time.monotonic()
        """Tokens trained since, and moment of, the last log."""
        assert self.accelerator.num_processes == order.num_ranks, (self.accelerator.num_processes, order.num_ranks)

    def get_train_dataloader(self) -> DataLoader:  # type: ignore[type-arg]
        """Not prepared by accelerate: the batches are this rank's already."""
        pin = self.args.dataloader_pin_memory
        return EpochLoader(self.rows, batch_sampler=self.order, collate_fn=self.rows.collate, pin_memory=pin)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], int]:
        """This rank's micro-batches of one optimiser step, and how many tokens the step trains on all ranks."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        shares = [share for batch in batches for share in batch.get("shares", [batch])]
        count = sum(count_trained_tokens(share["weights"]) for share in shares)
        if self.order.num_ranks > 1:
            count = int(self.accelerator.reduce(torch.tensor(count, device=device), "sum"))
        self.num_trained_tokens += count
        return batches, count

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Forward and backward of one micro-batch; in several threads where it comes in shares."""
        if self.runner is None:
            return super().training_step(model, inputs, num_items_in_batch)
        assert num_items_in_batch is not None
        divisor = max(int(num_items_in_batch), 1)
        for replica in self.runner.models:
            replica.train()
        shares = [[share] for share in inputs["shares"]]
        return torch.tensor(self.runner.backward(lambda replica, share: replica(**share).loss / divisor, shares))

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> Any:
        """This micro-batch's share of the step's loss; `num_items_in_batch`: trained tokens of the whole step.

        Gradients are averaged over ranks, where a sum is wanted, hence the factor.
        """
        assert num_items_in_batch is not None
        outputs = model(**inputs)
        loss = outputs.loss * (self.order.num_ranks / max(num_items_in_batch, 1))
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With the tokens and seconds since the beginning of the training, interruptions taken together."""
        if "loss" in logs:
            earlier: list[dict[str, float]] = self.state.log_history
            before = next((entry for entry in reversed(earlier) if "loss" in entry), {})
            now = time.monotonic()
            logs["num_trained_tokens"] = before.get("num_trained_tokens", 0) + self.num_trained_tokens
            logs["seconds"] = round(before.get("seconds", 0.0) + now - self.last_log, 3)
            self.num_trained_tokens, self.last_log = 0, now
        super().log(logs, start_time)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """What is missing in a checkpoint that we have found whole is tied to what is there, or it is an error."""
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        missing = [key for key in load_result.missing_keys if key not in tied]
        assert not missing and not load_result.unexpected_keys, (missing, load_result.unexpected_keys)
        if load_result.missing_keys:
            self.model.tie_weights()  # type: ignore[union-attr, operator]

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not wanted, and counting every parameter in every micro-batch takes time."""
        return 0

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights and config; without the pickled arguments that the Trainer would put beside them."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir)  # type: ignore[union-attr, operator]


@dataclass(frozen=True)
class SavedState:
    """A complete checkpoint in the work directory; `seconds`: time that training had taken when it was written."""

    directory: Path
    step: int
    seconds: float


def latest_checkpoint(checkpoints: Path, identity: str, remove: bool = True) -> SavedState | None:
    """The last complete checkpoint of the training with this identity; everything else there is removed
    by the rank that may."""
    found = []
    for directory in sorted(checkpoints.glob("checkpoint-*")) if checkpoints.is_dir() else []:
        marker = directory / MARKER
        content = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {}
        if content.get("identity") == identity and _is_as_written(directory, content.get("files")):
            found.append(SavedState(directory, content["step"], content["seconds"]))
        elif remove:  # half-written, altered, or of other arguments
            shutil.rmtree(directory, ignore_errors=True)
    return max(found, key=lambda saved: saved.step, default=None)


def _is_as_written(directory: Path, files: Mapping[str, str] | None) -> bool:
    """Whether every file of a checkpoint has its digest: weights, state of optimiser, schedule and random numbers."""
    if not files:
        return False
    try:
        return all(sha256_of_file(directory / name) == digest for name, digest in files.items())
    except OSError:
        return False


class Keeper(TrainerCallback):
    """Reports progress, stops at a loss that is not finite, and marks checkpoints as complete."""

    def __init__(
        self,
        identity: str,
        total_steps: int,
        started: float,
        resumed: SavedState | None,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self.identity = identity
        self.total_steps = total_steps
        self.started = started
        self.seconds_before = resumed.seconds if resumed else 0.0
        self.progress = progress

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.total_steps:
            # The finished student is written next. A checkpoint of the last step would be of no use: resumed there,
            # in the middle of an epoch, the Trainer takes a step too many.
            control.should_save = False

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        # Called after every step and before its checkpoint, so no checkpoint holds weights that are not finite.
        for name, key in (("loss", "loss"), ("gradient", "grad_norm")):
            if not math.isfinite(logs.get(key, 0.0)):
                raise ModelError(
                    f"Training diverged: the {name} of optimiser step {state.global_step} is {logs[key]}; "
                    "try a lower learning_rate or max_grad_norm."
                )
        if "loss" in logs:
            self.progress(f"optimiser steps: loss {logs['loss']:.4f}", state.global_step, self.total_steps)

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()  # every rank has written its part
        if not args.should_save:
            return
        checkpoints = Path(str(args.output_dir))
        directory = checkpoints / f"checkpoint-{state.global_step}"
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        for path in [*files, directory]:
            _sync(path)
        seconds = self.seconds_before + time.monotonic() - self.started
        digests = {str(path.relative_to(directory)): sha256_of_file(path) for path in files}
        marker = {"identity": self.identity, "step": state.global_step, "seconds": seconds, "files": digests}
        write_file(str(directory / MARKER), json.dumps(marker).encode())
        for older in checkpoints.glob("checkpoint-*"):
            if older != directory:
                shutil.rmtree(older)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
