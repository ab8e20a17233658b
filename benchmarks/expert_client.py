"""The expert client against an endpoint on loopback that misbehaves: speed, cache, faults, budget, memory.

    python benchmarks/expert_client.py [--only throughput,replay,...] [--endpoint SCRIPT]

Every row has its bar; exit code 1 where one is missed. SCRIPT is started as `SCRIPT --port PORT --latency 0.2`; it
has to answer /stats and /reset as tests/misbehaving_endpoint.py does, which is used without it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tripost_core.config import CallsConfig, ExpertConfig
from tripost_core.experts.answers import ANSWERED, Answer, Call
from tripost_core.experts.asking import open_client
from tripost_core.experts.budget import BudgetExceededError
from tripost_core.experts.client import Statistics
from tripost_core.experts.prices import price_of
from tripost_core.experts.response_cache import ResponseCache

PORT = 8917
URL = f"http://127.0.0.1:{PORT}/v1"
MODEL = "gpt-4o-mini"
IN_FLIGHT = 256
SYSTEM = "You check worked solutions and name the first line that is wrong. " * 6


def call(i: int, system: str = SYSTEM, **parts: Any) -> Call:
    messages = ({"role": "system", "content": system}, {"role": "user", "content": f"Question {i}: " + "1 + 1 = " * 30})
    return Call(MODEL, messages, **parts)


def ask(calls: Iterable[Call], cache: str, **settings: Any) -> tuple[list[Answer], Statistics, float]:
    """Answers, statistics and wall-clock seconds of one client's life."""
    expert = ExpertConfig(kind="llm", model=MODEL, base_url=URL)
    config = CallsConfig.model_validate({"cache_dir": cache, "max_in_flight": IN_FLIGHT, **settings})

    async def work() -> tuple[list[Answer], Statistics, float]:
        async with open_client(expert, config, "benchmark", {}) as client:
            started = time.perf_counter()
            try:
                found = await client.complete_all(calls)
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
            return found, client.statistics, time.perf_counter() - started

    return asyncio.run(work())


def tell(path: str, **query: Any) -> dict[str, Any]:
    address = f"http://127.0.0.1:{PORT}/{path}?{urllib.parse.urlencode(query)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.loads(opener.open(address, timeout=10).read())


def reset(**behaviour: Any) -> None:
    tell("reset", **{"latency": 0.2, **behaviour} if ours else behaviour)


ours = True


async def _raw(num_calls: int) -> float:
    import aiohttp

    waiting = iter(range(num_calls))

    async def worker(session: aiohttp.ClientSession) -> None:
        for i in waiting:
            body = {"model": MODEL, "messages": call(i).messages, "temperature": 0.0, "max_tokens": 1024}
            async with session.post(f"{URL}/chat/completions", json=body) as response:
                (await response.json())["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(IN_FLIGHT)))
        return time.perf_counter() - started


Row = tuple[str, str, bool, str]
"""Name, bar, whether it is met, what was measured."""


def throughput(cache: str) -> Row:
    reset()
    ratios, speeds = [], []
    for round_ in range(3):
        raw_seconds = asyncio.run(_raw(3000))
        _, _, seconds = ask((call(i, tag=f"throughput {round_}") for i in range(3000)), cache)
        ratios.append(raw_seconds / seconds)
        speeds.append(f"{3000 / seconds:.0f} of {3000 / raw_seconds:.0f}/s")
    middle = sorted(ratios)[1]
    said = f"{middle:.2f} (median of {', '.join(f'{r:.2f}' for r in ratios)}; {'; '.join(speeds)})"
    return "3,000 calls, 200 ms, 256 in flight, over raw aiohttp", ">= 0.85", middle >= 0.85, said


def replay(cache: str) -> Row:
    reset()
    ask((call(i) for i in range(3000)), cache)
    best = min(ask([call(i) for i in range(3000)], cache)[2] for _ in range(3))
    return "replay from the cache", ">= 20,000/s", 3000 / best >= 20_000, f"{3000 / best:,.0f}/s"


def rate_limited(cache: str) -> Row:
    # Long enough that the last answers' own waits (a call that is refused three times waits three seconds) are a small
    # part: with 3,000 calls they alone are as long as the whole without them.
    num_calls = 20_000
    reset()
    _, _, without = ask((call(i, tag="calm") for i in range(num_calls)), cache)
    reset(p429=0.2)
    found, statistics, seconds = ask((call(i, tag="limited") for i in range(num_calls)), cache)
    lost = sum(a.outcome != "ok" for a in found)
    said = (
        f"{seconds / without:.2f} ({without:.1f} s to {seconds:.1f} s, {statistics.rate_limited} refused, {lost} lost)"
    )
    return "20 % of 20,000 calls 429 with Retry-After 1", "<= 1.3 x", seconds / without <= 1.3 and not lost, said


def killed(cache: str) -> Row:
    reset()
    command = [sys.executable, __file__, "--child", cache]
    rng, kills = random.Random(0), 0
    while kills < 20:
        process = subprocess.Popen(command)
        target = tell("stats").get("answered", 0) + rng.randint(150, 300)
        while tell("stats").get("answered", 0) < target and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    found, _, _ = ask((call(i, tag="killed") for i in range(6000)), cache)
    answered = tell("stats")["answered"]
    repeats, lost = answered - 6000, sum(a.outcome != "ok" for a in found)
    said = f"{lost} lost, {repeats} repeats over {kills} kills ({repeats / kills:.0f} a kill)"
    return "kill -9 in 6,000 calls, 20 times", "0 lost, <= 256 a kill", not lost and repeats <= 256 * kills, said


def child(cache: str) -> None:
    ask((call(i, tag="killed") for i in range(6000)), cache)


def identical(cache: str) -> Row:
    reset()
    ask([call(0)] * 64, cache)
    sent = tell("stats")["requests"]
    return "64 identical concurrent calls", "1 call", sent == 1, f"{sent} call"


def changed(cache: str) -> Row:
    reset()
    numbers = []
    for calls in (
        [call(i) for i in range(2000)],
        [call(i) for i in range(2001)],
        [call(i, system="Another prompt.") for i in range(2000)],
        [call(i, temperature=0.7) for i in range(2000)],
    ):
        before = tell("stats").get("requests", 0)
        ask(calls, cache)
        numbers.append(tell("stats")["requests"] - before)
    said = "; ".join(str(n) for n in numbers[1:])
    return "one row added; prompt changed; temperature changed", "1; 2000; 2000", numbers[1:] == [1, 2000, 2000], said


def refused(cache: str) -> Row:
    reset(bad=0.01)
    found, _, _ = ask((call(i, tag="refused") for i in range(3000)), cache)
    outcomes, sent = Counter(a.outcome for a in found), tell("stats")["sent_400"]
    met = outcomes["bad_request"] == sent and outcomes["ok"] == 3000 - sent
    return "1 % permanent 400", "exactly those, typed", met, f"{sent} refused: {dict(outcomes)}"


def garbage(cache: str) -> Row:
    reset(garbage=0.05, empty=0.05, cut=0.05, drop=0.02)
    found, statistics, _ = ask((call(i, tag="garbage") for i in range(3000)), cache)
    outcomes = Counter(a.outcome for a in found)
    stored = ResponseCache(Path(cache))
    kept = sum(row["answers"] for row in stored.summary() if row["tag"] == "garbage")
    stored.close()
    met = kept == sum(outcomes[name] for name in ANSWERED) == 3000 and outcomes["empty"] > 0 and outcomes["cut_off"] > 0
    said = f"{dict(outcomes)}, {statistics.retries} retries, {kept} kept"
    return "5 % garbage, empty, cut, 2 % dropped", "ends, counts right", met, said


def memory(cache: str) -> Row:
    reset(latency=0.001)
    asked = [sys.executable, __file__, "--queue", cache]
    mebibytes = float(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    return "memory at 100,000 queued calls", "<= 1 GiB", mebibytes <= 1024, f"{mebibytes:.0f} MiB"


def queue(cache: str) -> None:
    """100,000 calls that all wait for an answer at once; prints the peak of the process in MiB."""
    expert = ExpertConfig(kind="llm", model=MODEL, base_url=URL)
    config = CallsConfig(cache_dir=cache, max_in_flight=IN_FLIGHT)

    async def work() -> None:
        async with open_client(expert, config, "benchmark", {}) as client:
            tasks = [asyncio.create_task(client.complete(call(i, tag="queued"))) for i in range(100_000)]
            while client.statistics.calls < 2000:
                await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def budget(cache: str) -> Row:
    reset(latency=0.005)
    price = price_of(MODEL)
    assert price is not None
    # A model whose answers cost a quarter of a cent at worst, so that $1 is a few thousand calls.
    prices = Path(cache) / "prices.yaml"
    prices.write_text(f"{MODEL}: {{input: 1.0, output: 2.0}}\n")
    calls = (call(i, tag="budget", max_tokens=1024) for i in range(100_000))
    try:
        ask(calls, cache, budget_usd=1.0, prices_file=str(prices))
        return "budget of $1.00", "stops", False, "was not reached"
    except BudgetExceededError:
        stored = ResponseCache(Path(cache))
        spent = sum(row["cost_usd"] for row in stored.summary() if row["tag"] == "budget")
        stored.close()
    one = call(0, max_tokens=1024)
    worst = IN_FLIGHT * (one.most_prompt_tokens * 1.0 + 1024 * 2.0) / 1e6
    met = 1.0 - worst <= spent <= 1.0
    return "budget of $1.00", f"$1 less ${worst:.2f} .. $1", met, f"${spent:.4f} spent"


ROWS: dict[str, Callable[[str], Row]] = {
    f.__name__: f
    for f in (throughput, replay, rate_limited, killed, identical, changed, refused, garbage, memory, budget)
}


def main() -> int:
    global ours
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--endpoint")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--queue", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child or arguments.queue:
        child(arguments.child) if arguments.child else queue(arguments.queue)
        return 0
    ours = arguments.endpoint is None
    script = Path(__file__).parents[1] / "tests" / "misbehaving_endpoint.py"
    command = [str(script), str(PORT)] if ours else [arguments.endpoint, "--port", str(PORT), "--latency", "0.2"]
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, env=os.environ)
    missed = 0
    try:
        for _ in range(100):
            try:
                tell("stats")
                break
            except OSError:
                time.sleep(0.1)
        for name in arguments.only.split(","):
            with tempfile.TemporaryDirectory() as cache:
                what, bar, met, measured = ROWS[name](cache)
            missed += not met
            print(f"{'met   ' if met else 'MISSED'} {what:52} {bar:24} {measured}", flush=True)
    finally:
        server.terminate()
        server.wait()
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
