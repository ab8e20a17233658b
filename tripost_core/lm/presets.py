"""Recipes of the built-in student: its shape, its learning rates, and what it reads when."""

from __future__ import annotations

from dataclasses import dataclass

from tripost_core.lm.corpus import Source

ARITHMETIC, SORTING = "multistep_arithmetic", "word_sorting"


@dataclass(frozen=True, slots=True)
class Phase:
    """So many optimiser steps with one mixture of documents."""

    steps: int
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Preset:
    """`decay_steps`: the last steps, in which the learning rates fall linearly to zero."""

    batch_documents: int
    layers: int
    width: int
    mlp_width: int
    heads: int
    context_length: int
    muon_lr: float
    adamw_lr: float
    warmup_steps: int
    decay_steps: int
    log_every: int
    evaluate_every: int
    evaluate_questions: int
    phases: tuple[Phase, ...]

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> Phase:
        """The phase of a step, counted from 0."""
        for phase in self.phases:
            step -= phase.steps
            if step < 0:
                return phase
        return self.phases[-1]


def _mixture(short: float, long: float, words: float, feedback: float = 0.0) -> tuple[Source, ...]:
    """Weights of arithmetic with d = [2], with d = [2, 2], of word lists; `feedback`: share of judged steps in each."""

    def both(weight: float, task: str, subtask: str, operands: int | None = None) -> list[Source]:
        sources = [Source(task, subtask, "gold", weight * (1 - feedback), operands)]
        if feedback:
            sources.append(Source(task, subtask, "step_feedback", weight * feedback, operands))
        return sources

    return tuple(
        source
        for source in [
            *both(short * 0.5, ARITHMETIC, "l3-4d2", 3),
            *both(short * 0.5, ARITHMETIC, "l3-4d2", 4),
            *both(long * 0.5, ARITHMETIC, "l3-4d22", 3),
            *both(long * 0.5, ARITHMETIC, "l3-4d22", 4),
            *both(words * 0.35, SORTING, "2-3"),
            *both(words * 0.65, SORTING, "4-7"),
        ]
        if source.weight > 0
    )


PRESETS = {
    "tiny": Preset(
        batch_documents=16,
        layers=4,
        width=128,
        mlp_width=384,
        heads=4,
        context_length=4096,
        muon_lr=0.02,
        adamw_lr=4e-3,
        warmup_steps=50,
        decay_steps=2000,
        log_every=25,
        evaluate_every=200,
        evaluate_questions=48,
        phases=(
            Phase(680, _mixture(short=0.60, long=0.10, words=0.30)),
            Phase(720, _mixture(short=0.40, long=0.30, words=0.30)),
            Phase(2000, _mixture(short=0.40, long=0.30, words=0.30, feedback=0.3)),
        ),
    ),
    "debug": Preset(
        batch_documents=4,
        layers=2,
        width=32,
        mlp_width=64,
        heads=2,
        context_length=4096,
        muon_lr=0.02,
        adamw_lr=4e-3,
        warmup_steps=2,
        decay_steps=4,
        log_every=2,
        evaluate_every=6,
        evaluate_questions=2,
        phases=(
            Phase(6, _mixture(short=1, long=0, words=1)),
            Phase(6, _mixture(short=1, long=0, words=1, feedback=0.5)),
        ),
    ),
}
