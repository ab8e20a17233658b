"""Tokens up to EOS per second: `tripost_core.lm.generate.sample` against Hugging Face `generate` in batches of four.

Both get the same prompts in the same order and sample at temperature 1 without top-k or top-p. Run it with

    python benchmarks/generation.py --num-prompts 200

`--static` adds the other way to order the work: prompts sorted by length, in batches that nobody joins.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from tripost_core.config import GenerateConfig
from tripost_core.errors import TripostError
from tripost_core.lm.generate import sample
from tripost_core.lm.shards import self_improve_in_shards
from tripost_core.lm.student import Student, load_student, resolve_student
from tripost_core.problems import load_task, prompt
from tripost_core.problems.base import subtask_names

DEFAULTS = GenerateConfig()


def make_prompts(task_name: str, num_prompts: int, seed: int) -> list[str]:
    """Questions of the seen subtasks, evenly and mixed, as a training split has them."""
    task = load_task(task_name)
    names = subtask_names(task, seen=True)
    problems = []
    for place, name in enumerate(names):
        count = num_prompts // len(names) + (place < num_prompts % len(names))
        problems += task.generate(name, count, seed, "train") if count else []
    random.Random(seed).shuffle(problems)
    return [prompt(task, problem.question) for problem in problems]


def count_to_eos(ids: Sequence[int], eos: int) -> int:
    """Tokens of one row up to and with its first EOS."""
    return ids.index(eos) + 1 if eos in ids else len(ids)


def naive(student: Student, prompts: list[str], max_new_tokens: int, batch_size: int = 4) -> list[int]:
    """Tokens of every prompt's output from `model.generate`, `batch_size` prompts at a time, in order."""
    tokenizer, model = student.tokenizer, student.model
    tokenizer.padding_side = "left"
    counts = []
    for start in range(0, len(prompts), batch_size):
        batch = tokenizer(prompts[start : start + batch_size], return_tensors="pt", padding=True).to(model.device)
        batch.pop("token_type_ids", None)
        written = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )[:, batch["input_ids"].shape[1] :]
        counts += [count_to_eos(row, tokenizer.eos_token_id) for row in written.tolist()]
    return counts


def static_batches(lengths: Sequence[int], max_new_tokens: int, batch_tokens: int) -> list[list[int]]:
    """Places of the prompts, sorted by their tokens, in batches that stay within the bound however long a row gets."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        columns = lengths[place] + max_new_tokens
        if batches and (len(batches[-1]) + 1) * columns <= batch_tokens:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def static(
    student: Student, prompts: list[str], seeds: Sequence[int], max_new_tokens: int, batch_tokens: int
) -> list[int]:
    """Tokens of every prompt's output, a batch at a time: each ends with its last row, and ended rows leave it."""
    lengths = [len(ids) for ids in student.tokenizer(prompts)["input_ids"]]
    counts = [0] * len(prompts)
    for batch in static_batches(lengths, max_new_tokens, batch_tokens):
        chosen, of_rows = [prompts[i] for i in batch], [seeds[i] for i in batch]
        # The batch is cut already, so the bound of `sample` is lifted and all of its rows run from the beginning.
        written = sample(student, chosen, of_rows, temperature=1.0, max_new_tokens=max_new_tokens, batch_tokens=2**40)
        for place, completion in zip(batch, written, strict=True):
            counts[place] = completion.num_tokens
    return counts


def timed(function: Any, *arguments: Any) -> tuple[list[int], float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    counts = function(*arguments)
    return counts, time.perf_counter() - wall, time.process_time() - cpu


def figures(counts: list[int], seconds: float, cpu_seconds: float) -> dict[str, float]:
    return {
        "tokens": sum(counts),
        "mean_tokens": round(sum(counts) / len(counts), 1),
        "longest_tokens": max(counts),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "tokens_per_second": round(sum(counts) / seconds, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="`tiny`, a checkpoint directory or a hub name")
    parser.add_argument("--task", default="multistep_arithmetic")
    parser.add_argument("--num-prompts", type=int, default=200)
    parser.add_argument("--num-naive", type=int, help="prompts of the naive run, from the first on (default: all)")
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULTS.max_new_tokens)
    parser.add_argument("--batch-tokens", type=int, default=DEFAULTS.batch_tokens)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--static", action="store_true", help="time static batches, sorted by length, too")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    try:
        student = load_student(args.model)
        prompts = make_prompts(args.task, args.num_prompts, args.seed)
    except TripostError as error:
        print(error, file=sys.stderr)
        return 2

    def ours() -> list[int]:
        completions = sample(
            student,
            prompts,
            [args.seed + i for i in range(len(prompts))],
            temperature=1.0,
            max_new_tokens=args.max_new_tokens,
            batch_tokens=args.batch_tokens,
        )
        return [completion.num_tokens for completion in completions]

    def as_the_stage() -> list[int]:
        """In two processes where the student is small and on a CPU, their start included."""
        task = load_task(args.task)
        questions = [text.removeprefix("Q: ").removesuffix(f"\n{task.answer_header}") for text in prompts]
        written = self_improve_in_shards(
            student,
            resolve_student(args.model),
            args.task,
            questions,
            [args.seed + i for i in range(len(prompts))],
            temperature=1.0,
            max_new_tokens=args.max_new_tokens,
            max_improvements=0,
            batch_tokens=args.batch_tokens,
        )
        return [row.num_tokens for row in written]

    torch.manual_seed(args.seed)
    some = prompts[: args.num_naive or len(prompts)]
    # First calls allocate and pick kernels; neither side is charged for them.
    naive(student, prompts[:4], 8)
    sample(student, prompts[:4], [0] * 4, temperature=1.0, max_new_tokens=8, batch_tokens=args.batch_tokens)
    result = {
        "model": args.model,
        "parameters": student.model.num_parameters(),
        "prompts": len(prompts),
        "threads": args.threads,
        "ours": figures(*timed(ours)),
        "ours_as_the_stage_does": figures(*timed(as_the_stage)),
        "naive_batch_of_4": figures(*timed(naive, student, some, args.max_new_tokens)),
    }
    if args.static:
        seeds = [args.seed + i for i in range(len(prompts))]
        found = timed(static, student, prompts, seeds, args.max_new_tokens, args.batch_tokens)
        result["static_sorted_by_length"] = figures(*found)
        speeds = (result[name]["tokens_per_second"] for name in ("ours", "static_sorted_by_length"))
        result["ratio_to_static"] = round(next(speeds) / next(speeds), 2)
    theirs = result["naive_batch_of_4"]["tokens_per_second"]
    result["ratio"] = round(result["ours"]["tokens_per_second"] / theirs, 2)
    result["ratio_as_the_stage_does"] = round(result["ours_as_the_stage_does"]["tokens_per_second"] / theirs, 2)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
