"""Work on batches by two threads, some batches ahead of the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")

_AHEAD = 2


def ahead(work: Callable[[Part], Done], parts: Iterable[Part]) -> Iterator[Done]:
    """`work` of every part, in order; of no more than _AHEAD parts is it done before the caller asks for it."""
    under_way: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(2) as threads:
        for part in parts:
            under_way.append(threads.submit(work, part))
            if len(under_way) > _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
