"""A hard limit on what a run may spend, checked before a call is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tripost_core.errors import StoppedError


class BudgetExceededError(StoppedError):
    """The next call could pass the budget; every answer so far is kept."""


class Budget:
    """`limit_usd` of None: no limit, the spending is still counted.

    A call reserves what it costs at worst while it is in flight. One that does not fit waits for those in flight, which
    mostly cost less than they reserved; when none is left and it still does not fit, the budget is used up.
    """

    def __init__(self, limit_usd: float | None, spent_usd: float = 0.0) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = spent_usd
        self.reserved_usd = 0.0
        self.in_flight = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def reserved(self, worst_usd: float) -> AsyncIterator[None]:
        """Room for one call. Raises BudgetExceededError."""
        if self.limit_usd is None:
            yield
            return
        async with self._changed:
            while self.spent_usd + self.reserved_usd + worst_usd > self.limit_usd:
                if self.in_flight == 0:
                    self._changed.notify_all()
                    raise BudgetExceededError(self._message(worst_usd))
                await self._changed.wait()
            self.reserved_usd += worst_usd
            self.in_flight += 1
        try:
            yield
        finally:
            self.reserved_usd -= worst_usd
            self.in_flight -= 1
            await asyncio.shield(self._tell())

    def pay(self, cost_usd: float) -> None:
        self.spent_usd += cost_usd

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _message(self, worst_usd: float) -> str:
        assert self.limit_usd is not None
        return (
            f"The budget of ${self.limit_usd:.2f} (calls.budget_usd) is used up: ${self.spent_usd:.4f} are spent and "
            f"the next call may cost ${worst_usd:.4f}; every answer is kept, and the same command with a higher "
            "budget goes on from here."
        )
