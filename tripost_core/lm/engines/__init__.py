"""What the student writes with: transformers in this process, vLLM beside it, or any OpenAI-compatible server.

    transformers   lm/generate.py, on one device; a small CPU student in two processes (lm/shards.py)
    vllm           `vllm serve` from an environment of its own, started here with the checkpoint and stopped again
    server         servers that somebody else keeps; one line of the config, one address a replica

All of them are one call, `Write`: prompts and seeds in, completions out. A row's sample depends on its seed; what else
it depends on is the engine's limit (docs/scale.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tripost_core.config import EngineConfig, StudentConfig
from tripost_core.errors import ModelError
from tripost_core.problems import TaskReference, load_task

if TYPE_CHECKING:
    from tripost_core.lm.generate import Completion
    from tripost_core.lm.self_improve import SelfImprovement

Progress = Callable[[int, int], None]


class Write(Protocol):
    """One completion for every prompt, in their order; see `lm.generate.sample`."""

    def __call__(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        temperature: float,
        max_new_tokens: int,
        stop: str | None,
        progress: Progress | None,
    ) -> list[Completion]: ...


def self_improve_with(
    engine: EngineConfig,
    student_dir: Path,
    student: StudentConfig,
    digest: str,
    task: TaskReference,
    questions: Sequence[str],
    seeds: Sequence[int],
    *,
    batch_tokens: int,
    progress: Progress | None = None,
    api_key: str | None = None,
    **settings: Any,
) -> list[SelfImprovement]:
    """`self_improve` of the checkpoint in `student_dir` (its digest: `digest`) with the engine of the configuration.

    Raises ModelError where the engine does not have this checkpoint or fails, ConfigError.
    """
    from tripost_core.lm.self_improve import self_improve

    if engine.kind == "transformers":
        import torch

        from tripost_core.lm.shards import self_improve_in_shards
        from tripost_core.lm.student import load_student

        loaded = load_student(student_dir, student.device, getattr(torch, student.dtype))
        if loaded.digest != digest:  # what is written is kept under the name of `digest`
            raise ModelError(
                f"The checkpoint in {student_dir} has been altered: its digest is {loaded.digest[:16]}..., "
                f"not {digest[:16]}..."
            )
        settings = {**settings, "batch_tokens": batch_tokens}
        return self_improve_in_shards(loaded, student_dir, task, questions, seeds, progress=progress, **settings)
    with _served(engine, student_dir, student, digest, api_key) as write:
        return self_improve(
            None,
            load_task(task),
            questions,
            seeds,
            batch_tokens=batch_tokens,
            progress=progress,
            write=write,
            **settings,
        )


@contextmanager
def _served(
    engine: EngineConfig, student_dir: Path, student: StudentConfig, digest: str, api_key: str | None
) -> Iterator[Write]:
    if engine.kind == "vllm":
        from tripost_core.lm.engines.vllm import vllm_servers

        with vllm_servers(engine, student_dir, student.dtype, digest) as write:
            yield write
    else:
        from tripost_core.lm.engines.server import Servers

        yield Servers(engine, engine.urls, engine.served_name(student_dir, digest), student_dir, api_key)
