"""Recipes of the built-in student: its shape, its learning rates, and what it reads when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tripost_core.lm.corpus import Source

ARITHMETIC, SORTING = "multistep_arithmetic", "word_sorting"
DATES, ORDERS = "date_understanding", "logical_deduction"


@dataclass(frozen=True, slots=True)
class Phase:
    """So many optimiser steps with one mixture of documents; the learning rates go linearly from the first to the
    second of `lr_factors` times those of the preset."""

    steps: int
    sources: tuple[Source, ...]
    lr_factors: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Preset:
    """Shape, learning rates and phases. In the first `warmup_steps` the learning rates rise from zero."""

    batch_documents: int
    layers: int
    width: int
    mlp_width: int
    heads: int
    context_length: int
    muon_lr: float
    adamw_lr: float
    warmup_steps: int
    log_every: int
    evaluate_every: int
    evaluate_questions: int
    phases: tuple[Phase, ...]
    start: str | None = None
    """A built-in student of this shape whose weights it begins with; None: from scratch."""

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, position: float) -> Phase:
        """The phase of a position, in steps from 0."""
        return self._locate(position)[0]

    def lr_factor(self, position: float) -> float:
        """What the learning rates are multiplied by at a position, in steps from 0."""
        phase, done = self._locate(position)
        first, last = phase.lr_factors
        return min(1.0, (position + 1) / self.warmup_steps) * (first + (last - first) * min(1.0, done / phase.steps))

    def _locate(self, position: float) -> tuple[Phase, float]:
        """The phase of a position and how many steps of it are done."""
        start = 0
        for phase in self.phases:
            if position < start + phase.steps:
                return phase, position - start
            start += phase.steps
        return self.phases[-1], float(self.phases[-1].steps)


def _mix(
    short: float = 0.0,
    long: float = 0.0,
    words: float = 0.0,
    dates: float = 0.0,
    orders: float = 0.0,
    feedback: float = 0.0,
) -> tuple[Source, ...]:
    """Weights of arithmetic with d = [2], with d = [2, 2], of word lists, dates and logical deduction; `feedback`:
    share of judged steps in each."""

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
            *both(dates * 0.25, DATES, "steps1"),
            *both(dates * 0.75, DATES, "steps2"),
            *both(orders * 0.45, ORDERS, "objects3"),
            *both(orders * 0.55, ORDERS, "objects5"),
        ]
        if source.weight > 0
    )


def _going_on(sources: tuple[Source, ...], steps: int) -> tuple[Phase, ...]:
    """A cycle of the learning rate for a student that has been trained before."""
    warmup = steps // 20
    return (Phase(warmup, sources, (0.1, 0.6)), Phase(steps - warmup, sources, (0.6, 0)))


_ARITHMETIC_CHECKS = (
    Source(ARITHMETIC, "l3-4d2", "gold", 0.07, 3),
    Source(ARITHMETIC, "l3-4d2", "gold", 0.07, 4),
    Source(ARITHMETIC, "l3-4d2", "columns", 0.07, 3),
    Source(ARITHMETIC, "l3-4d2", "columns", 0.07, 4),
    Source(ARITHMETIC, "l3-4d2", "drill", 0.09, 3),
    Source(ARITHMETIC, "l3-4d2", "drill", 0.09, 4),
    Source(ARITHMETIC, "l3-4d2", "worked", 0.13, 3),
    Source(ARITHMETIC, "l3-4d2", "worked", 0.13, 4),
    # Most mistakes of small students are of few kinds (claim 11 of the paper); of all kinds, each would be too rare.
    Source(ARITHMETIC, "l3-4d2", "revision", 0.14, 3, checks=True, error_classes=("calculation", "algebraic")),
    Source(ARITHMETIC, "l3-4d2", "revision", 0.14, 4, checks=True, error_classes=("calculation", "algebraic")),
)
_WORD_SLIPS = ("duplicated_word", "copy_error", "lost_word", "wrong_group")
_WORD_CHECKS = (
    Source(SORTING, "2-3", "gold", 0.08),
    Source(SORTING, "4-7", "gold", 0.20),
    Source(SORTING, "2-3", "worked", 0.05),
    Source(SORTING, "4-7", "worked", 0.27),
    Source(SORTING, "2-3", "revision", 0.08, checks=True, error_classes=_WORD_SLIPS),
    Source(SORTING, "4-7", "revision", 0.32, checks=True, error_classes=_WORD_SLIPS),
)

_TINY = Preset(
    batch_documents=16,
    layers=4,
    width=128,
    mlp_width=384,
    heads=4,
    context_length=4096,
    muon_lr=0.02,
    adamw_lr=4e-3,
    warmup_steps=50,
    log_every=25,
    evaluate_every=400,
    evaluate_questions=48,
    phases=(
        Phase(600, _mix(short=0.50, long=0.05, words=0.20, dates=0.15, orders=0.10), (1, 1)),
        Phase(700, _mix(short=0.30, long=0.22, words=0.22, dates=0.12, orders=0.14), (1, 1)),
        Phase(2000, _mix(short=0.30, long=0.22, words=0.22, dates=0.10, orders=0.16, feedback=0.3), (1, 0)),
        Phase(700, _mix(short=0.18, long=0.38, words=0.20, dates=0.08, orders=0.16, feedback=0.3), (0.6, 0.432)),
        Phase(2400, _mix(short=0.16, long=0.28, words=0.17, dates=0.21, orders=0.18, feedback=0.3), (0.432, 0)),
        Phase(160, _mix(short=0.20, long=0.32, words=0.18, dates=0.14, orders=0.16, feedback=0.3), (0.1, 0.7)),
        Phase(4640, _mix(short=0.20, long=0.32, words=0.18, dates=0.14, orders=0.16, feedback=0.3), (0.7, 0)),
    ),
)

_SMALL = replace(
    _TINY, batch_documents=64, layers=12, width=512, mlp_width=1376, heads=8, adamw_lr=2e-3, warmup_steps=200
)
"""38 million parameters; the documents of `tiny`, four times as many in a step."""

PRESETS = {
    "tiny": _TINY,
    "small": _SMALL,
    "arithmetic-checks": replace(_TINY, start="tiny", phases=_going_on(_ARITHMETIC_CHECKS, 4000)),
    "word-checks": replace(_TINY, start="tiny", phases=_going_on(_WORD_CHECKS, 3000)),
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
        log_every=2,
        evaluate_every=6,
        evaluate_questions=2,
        phases=(
            Phase(6, _mix(short=1, words=1, dates=1, orders=1), (1, 1)),
            Phase(6, _mix(short=1, words=1, dates=1, orders=1, feedback=0.5), (1, 0)),
        ),
    ),
}
