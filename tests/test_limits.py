"""How many calls may be in flight and how fast they may start."""

import asyncio
from email.utils import formatdate
from itertools import pairwise
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.experts.limits import AdaptiveConcurrency, RateLimiter, duration_seconds, retry_after_seconds


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_halves_at_most_once_a_second_and_comes_back():
    clock = Clock()
    gate = AdaptiveConcurrency(64, clock)
    for _ in range(64):
        gate.answered(0.2)
    assert gate.limit == 64
    for _ in range(30):
        gate.busy()
    assert gate.limit == 32
    clock.now = 1.1
    gate.busy()
    assert gate.limit == 16
    for _ in range(13):
        gate.answered(0.2)
    assert 28 < gate.limit < 30, "quickly to nearly where it was busy"
    for _ in range(4):
        gate.answered(0.2)
    assert gate.limit < 31, "then with care"


def test_does_not_grow_while_answers_only_get_slower():
    gate = AdaptiveConcurrency(64, Clock())
    for _ in range(20):
        gate.answered(0.1)
    for _ in range(200):
        gate.answered(1.0)
    limit = gate.limit
    for _ in range(50):
        gate.answered(1.0)
    assert gate.limit == limit


@given(steps=st.lists(st.sampled_from(["answered", "busy", "tick"]), max_size=200), most=st.integers(1, 300))
def test_stays_between_one_and_the_most(steps, most):
    clock = Clock()
    gate = AdaptiveConcurrency(most, clock)
    for step in steps:
        if step == "tick":
            clock.now += 0.7
        elif step == "busy":
            gate.busy()
        else:
            gate.answered(0.1)
        assert 1 <= gate.limit <= most


def test_no_place_is_lost_when_those_who_wait_give_up():
    async def work():
        gate = AdaptiveConcurrency(4, Clock())
        gate.limit = 2.0
        await gate.enter()
        await gate.enter()
        waiting = [asyncio.create_task(gate.enter()) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[3].cancel()
        gate.leave()
        waiting[1].cancel()  # it has just been given the place
        await asyncio.gather(*waiting[:2], waiting[3], return_exceptions=True)
        gate.leave()
        await asyncio.sleep(0)
        await asyncio.gather(waiting[2], waiting[4])
        assert gate.in_flight == 2
        gate.leave()
        gate.leave()
        assert gate.in_flight == 0

    asyncio.run(work())


def test_starts_are_spread_over_the_minute():
    clock = Clock()
    clock.now = 100.0
    limiter = RateLimiter(60, clock)
    delays = [limiter.delay() for _ in range(10)]
    assert delays[0] == 0.0 and delays[-1] == pytest.approx(9.0, abs=1.01)
    assert all(b - a == pytest.approx(1.0, abs=1e-9) for a, b in pairwise(delays[2:]))
    free = RateLimiter(None, clock)
    assert [free.delay() for _ in range(1000)] == [0.0] * 1000
    free.learn(60)
    free.pause(5.0)
    assert free.delay() >= 5.0
    given_ = RateLimiter(30, clock)
    given_.learn(10_000)
    assert given_.per_minute == 30


def test_headers():
    assert retry_after_seconds({"retry-after": "2"}) == 2.0
    assert retry_after_seconds({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_seconds({"retry-after": formatdate(time() + 30, usegmt=True)}) == pytest.approx(30, abs=2)
    assert retry_after_seconds({"retry-after": "soon"}) is None and retry_after_seconds({}) is None
    assert duration_seconds("6m0s") == 360 and duration_seconds("20ms") == pytest.approx(0.02)
    assert duration_seconds("1h2m3.5s") == 3723.5 and duration_seconds("7") == 7 and duration_seconds("soon") is None


@given(st.text(max_size=20))
def test_no_header_breaks_it(text):
    for value in (duration_seconds(text), retry_after_seconds({"retry-after": text})):
        assert value is None or value >= 0
