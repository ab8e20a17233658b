"""What a run costs, from a small model with measured constants; the tables of docs/scale.md.

    python benchmarks/scale.py

The parts of an iteration follow one another, and each is taken to work alone. `tests/test_scale.py` holds the constants
to what docs/log.md says was measured, and the tables to the page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

GIB = 2**30


@dataclass(frozen=True)
class Constants:
    """Measured here, but for what `Gpu` has. Units in the names."""

    client_calls_per_second: float = 966.0
    """The expert client with nothing to wait for (docs/log.md, 2026-11-21, 256 in flight, 200 ms)."""
    cache_replays_per_second: float = 31_760.0
    prefect_task_runs_per_second: float = 40.0
    prefect_event_queue: int = 10_000
    orchestration_seconds_per_stage: float = 0.106
    """3.4 s between the 32 stages of a main job of 434 s (docs/log.md, "Four main jobs from a fresh clone")."""
    orchestration_seconds_per_run: float = 23.0
    """Start and end of the same job, most of it the first server's database."""
    trajectory_bytes: int = 383
    triplet_bytes: int = 231
    row_bytes: int = 113
    """In zstd Parquet, arithmetic."""
    trajectory_object_bytes: int = 4_200
    triplet_object_bytes: int = 2_100
    row_object_bytes: int = 3_100
    """The same as Python objects, which is what editing holds."""
    answer_bytes: int = 4_794
    """Of the response cache, an answer of 300 tokens with its index."""


@dataclass(frozen=True)
class Gpu:
    """Data sheets, and shares of them that nobody has measured for this project yet."""

    name: str
    peak_flops: float
    bytes_per_second: float
    memory_gib: float
    mfu: float = 0.45
    """Assumed: the bar of `benchmarks/gpu.py`."""
    decode_share: float = 0.5
    """Assumed: of the memory's bandwidth, while the batch is full."""
    host_bytes_per_second: float = 100e9
    """Assumed: what an optimiser in the memory of a server reaches of its bandwidth."""
    link_bytes_per_second: float = 25e9
    """Assumed: of PCIe 4.0 with 16 lanes, in one direction."""


A100 = Gpu("A100 80 GB", 312e12, 2.0e12, 80)
H200 = Gpu("H200", 989e12, 4.8e12, 141)
CORE = Gpu("one core of the log's first machine", 84e9, 5.0e9, 8, mfu=0.45, decode_share=0.5)
"""To hold the formulas to measurements. 84 GFLOP/s is its peak, which matrix products reach; they are 37 % of a step,
and with those of attention, a fifth as many, the share is 0.45. Half of decoding is attention over the cache, 20 MB a
layer and 100 rows, which at the measured speed is 5.0 GB/s."""


@dataclass(frozen=True)
class Job:
    """A run of t iterations. `parameters` of the student; tokens are of a row, an attempt, an expert's call."""

    parameters: float = 7e9
    layers: int = 32
    width: int = 4096
    kv_bytes_per_token: float = 2 * 32 * 4096 * 2
    prompts: int = 1000
    samples: int = 1
    iterations: int = 3
    rows_per_prompt: float = 2.3
    """Training rows of an iteration, latest buffer only; with `replay: all` they grow with the iterations."""
    epochs: int = 4
    row_tokens: int = 700
    attempt_tokens: int = 400
    calls_per_prompt: float = 2.2
    """FBK and IMP of a wrong attempt, and the share that needs a second round."""
    call_prompt_tokens: int = 1800
    call_answer_tokens: int = 250
    usd_per_million_in: float = 0.15
    usd_per_million_out: float = 0.60
    latency_seconds: float = 4.0
    in_flight: int = 64
    gpus: int = 1
    lora: bool = False
    offload: bool = False
    """ZeRO-2 with the optimiser's state in the host's memory, on one GPU."""
    batch_rows: int = 4
    """Of an optimiser step."""


def training_seconds(job: Job, gpu: Gpu, iteration: int = 1) -> float:
    """One iteration's, all iterations' buffer (`replay: all`).

    An optimiser on the host reads gradients, weights and two moments and writes all but the gradients, 28 bytes a
    parameter, and bf16 gradients and weights cross the link.
    """
    rows = job.prompts * job.rows_per_prompt * iteration * job.epochs
    flops = (4 if job.lora else 6) * job.parameters + 6 * job.layers * job.width * job.row_tokens
    seconds = rows * job.row_tokens * flops / (gpu.peak_flops * gpu.mfu * job.gpus)
    if job.offload:
        step = job.parameters * (28 / gpu.host_bytes_per_second + 4 / gpu.link_bytes_per_second)
        seconds += rows / job.batch_rows * step
    return seconds


def generation_seconds(job: Job, gpu: Gpu) -> float:
    """One iteration's: every step of decoding reads the weights once and each row's keys and values."""
    free = gpu.memory_gib * GIB * 0.9 - 2 * job.parameters
    context = job.row_tokens
    batch = max(1, min(job.prompts * job.samples / job.gpus, free // (job.kv_bytes_per_token * context), 256))
    step_bytes = 2 * job.parameters + batch * job.kv_bytes_per_token * context / 2
    tokens_per_second = batch * gpu.bytes_per_second * gpu.decode_share / step_bytes
    return job.prompts * job.samples * job.attempt_tokens / (tokens_per_second * job.gpus)


def expert_seconds(job: Job, constants: Constants = Constants()) -> float:
    """One iteration's: two rounds of the latency at least, since IMP needs FBK's answer."""
    calls = job.prompts * job.samples * job.calls_per_prompt
    rate = min(job.in_flight / job.latency_seconds, constants.client_calls_per_second)
    return max(calls / rate, 2 * job.latency_seconds)


def expert_usd(job: Job) -> float:
    """One iteration's."""
    calls = job.prompts * job.samples * job.calls_per_prompt
    tokens = job.call_prompt_tokens * job.usd_per_million_in + job.call_answer_tokens * job.usd_per_million_out
    return calls * tokens / 1e6


def training_gib(job: Job, rank_share: int = 1, micro_tokens: int = 4096) -> float:
    """Of one GPU: bf16 weights and gradients, fp32 master weights and two moments (a ZeRO-2 rank has 1/rank_share of
    all but the weights), activations of a micro-batch with gradient checkpointing. LoRA: the weights and 1 % of the
    rest. With the optimiser on the host: the weights and a bucket of 500 million gradients, DeepSpeed's default."""
    rest = (2 + 12) * job.parameters * (0.01 if job.lora else 1.0) / rank_share
    if job.offload:
        rest = 2 * min(5e8, job.parameters)
    activations = micro_tokens * job.width * (2 * job.layers + 34)
    return (2 * job.parameters + rest + activations) / GIB


def host_gib(job: Job) -> float:
    """Of the host's memory with the optimiser there: fp32 master weights, two moments and gradients."""
    return 16 * job.parameters / GIB if job.offload else 0.0


def storage_gib(job: Job, constants: Constants = Constants()) -> float:
    """Of a finished run: fp32 students of every iteration and of the comparison, rows, answers; while a training runs,
    12 bytes a parameter more."""
    students = (2 * job.iterations + 1) * 4 * job.parameters
    trajectories = job.prompts * job.samples * job.iterations
    # Trajectories are written by generate, by FBK, and by IMP and FBK of one round.
    rows = trajectories * (4 * constants.trajectory_bytes + 2 * constants.triplet_bytes)
    rows += trajectories * job.rows_per_prompt * constants.row_bytes
    answers = job.prompts * job.samples * job.iterations * job.calls_per_prompt * constants.answer_bytes
    return (students + rows + answers) / GIB


def editing_gib(trajectories: int, constants: Constants = Constants()) -> float:
    """Of the stages `feedback` and `improve` at least, which hold a buffer's trajectories as Python objects."""
    return trajectories * constants.trajectory_object_bytes / GIB


def task_runs(iterations: int, rounds: int, shards: int = 1) -> int:
    """Of a run: questions, iteration 0, and of each iteration generate, FBK, rounds of IMP and FBK, filter, balance,
    train, evaluate; the comparison's trainings and evaluation; the report."""
    generate = shards + (shards > 1)
    return 1 + 3 + iterations * (generate + 1 + 2 * rounds + 4) + iterations + 1 + 1


SIZES = {
    "Qwen2.5 0.5B": Job(0.49e9, 24, 896, 2 * 24 * 128 * 2),
    "Llama 3.2 1B": Job(1.24e9, 16, 2048, 2 * 16 * 512 * 2),
    "LLaMA 7B": Job(6.7e9, 32, 4096, 2 * 32 * 4096 * 2),
    "LLaMA 7B, ZeRO-2 offload": Job(6.7e9, 32, 4096, 2 * 32 * 4096 * 2, offload=True),
    "LLaMA 7B, LoRA": Job(6.7e9, 32, 4096, 2 * 32 * 4096 * 2, lora=True),
}


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table_by_size() -> str:
    """Markdown: 1,000 prompts, t = 3, one A100."""
    lines = ["| student | training, 3 iterations | generation | expert | memory | ZeRO-2 on 4 | storage |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name, job in SIZES.items():
        train = sum(training_seconds(job, A100, i) for i in (1, 2, 3))
        host = f", host {host_gib(job):.0f} GiB" if job.offload else ""
        cells = [
            _time(train), _time(3 * generation_seconds(job, A100)),
            f"{_time(3 * expert_seconds(job))}, ${3 * expert_usd(job):.2f}",
            f"{training_gib(job):.0f} GiB{host}",
            "-" if job.lora or job.offload else f"{training_gib(job, 4):.0f} GiB",
            f"{storage_gib(job):.0f} GiB",
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def speeds_on_a_core(rows: int = 160, prompts: int = 500) -> tuple[float, float]:
    """(trained, written tokens a second) of the built-in student on CORE, as docs/log.md has them measured: rows of 419
    tokens; outputs beside whose tokens, prompts included, 195 stand in the cache on average."""
    tiny = Job(
        976_000, layers=4, width=128, kv_bytes_per_token=2 * 4 * 128 * 4, prompts=rows, rows_per_prompt=1, epochs=1
    )
    trained = replace(tiny, row_tokens=419)
    written = replace(tiny, prompts=prompts, row_tokens=2 * 195)
    return (
        rows * trained.row_tokens / training_seconds(trained, CORE),
        prompts * written.attempt_tokens / generation_seconds(written, CORE),
    )


def table_by_prompts() -> str:
    """Markdown: a 7B student with LoRA, t = 3, by prompts, GPUs and the expert's latency."""
    lines = ["| prompts | GPUs | expert latency, in flight | training | generation | expert | cost |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for prompts, gpus, latency, in_flight in (
        (1_000, 1, 4, 64), (10_000, 1, 4, 64), (10_000, 4, 4, 256), (100_000, 8, 4, 256), (100_000, 8, 20, 256),
    ):  # fmt: skip
        job = replace(SIZES["LLaMA 7B, LoRA"], prompts=prompts, gpus=gpus, latency_seconds=latency, in_flight=in_flight)
        train = sum(training_seconds(job, A100, i) for i in (1, 2, 3))
        cells = [
            f"{prompts:,}", str(gpus), f"{latency} s, {in_flight}", _time(train),
            _time(3 * generation_seconds(job, A100)), _time(3 * expert_seconds(job)), f"${3 * expert_usd(job):,.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def orchestration_seconds(num_task_runs: int, constants: Constants = Constants()) -> float:
    """Of a run."""
    each = max(constants.orchestration_seconds_per_stage, 1 / constants.prefect_task_runs_per_second)
    return constants.orchestration_seconds_per_run + num_task_runs * each


def main() -> None:
    print(table_by_size(), table_by_prompts(), sep="\n\n")
    runs = task_runs(3, 2, 32)
    print("\nthe built-in student on one core: {:,.0f} trained, {:,.0f} written tokens/s".format(*speeds_on_a_core()))
    print(f"\n{runs} task runs with 32 shards, {math.ceil(orchestration_seconds(runs))} s of orchestration")


if __name__ == "__main__":
    main()
