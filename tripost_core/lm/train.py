"""Weighted supervised learning of the student (paper section 2.4) with `transformers.Trainer`.

Ours are four things that the Trainer leaves open: the loss (loss.py), the order of the rows, what makes a checkpoint
complete, and errors that say what to do. Everything depends on the arguments alone: on one machine, with one number
of threads, a training that was killed and started again ends with the bits of one that was left alone (CPU, fp32).
"""

from __future__ import annotations

import gc
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tripost_core.buffers import canonical_json
from tripost_core.config import RanksConfig, StudentConfig, TrackingConfig, TrainConfig
from tripost_core.errors import ConfigError, DataError, OutOfMemoryError, StorageError
from tripost_core.lm.batches import MicroBatches, Rows
from tripost_core.lm.deepspeed import zero_config
from tripost_core.lm.encode import EncodedRow, encode_rows
from tripost_core.lm.packing import can_pack
from tripost_core.lm.prepared import Prepared
from tripost_core.lm.ranks import run_ranks
from tripost_core.lm.student import load_student, no_progress_bars
from tripost_core.lm.threads import suited_to_cpu
from tripost_core.lm.tracking import run_name, trackers, write_metrics
from tripost_core.lm.trainer import Keeper, WeightedTrainer, latest_checkpoint

logger = logging.getLogger(__name__)
_CUTS = ("micro_batch_size", "packing", "gradient_checkpointing")


@dataclass(frozen=True)
class TrainResult:
    """What a training did. `losses` has one entry per optimiser step: {"step", "loss", "learning_rate"}.

    `num_trained_tokens` counts a token once per time it was trained; `seconds` includes those before an interruption;
    `micro_batch_size` is what fitted into memory.
    """

    checkpoint_dir: Path
    num_steps: int
    num_rows: int
    num_too_long: int
    losses: list[dict[str, float]]
    num_trained_tokens: int
    seconds: float
    micro_batch_size: int

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "checkpoint_dir": str(self.checkpoint_dir)}

    @classmethod
    def of_dict(cls, content: Mapping[str, Any]) -> TrainResult:
        return cls(**{**content, "checkpoint_dir": Path(content["checkpoint_dir"])})


def train(
    student_dir: str | Path,
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    num_steps: int | None,
    seed: int,
    work_dir: Path,
    progress: Callable[[str, int, int], None],
    ranks: RanksConfig | None = None,
    tracking: TrackingConfig | None = None,
    label: str = "train",
) -> TrainResult:
    """Trains the student in `student_dir` on rows of schema `rows-1` and writes it, whole, below `work_dir`.

    config: the fields of TrainConfig, and `student` with those of StudentConfig. `num_steps`: exactly so many
    optimiser steps with the learning rate's schedule over them; None = `num_epochs` passes. A checkpoint is kept in
    `work_dir` every `save_every_steps`; the same call finds it and goes on from there. `ranks`: on how many processes.
    `tracking`: who else hears of every step, under the name `label`; the student's directory has a table of them.
    Where memory runs out, the micro-batches are halved and the training goes on from its last checkpoint; the rows of
    an optimiser step stay the same, and so does its loss.

    Raises DataError where no row is left, ModelError for a loss that is not finite, ConfigError for a device that is
    not there or too small, StorageError where a checkpoint cannot be written.
    """
    settings = TrainConfig.model_validate({key: value for key, value in config.items() if key != "student"})
    ranks, tracking = ranks or RanksConfig(), tracking or TrackingConfig()
    num_processes = ranks.processes_per_node * ranks.nodes
    micro = min(settings.micro_batch_size or settings.batch_size, math.ceil(settings.batch_size / num_processes))
    while True:
        cut = {**config, "micro_batch_size": micro}
        try:
            if ranks.is_plain:
                return train_rank(student_dir, rows, cut, num_steps, seed, work_dir, progress, ranks, tracking, label)
            arguments = {"student_dir": str(student_dir), "config": cut, "num_steps": num_steps, "seed": seed}
            arguments |= {"tracking": tracking.model_dump(mode="json"), "label": label}
            return TrainResult.of_dict(run_ranks(ranks, arguments, rows, work_dir, progress))
        except OutOfMemoryError:
            if micro == 1:
                raise
        # Not within `except`: the traceback holds the trainer, and with it the model and the optimiser's state.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        micro = math.ceil(micro / 2)
        logger.warning("Training ran out of memory; it goes on with micro-batches of %d rows.", micro)


def train_rank(
    student_dir: str | Path,
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    num_steps: int | None,
    seed: int,
    work_dir: Path,
    progress: Callable[[str, int, int], None],
    ranks: RanksConfig,
    tracking: TrackingConfig,
    label: str,
) -> TrainResult:
    """`train` on one of its processes; `torchrun` says which (RANK, WORLD_SIZE). The first writes the student."""
    started = time.monotonic()
    student_config = StudentConfig.model_validate({"model": str(student_dir), **config["student"]})
    settings = TrainConfig.model_validate({key: value for key, value in config.items() if key != "student"})
    zero = zero_config(ranks)
    # Weights that are trained are fp32, also under bf16 computation; those that adapters freeze are not.
    frozen = settings.lora is not None and student_config.dtype == "bfloat16"
    student = load_student(student_dir, device="cpu", dtype=torch.bfloat16 if frozen else torch.float32)
    limit = min(settings.max_length_tokens, student.context_length)
    encoded = encode_rows(rows, student.tokenizer, settings.improvement_weight, settings.mask_attempt)
    kept = [row for row in encoded if row.num_tokens <= limit]
    if not kept:
        raise DataError(f"There is nothing to train on: none of the {len(rows)} rows has at most {limit} tokens.")
    order = MicroBatches(
        [row.num_tokens for row in kept],
        settings.batch_size,
        settings.micro_batch_size,
        seed,
        rank=int(os.environ.get("RANK", "0")) if not ranks.is_plain else 0,
        num_ranks=ranks.processes_per_node * ranks.nodes,
        packed=settings.packing and can_pack(student.model),
    )
    total_steps = num_steps or settings.num_epochs * order.num_steps_per_epoch
    identity = _identity(student.digest, kept, config, total_steps, seed, ranks)
    arguments = _arguments(settings, student_config, order, total_steps, seed, work_dir / "checkpoints", zero)
    arguments.run_name = run_name(tracking, label)
    # Copies do not know of autocast, and a micro-batch of one row has no two shares.
    in_threads = ranks.is_plain and student_config.dtype == "float32" and order.micro_batch_size > 1
    prepared = Prepared.of(
        student, settings, student_config, zero, Path(student_dir), arguments.device, seed, in_threads
    )
    try:
        latest = latest_checkpoint(work_dir / "checkpoints", identity, remove=order.rank == 0)
        keeper = Keeper(identity, total_steps, started, latest, progress)
        trainer = WeightedTrainer(
            model=prepared.model,
            args=arguments,
            order=order,
            rows=Rows(kept, prepared.packed, len(prepared.replicas)),
            replicas=prepared.replicas,
            callbacks=[keeper, *trackers(tracking, label, order.rank == 0)],
        )
        trainer.remove_callback(PrinterCallback)
        with no_progress_bars(), suited_to_cpu(student.model):
            trainer.train(resume_from_checkpoint=str(latest.directory) if latest else None)
            checkpoint_dir = prepared.save(trainer, work_dir / "student")
            if order.rank == 0:
                write_metrics(trainer.state.log_history, checkpoint_dir)
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        raise _explained(error, work_dir) from error
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
        micro_batch_size=order.micro_batch_size,
    )


def _identity(
    digest: str,
    rows: Sequence[EncodedRow],
    config: Mapping[str, Any],
    total_steps: int,
    seed: int,
    ranks: RanksConfig,
) -> str:
    """SHA-256 over all that determines a training; a checkpoint is taken up by the training that wrote it only. How a
    step is cut is left out: a training that ran out of memory goes on with smaller pieces."""
    settings = {key: value for key, value in config.items() if key not in _CUTS}
    content = hashlib.sha256(canonical_json([digest, settings, total_steps, seed, ranks.deepspeed]).encode())
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
    zero: dict[str, Any] | None,
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
        optim="adamw_torch_fused" if zero is None else "adamw_torch",
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
        ddp_backend="gloo" if device.type == "cpu" and order.num_ranks > 1 else None,
        ddp_find_unused_parameters=False,
        deepspeed=zero,
    )
    actual = arguments.device
    if actual.type != device.type or device.index not in (None, actual.index or 0):
        raise ConfigError(
            f"Training runs on {actual} here, not on student.device = {student.device!r}; "
            "CUDA_VISIBLE_DEVICES chooses between GPUs."
        )
    if actual.type == "cuda" and order.num_ranks == 1:
        arguments._n_gpu = 1  # else the Trainer spreads micro-batches over all GPUs with DataParallel
    return arguments


def _explained(error: Exception, work_dir: Path) -> Exception:
    """The error as one sentence where a user can cause it, else as it is."""
    text = " ".join(str(error).split())
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in text:
        return OutOfMemoryError("Training ran out of memory; a smaller max_length_tokens or train.lora needs less.")
    # torch.save says of a full disk nothing but where in its zip writer it was noticed.
    from_torch = any(sign in text for sign in ("PytorchStream", "inline_container", "iostream error"))
    if isinstance(error, (OSError, SafetensorError)) or from_torch:
        cause = getattr(error, "strerror", None) or ("the disk is full" if from_torch else text.rstrip("."))
        return StorageError(f"The checkpoint of the training in {work_dir} cannot be written or read: {cause}.")
    return error
