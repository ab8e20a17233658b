"""Weighted supervised learning of the student (paper section 2.4) with `transformers.Trainer`.

Ours are four things that the Trainer leaves open: the loss (loss.py), the order of the rows, what makes a checkpoint
complete, and errors that say what to do. Everything depends on the arguments alone: on one machine, with one number
of threads, a training that was killed and started again ends with the bits of one that was left alone (CPU, fp32).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from tripost_core.buffers import canonical_json, write_file
from tripost_core.config import StudentConfig, TrainConfig
from tripost_core.errors import ConfigError, DataError, ModelError, StorageError
from tripost_core.lm.encode import EncodedRow, encode_rows
from tripost_core.lm.loss import count_trained_tokens, weighted_cross_entropy_sum
from tripost_core.lm.student import load_student, save_student
from tripost_core.lm.threads import suited_threads

MARKER = "complete.json"
Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainResult:
    """What a training did. `losses` has one entry per optimiser step: {"step", "loss", "learning_rate"}.

    `num_trained_tokens` counts a token once per time it was trained; `seconds` includes those before an interruption.
    """

    checkpoint_dir: Path
    num_steps: int
    num_rows: int
    num_too_long: int
    losses: list[dict[str, float]]
    num_trained_tokens: int
    seconds: float


def train(
    student_dir: str | Path,
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    num_steps: int | None,
    seed: int,
    work_dir: Path,
    progress: Callable[[str, int, int], None],
) -> TrainResult:
    """Trains the student in `student_dir` on rows of schema `rows-1` and writes it, in fp32, below `work_dir`.

    config: the fields of TrainConfig, and `student` with those of StudentConfig. `num_steps`: exactly so many
    optimiser steps with the learning rate's schedule over them; None = `num_epochs` passes. A checkpoint is kept in
    `work_dir` every `save_every_steps`; the same call finds it and goes on from there.

    Raises DataError where no row is left, ModelError for a loss that is not finite, ConfigError for a device that is
    not there or too small, StorageError where a checkpoint cannot be written.
    """
    started = time.monotonic()
    student_config = StudentConfig.model_validate({"model": str(student_dir), **config["student"]})
    settings = TrainConfig.model_validate({key: value for key, value in config.items() if key != "student"})
    student = load_student(student_dir, device="cpu", dtype=torch.float32)  # fp32 weights also under bf16 computation
    limit = min(settings.max_length_tokens, student.context_length)
    encoded = encode_rows(rows, student.tokenizer, settings.improvement_weight, settings.mask_attempt)
    kept = [row for row in encoded if row.num_tokens <= limit]
    if not kept:
        raise DataError(f"There is nothing to train on: none of the {len(rows)} rows has at most {limit} tokens.")
    order = MicroBatches([row.num_tokens for row in kept], settings.batch_size, settings.micro_batch_size, seed)
    total_steps = num_steps or settings.num_epochs * order.num_steps_per_epoch
    identity = _identity(student.digest, kept, config, total_steps, seed)
    arguments = _arguments(settings, student_config, order, total_steps, seed, work_dir / "checkpoints")
    use_cache = getattr(student.model.config, "use_cache", None)
    try:
        latest = latest_checkpoint(work_dir / "checkpoints", identity)
        keeper = _Keeper(identity, total_steps, started, latest, progress)
        trainer = WeightedTrainer(
            model=student.model,
            args=arguments,
            train_dataset=kept,  # type: ignore[arg-type]
            order=order,
            callbacks=[keeper],
        )
        trainer.remove_callback(PrinterCallback)
        with _no_progress_bars(), suited_threads(student.model):
            trainer.train(resume_from_checkpoint=str(latest.directory) if latest else None)
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        raise _explained(error, work_dir) from error
    if use_cache is not None:
        student.model.config.use_cache = use_cache  # the Trainer turns it off, and generation needs it
    with _no_progress_bars():
        checkpoint_dir = save_student(student.model, student.tokenizer, work_dir / "student", dtype=torch.float32)
    return TrainResult(
        checkpoint_dir=checkpoint_dir,
        num_steps=total_steps,
        num_rows=len(kept),
        num_too_long=len(rows) - len(kept),
        losses=[
            {key: e[key] for key in ("step", "loss", "learning_rate")} for e in trainer.state.log_history if "loss" in e
        ],
        num_trained_tokens=sum(kept[i].num_trained_tokens for step in order.steps(total_steps) for i in step),
        seconds=time.monotonic() - started + (latest.seconds if latest else 0.0),
    )


class MicroBatches(Sampler[list[int]]):
    """The rows of one epoch, by index, one micro-batch at a time; `set_epoch` says which epoch.

    Every epoch is a new order, drawn from (seed, epoch), cut into optimiser steps of `batch_size` rows; the last may
    be smaller. Within a step the rows are sorted by length before they are cut into micro-batches, so that little is
    padding. Which rows make up a step is left to chance, and the loss does not depend on how a step is cut.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, micro_batch_size: int | None, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.micro_batch_size = min(micro_batch_size or batch_size, batch_size)
        self.seed = seed
        self.epoch = 0

    @property
    def num_steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    @property
    def num_micro_batches_per_step(self) -> int:
        return math.ceil(self.batch_size / self.micro_batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def steps(self, num_steps: int) -> Iterator[list[int]]:
        """The rows of the first `num_steps` optimiser steps, over as many epochs as that takes."""
        for step in range(num_steps):
            epoch, position = divmod(step, self.num_steps_per_epoch)
            if position == 0:
                order = self._order(epoch)
            yield order[position * self.batch_size : (position + 1) * self.batch_size]

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order(self.epoch)
        for start in range(0, len(order), self.batch_size):
            step = sorted(order[start : start + self.batch_size], key=lambda i: self.lengths[i])
            for at in range(0, len(step), self.micro_batch_size):
                yield step[at : at + self.micro_batch_size]

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.batch_size)
        return whole * self.num_micro_batches_per_step + math.ceil(rest / self.micro_batch_size)

    def _order(self, epoch: int) -> list[int]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.lengths)).tolist()


def collate(rows: Sequence[EncodedRow]) -> Batch:
    """input_ids, weights, attention_mask: [rows, tokens of the longest]; padded on the right, with weight 0."""
    length = max(row.num_tokens for row in rows)
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    weights = torch.zeros(len(rows), length)
    attention_mask = torch.zeros(len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        input_ids[i, : row.num_tokens] = torch.tensor(row.input_ids)
        weights[i, : row.num_tokens] = torch.tensor(row.weights)
        attention_mask[i, : row.num_tokens] = 1
    return {"input_ids": input_ids, "weights": weights, "attention_mask": attention_mask}


class WeightedTrainer(Trainer):
    """`transformers.Trainer` with the weighted loss, normalised over the whole optimiser step."""

    loss_is_scaled_for_ga = True  # by the step's trained tokens, so the Trainer shall not divide again

    def __init__(self, *args: Any, order: MicroBatches, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order = order
        assert self.accelerator.num_processes == 1, "the divisor of the loss is not yet summed over processes"

    def get_train_dataloader(self) -> DataLoader:
        loader: DataLoader = DataLoader(self.train_dataset, batch_sampler=self.order, collate_fn=collate)  # type: ignore[arg-type]
        return self.accelerator.prepare(loader)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], int]:
        """The micro-batches of one optimiser step and how many tokens they train."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(count_trained_tokens(batch["weights"]) for batch in batches)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> Any:
        """This micro-batch's share of the step's loss; `num_items_in_batch`: trained tokens of the whole step."""
        assert num_items_in_batch is not None
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        total = weighted_cross_entropy_sum(outputs.logits, inputs["input_ids"], inputs["weights"])
        loss = total / max(num_items_in_batch, 1)
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not wanted, and counting every parameter in every micro-batch takes time."""
        return 0

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights and config; without the pickled arguments that the Trainer would put beside them."""
        assert isinstance(self.model, PreTrainedModel)
        self.model.save_pretrained(output_dir or self.args.output_dir)


@dataclass(frozen=True)
class SavedState:
    """A complete checkpoint in the work directory; `seconds`: time that training had taken when it was written."""

    directory: Path
    step: int
    seconds: float


def latest_checkpoint(checkpoints: Path, identity: str) -> SavedState | None:
    """The last complete checkpoint of the training with this identity; everything else there is removed."""
    found = []
    for directory in sorted(checkpoints.glob("checkpoint-*")) if checkpoints.is_dir() else []:
        marker = directory / MARKER
        content = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {}
        if content.get("identity") == identity:
            found.append(SavedState(directory, content["step"], content["seconds"]))
        else:  # half-written, or of other arguments
            shutil.rmtree(directory)
    return max(found, key=lambda saved: saved.step, default=None)


class _Keeper(TrainerCallback):
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
        self.progress("optimiser steps", state.global_step, self.total_steps)
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

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        checkpoints = Path(str(args.output_dir))
        directory = checkpoints / f"checkpoint-{state.global_step}"
        for path in [*directory.iterdir(), directory]:
            _sync(path)
        seconds = self.seconds_before + time.monotonic() - self.started
        marker = {"identity": self.identity, "step": state.global_step, "seconds": seconds}
        write_file(str(directory / MARKER), json.dumps(marker).encode())
        for older in checkpoints.glob("checkpoint-*"):
            if older != directory:
                shutil.rmtree(older)


def _identity(digest: str, rows: Sequence[EncodedRow], config: Mapping[str, Any], total_steps: int, seed: int) -> str:
    """SHA-256 over all that determines a training; a checkpoint is taken up by the training that wrote it only."""
    content = hashlib.sha256(canonical_json([digest, dict(config), total_steps, seed]).encode())
    for row in rows:
        content.update(canonical_json([row.input_ids, row.weights]).encode())
    return content.hexdigest()


def _arguments(
    settings: TrainConfig,
    student: StudentConfig,
    order: MicroBatches,
    total_steps: int,
    seed: int,
    output_dir: Path,
) -> TrainingArguments:
    try:
        device = torch.device(student.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ConfigError(f"student.device = {student.device!r} is not the name of a device.") from None
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        seed=seed % 2**32,
        max_steps=total_steps,
        per_device_train_batch_size=order.micro_batch_size,
        gradient_accumulation_steps=order.num_micro_batches_per_step,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(settings.warmup_ratio * total_steps),
        optim="adamw_torch_fused",
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=student.dtype == "bfloat16",
        use_cpu=device.type == "cpu",
        save_strategy="steps",
        save_steps=settings.save_every_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
    )
    actual = arguments.device
    if actual.type != device.type or device.index not in (None, actual.index or 0):
        raise ConfigError(
            f"Training runs on {actual} here, not on student.device = {student.device!r}; "
            "CUDA_VISIBLE_DEVICES chooses between GPUs."
        )
    if actual.type == "cuda":
        arguments._n_gpu = 1  # else the Trainer spreads micro-batches over all GPUs with DataParallel
    return arguments


def _explained(error: Exception, work_dir: Path) -> Exception:
    """The error as one sentence where a user can cause it, else as it is."""
    text = " ".join(str(error).split())
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in text:
        return ConfigError("Training ran out of memory; a smaller micro_batch_size or max_length_tokens needs less.")
    # torch.save says of a full disk nothing but where in its zip writer it was noticed.
    from_torch = any(sign in text for sign in ("PytorchStream", "inline_container", "iostream error"))
    if isinstance(error, (OSError, SafetensorError)) or from_torch:
        cause = getattr(error, "strerror", None) or ("the disk is full" if from_torch else text.rstrip("."))
        return StorageError(f"The checkpoint of the training in {work_dir} cannot be written or read: {cause}.")
    return error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """For a block that writes weights: transformers shows a bar for every file. `progress` is what reports here."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
