"""Pretraining of the built-in student from scratch (`tripost pretrain`).

A Llama of about a million parameters learns the form of rationales and of single-step feedback from
tripost_core/lm/corpus.py: Muon for the matrices inside the layers, AdamW for embeddings and norms, batches of
documents of like length, warm-up - constant - linear decay. Everything depends on `seed` and the step alone, so an
interrupted run that is started again with the same arguments ends with the same weights as one left alone (same
hardware, same number of threads).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tripost_core.errors import ConfigError, StorageError
from tripost_core.lm.corpus import Document, count_operands, encode, gold, mix
from tripost_core.lm.presets import PRESETS, Preset
from tripost_core.problems import load_task
from tripost_core.problems.partition import is_pretraining_question

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Rows = list[tuple[list[int], list[int]]]
"""Ids and labels of documents."""

STATE_FILE = "state.safetensors"
LOG_FILE = "training_log.jsonl"
CHUNK_BATCHES = 8
SHARD_DOCUMENTS = 4
"""Documents of one forward pass on a CPU: of like length, so that little is padding."""


@dataclass(frozen=True, slots=True)
class PretrainResult:
    """`gold_match`: share of held-out seen questions, by `task/subtask`, that the student answers word for word like
    the gold rationale (a lower bound of its greedy accuracy). `seconds` includes those before an interruption."""

    directory: Path
    steps: int
    tokens: int
    seconds: float
    loss: float
    gold_match: dict[str, float]
    digest: str


def pretrain(
    preset: str,
    out: Path,
    seed: int,
    progress: Callable[[dict[str, Any]], None] | None = None,
    minutes: float | None = None,
    device: str | None = None,
) -> PretrainResult:
    """Trains a student from scratch into the checkpoint directory `out`, or goes on where it was interrupted.

    `preset`: `tiny` (the shipped student), `small` (38 million parameters, for a GPU), `arithmetic-checks` or
    `word-checks` (from `tiny` on, one task, attempts that are checked and repaired), `debug` (seconds; for tests).
    `device`: `cpu`, `cuda`; None: a GPU where there is one, which computes in bfloat16. `minutes` bounds the time: the
    schedule is then squeezed into it, and the result depends on the speed of the machine. `progress` is called with
    one flat record now and then, which `training_log.jsonl` in `out` keeps as well.
    Raises ConfigError for an unknown preset or device and StorageError when `out` cannot be written.
    """
    import torch

    from tripost_core.lm.student import checkpoint_digest, save_student
    from tripost_core.lm.threads import suited_to_cpu
    from tripost_core.lm.tokenizer import build_tokenizer

    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
    if minutes is not None and minutes <= 0:
        raise ConfigError(f"The time limit must be positive, not {minutes} minutes.")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ConfigError(f"Pretraining cannot use the device {device!r} here; there are cpu, and cuda with a GPU.")
    config = PRESETS[preset]
    work = out.with_name(f".{out.name}.pretraining")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The directory {work} cannot be made: {error.strerror}.") from error
    tokenizer = build_tokenizer(config.context_length)
    run = _Run(preset, config, seed, tokenizer, device)
    with suited_to_cpu(run.model):
        run.resume(work / STATE_FILE)
        matches = _train(run, work, progress, minutes)
    save_student(run.model, tokenizer, out, dtype=torch.bfloat16)
    try:
        shutil.copyfile(work / LOG_FILE, out / LOG_FILE)
        shutil.rmtree(work)
    except OSError as error:
        raise StorageError(f"The log in {out} cannot be written: {error.strerror}.") from error
    return PretrainResult(
        directory=out,
        steps=run.step,
        tokens=run.tokens,
        seconds=run.seconds,
        loss=run.loss,
        gold_match=matches,
        digest=checkpoint_digest(out),
    )


def _train(
    run: _Run, work: Path, progress: Callable[[dict[str, Any]], None] | None, minutes: float | None
) -> dict[str, float]:
    """Takes the steps that are left, with a saved state behind each line of losses; returns the last `gold_match`."""
    config = run.config
    log = _Log(work / LOG_FILE, run.step, progress)
    held_out = {name: _encoded(d, run.tokenizer) for name, d in held_out_documents(config, run.seed).items()}
    started, before = time.monotonic(), run.seconds
    while True:
        run.seconds = before + time.monotonic() - started
        position = float(run.step)  # in the schedule, which a time limit squeezes
        if minutes is not None:
            position = max(position, config.steps * run.seconds / (60 * minutes))
        finished = position >= config.steps
        if finished or (run.step and run.step % config.evaluate_every == 0):
            matches = {name: gold_match(run.model, rows, run.tokenizer) for name, rows in held_out.items()}
            log.write({"step": run.step, **{f"gold_match/{k}": round(v, 4) for k, v in matches.items()}})
        if finished:
            return matches
        loss = run.train_step(position)
        if run.step % config.log_every == 0:
            run.seconds = before + time.monotonic() - started
            log.write(
                {
                    "step": run.step,
                    "loss": round(loss, 5),
                    "lr": round(config.lr_factor(position) * config.muon_lr, 6),
                    "tokens": run.tokens,
                    "seconds": round(run.seconds, 1),
                    "tokens_per_second": round(run.tokens / run.seconds),
                }
            )
            run.save(work / STATE_FILE)


def build_model(config: Preset, seed: int) -> LlamaForCausalLM:
    """The student before training: Llama with tied embeddings and rotary positions, random or the preset's start."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tripost_core.lm.student import load_student
    from tripost_core.lm.tokenizer import VOCAB_SIZE

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context_length,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
            attn_implementation="sdpa",
        )
    )
    if config.start is not None:
        model.load_state_dict(load_student(config.start, "cpu", torch.float32).model.state_dict())
    return model


def held_out_documents(config: Preset, seed: int) -> dict[str, list[Document]]:
    """Gold documents of every seen subtask in the mixture, on the splits' side of the partition, by `task/subtask`.

    Their only use is to watch the training.
    """
    groups: dict[str, list[Document]] = {}
    for source in {(s.task, s.subtask, s.operands): s for phase in config.phases for s in phase.sources}.values():
        name = f"{source.task}/{source.subtask}" + (f"/l{source.operands}" if source.operands else "")
        problems = load_task(source.task).generate(source.subtask, 4 * config.evaluate_questions + 8, seed + 1)
        kept = [
            gold(problem)
            for problem in problems
            if not is_pretraining_question(problem.question)
            and source.operands in (None, count_operands(problem.question))
        ]
        groups[name] = kept[: config.evaluate_questions]
    return groups


def gold_match(model: LlamaForCausalLM, rows: Sequence[tuple[list[int], list[int]]], tokenizer: Any) -> float:
    """Share of rows (ids, labels) whose every trained token is the model's most likely one given those before it:
    exactly the rows that greedy decoding reproduces, at the price of one forward pass."""
    import torch

    hits = 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), 16):
            ids, labels = _padded(rows[start : start + 16], tokenizer.pad_token_id, model.device)
            predicted = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
            wrong = (predicted != labels[:, 1:]) & (labels[:, 1:] != -100)
            hits += int((~wrong.any(dim=1)).sum())
    model.train()
    return hits / len(rows)


class _Run:
    """The training state: model, optimisers, position in the stream of batches."""

    def __init__(
        self, name: str, config: Preset, seed: int, tokenizer: PreTrainedTokenizerFast, device: str = "cpu"
    ) -> None:
        import torch

        from tripost_core.lm.muon import Muon
        from tripost_core.lm.replicas import ShareRunner, replicas

        self.name, self.config, self.seed, self.tokenizer = name, config, seed, tokenizer
        self.step = self.tokens = 0
        self.seconds = self.loss = 0.0
        self.model = build_model(config, seed).to(device)
        self.model.train()
        self._runner = ShareRunner(replicas(self.model))
        matrices = [p for p in self.model.model.layers.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in self.model.parameters() if id(p) not in chosen]
        self.muon = Muon(matrices, lr=config.muon_lr)
        self.adamw = torch.optim.AdamW(rest, lr=config.adamw_lr, betas=(0.9, 0.98), weight_decay=0.0)
        self._batches: Iterator[list[tuple[list[int], list[int]]]] = iter(())

    def train_step(self, position: float) -> float:
        """One optimiser step at this position of the schedule; returns the mean loss of a trained token."""
        rows = self._next_batch(position)
        trained = sum(label != -100 for _, labels in rows for label in labels)
        several = len(self._runner.models) > 1
        shares = _shares(rows, len(self._runner.models)) if several else [[rows]]
        self.loss = self._runner.backward(partial(self._loss, trained=trained), shares)
        for optimiser, lr in ((self.muon, self.config.muon_lr), (self.adamw, self.config.adamw_lr)):
            optimiser.param_groups[0]["lr"] = lr * self.config.lr_factor(position)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += sum(len(ids) for ids, _ in rows)
        return self.loss

    def _loss(self, model: LlamaForCausalLM, rows: Rows, trained: int) -> torch.Tensor:
        """These rows' share of the step's loss; `trained`: tokens of the whole step."""
        import torch

        ids, labels = _padded(rows, self.tokenizer.pad_token_id, model.device)
        # Padding is on the right and attention is causal: without a mask the fast kernel runs, and no trained token
        # sees padding.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type != "cpu"):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            mask = labels[:, 1:] != -100
            logits = model.lm_head(hidden[mask]).float()
        return torch.nn.functional.cross_entropy(logits, labels[:, 1:][mask], reduction="sum") / trained

    def _next_batch(self, position: float) -> list[tuple[list[int], list[int]]]:
        batch = next(self._batches, None)
        if batch is None:
            self._batches = self._chunk(position)
            batch = next(self._batches)
        return batch

    def _chunk(self, position: float) -> Iterator[list[tuple[list[int], list[int]]]]:
        """The batches of the chunk that holds the current step, from that step on. A chunk is drawn at once, so that
        its batches hold documents of like length and little is padding."""
        index, offset = divmod(self.step, CHUNK_BATCHES)
        phase = self.config.phase_at(position - offset)
        size = self.config.batch_documents
        rows = _encoded(mix(phase.sources, CHUNK_BATCHES * size, f"{self.seed}/{index}"), self.tokenizer)
        rows.sort(key=lambda row: len(row[0]))
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        random.Random(f"order/{self.seed}/{index}").shuffle(batches)
        return iter(batches[offset:])

    def save(self, path: Path) -> None:
        """The whole state as one safetensors file, in place at once."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items() if key != "lm_head.weight"}
        for name, optimiser in (("muon", self.muon), ("adamw", self.adamw)):
            for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
                tensors |= {f"{name}.{i}.{key}": value for key, value in optimiser.state[parameter].items()}
        position = {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "loss": self.loss}
        metadata = {"recipe": self._recipe(), "position": json.dumps(position)}
        temporary = path.with_suffix(".tmp")
        try:
            save_file(tensors, temporary, metadata=metadata)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"The state {path} cannot be written: {_reason(error)}.") from error

    def resume(self, path: Path) -> None:
        """Goes back to a saved state; one of another recipe or seed is an error."""
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            return
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        except (OSError, SafetensorError) as error:
            raise StorageError(f"The state {path} cannot be read: {_reason(error)}.") from error
        if metadata["recipe"] != self._recipe():
            raise ConfigError(f"{path.parent} holds an unfinished pretraining with other settings; remove it first.")
        position = json.loads(metadata["position"])
        self.step, self.tokens = position["step"], position["tokens"]
        self.seconds, self.loss = position["seconds"], position["loss"]
        weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
        for name, optimiser in (("muon", self.muon), ("adamw", self.adamw)):
            for i, parameter in enumerate(optimiser.param_groups[0]["params"]):
                prefix = f"{name}.{i}."
                state = {k.removeprefix(prefix): v.clone() for k, v in tensors.items() if k.startswith(prefix)}
                state = {k: v.to(parameter.device) if v.ndim else v for k, v in state.items()}
                optimiser.state[parameter].update(state)

    def _recipe(self) -> str:
        return json.dumps({"preset": self.name, "seed": self.seed, **asdict(self.config)}, sort_keys=True)


def _shares(rows: Rows, parts: int) -> list[list[Rows]]:
    """The rows in shards of SHARD_DOCUMENTS of like length, dealt out so that each part has about as much to compute:
    the longest first, each to who has least. No more parts than shards."""
    ordered = sorted(rows, key=lambda row: len(row[0]))
    shards = [ordered[i : i + SHARD_DOCUMENTS] for i in range(0, len(ordered), SHARD_DOCUMENTS)]
    shares: list[list[Rows]] = [[] for _ in range(min(parts, len(shards)))]
    load = [0] * len(shares)
    for shard in reversed(shards):
        least = load.index(min(load))
        shares[least].append(shard)
        load[least] += len(shard) * len(shard[-1][0])
    return shares


class _Log:
    """`training_log.jsonl`, without the records after the step that a resumed run goes on from."""

    def __init__(self, path: Path, step: int, progress: Callable[[dict[str, Any]], None] | None) -> None:
        self.path, self.progress = path, progress
        lines = path.read_text().splitlines() if path.exists() else []
        records = [(line, json.loads(line)) for line in lines]
        kept = [line for line, r in records if r["step"] < step or (r["step"] == step and "loss" in r)]
        path.write_text("".join(f"{line}\n" for line in kept))

    def write(self, record: dict[str, Any]) -> None:
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise StorageError(f"The log {self.path} cannot be written: {error.strerror}.") from error
        if self.progress is not None:
            self.progress(record)


def _reason(error: Exception) -> str:
    """Why a file could not be read or written, without a full stop."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".")


def _encoded(documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast) -> list[tuple[list[int], list[int]]]:
    return [encode(document, tokenizer) for document in documents]


def _padded(
    rows: Sequence[tuple[list[int], list[int]]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels as two tensors [rows, longest], padded on the right."""
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row, _ in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for _, row in rows])
    return ids.to(device), labels.to(device)
