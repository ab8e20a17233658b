"""What a word-sorting attempt has established so far, and how the rest of a right solution goes on from there.

The board knows two things. *What is known*: an ordered row of cells; words in different cells are in order, words in
one cell agree in the first `depth` letters. Looking at a cell's letters splits it. *Where we are*: the open scopes of
step headers, as `(3)` opens `(3.1)`, `(3.2)`, ... Both follow the attempt line by line, so an attempt that takes
another route than the gold rationale is continued on its own route.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tripost_core.problems.word_sorting import (
    final_line,
    group_by_letter,
    look_at,
    rationale_steps,
    show_groups,
    show_order,
    subpart_steps,
)

Header = tuple[int, ...]


def same_words(some: Sequence[str], others: Sequence[str]) -> bool:
    """Equal as multisets."""
    return len(some) == len(others) and sorted(some) == sorted(others)


@dataclass(slots=True)
class Cell:
    """Words whose first `depth` letters agree; `settled` when they need no further sorting."""

    words: list[str]
    depth: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """The letters of `words` at the 0-based `position`, stated in step `header`."""

    words: tuple[str, ...]
    position: int
    header: str


@dataclass(slots=True)
class Scope:
    """The steps `({header}.1)`, `({header}.2)`, ... that sort `words`; the root's header is empty."""

    header: Header
    words: tuple[str, ...]
    last: int = 0
    """Number of the last step; of siblings taken in another order, the highest."""
    skipped: set[int] = field(default_factory=set)
    """Numbers passed over by siblings that were taken in another order."""
    run: list[int] = field(default_factory=list)
    """Numbers of the consecutive steps just before that each opened a subpart."""
    look: Looked | None = None
    """The last look whose grouping belongs into this scope."""
    same_words: bool = False
    """Opened by another look at the words of the scope above: the next step may be the sibling of that look."""
    concluded: bool = False


class Board:
    """See the module's docstring. `words` are those of the question, in its order."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self.cells = [Cell(list(words), 0, settled=False)]
        self.scopes = [Scope((), self.words)]
        self.pending: Looked | None = None
        """A look whose grouping has not been stated yet."""
        self.unconcluded: list[tuple[str, ...]] = []
        """Subparts that were opened and have no conclusion yet."""
        self.order_stated = False
        """A step has put all words in order, so the final response may follow."""
        self.finished = False

    # -- what is known -------------------------------------------------------------------------------------------------

    def cell_of(self, word: str) -> int | None:
        """Place of the word's cell in the row, or None for a word that is not in the question."""
        return next((place for place, cell in enumerate(self.cells) if word in cell.words), None)

    def find_cell(self, words: Sequence[str]) -> Cell | None:
        """The unsettled cell of exactly these words, in any order."""
        return next((cell for cell in self.cells if not cell.settled and same_words(cell.words, words)), None)

    def unsettled(self, within: Sequence[str] | None = None) -> list[Cell]:
        """The cells still to be sorted, ascending; only those whose words are all in `within`, where given."""
        cells = [cell for cell in self.cells if not cell.settled]
        if within is None:
            return cells
        allowed = set(within)
        return [cell for cell in cells if allowed.issuperset(cell.words)]

    def split(self, cell: Cell) -> None:
        """What looking at the cell's next letters establishes."""
        place = next(i for i, other in enumerate(self.cells) if other is cell)
        groups = group_by_letter(cell.words, cell.depth)
        self.cells[place : place + 1] = [Cell(words, cell.depth + 1, len(words) == 1) for _, words in groups]

    def _settle(self, cell: Cell) -> None:
        place = next(i for i, other in enumerate(self.cells) if other is cell)
        self.cells[place : place + 1] = [Cell([word], cell.depth, True) for word in sorted(cell.words)]

    # -- where we are --------------------------------------------------------------------------------------------------

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def scope_of(self, header: Header) -> Scope | None:
        """The open scope that a step with this header belongs to."""
        return next((scope for scope in self.scopes if scope.header == header[:-1]), None)

    def place_step(self, header: Header, opens: bool, fits: bool) -> None:
        """Moves to `header`; `fits` is what `is_next` says of it, `opens`: it looks at the letters of a subpart."""
        if self.scope_of(header) is None:
            self.scopes.append(Scope(header[:-1], self.scope.words))
        while self.scope.header != header[:-1]:
            self.scopes.pop()
        scope, number = self.scope, header[-1]
        scope.run = [*scope.run, number] if opens else []
        scope.skipped |= set(range(scope.last + 1, number)) if opens and fits else set()
        scope.skipped.discard(number)
        scope.last = max(scope.last, number)

    def is_next(self, header: Header, previous: Header | None, opens: bool) -> bool:
        """Whether a step may have this header: the next number of an open scope or the first below `previous`.

        Siblings may be taken in another order, with their own numbers, and the published data's habit of giving
        all siblings the first one's number is accepted (paper section B3.2).
        """
        if previous is not None and header == (*previous, 1):
            return True
        scope = self.scope_of(header)
        if scope is None:
            return False
        number = header[-1]
        if number == scope.last + 1:
            return True
        if opens:
            repeats = bool(scope.run) and number == scope.run[-1]
            ahead = scope.last < number <= scope.last + len(self.unsettled(scope.words))
            grouped = previous is not None and self.pending is None
            return repeats or number in scope.skipped or (ahead and grouped)
        return bool(scope.run) and number == min(scope.run) + len(scope.run)

    def open(self, header: Header, words: Sequence[str], looked: Looked | None) -> None:
        """A look at a subpart's letters: its grouping and conclusion are awaited below `header` or beside it."""
        above = self.scope
        again = bool(above.header) and same_words(above.words, words)
        self.scopes.append(Scope(header, tuple(words), look=looked, same_words=again))
        if looked:
            self.pending = looked
            if again:
                above.look = looked
            else:
                self.unconcluded.append(tuple(sorted(words)))

    def conclude(self, words: Sequence[str]) -> None:
        """The order of `words`, all or those of a scope or of a subpart, has been stated."""
        in_order = tuple(sorted(words))
        self.pending = None
        if in_order in self.unconcluded:
            self.unconcluded.remove(in_order)
        if scope := next((s for s in reversed(self.scopes) if same_words(s.words, in_order)), None):
            scope.concluded = True
        self.order_stated |= same_words(self.words, in_order)

    # -- the rest of a right solution ----------------------------------------------------------------------------------

    def continuation(self) -> Iterator[str]:
        """The lines that lead from here to the right final response. The board must not be used afterwards."""
        if self.scope.header == () and self.scope.last == 0:
            yield from rationale_steps(self.words)
            return
        while self.scopes:
            yield from self._finish(self.scope)
            self.scopes.pop()
        yield final_line(sorted(self.words))

    def _finish(self, scope: Scope) -> Iterator[str]:
        if scope.concluded or (scope.same_words and scope.last == 0):
            return  # the scope above states the grouping and the conclusion
        if looked := self.pending:
            self.pending = None
            groups = group_by_letter(looked.words, looked.position)
            yield f"({self._number(scope)}) We now have: {show_groups(groups)}."
        while cells := self.unsettled(scope.words):
            if len(set(cells[0].words)) == 1:  # a question of one word, whose first letter was not looked at
                self._settle(cells[0])
            elif scope.header and same_words(cells[0].words, scope.words):
                words, depth = cells[0].words, cells[0].depth
                yield f"({self._number(scope)}) {look_at(words, depth)}"
                yield f"({self._number(scope)}) We now have: {show_groups(group_by_letter(words, depth))}."
                self.split(cells[0])
            else:
                yield from subpart_steps(cells[0].words, cells[0].depth, self._number(scope, opens=True))
                self._settle(cells[0])
        yield f"({self._number(scope)}) Hence, we have {show_order(sorted(scope.words))}."
        self.conclude(scope.words)

    def _number(self, scope: Scope, opens: bool = False) -> str:
        """The next header in the scope; for a subpart, numbers that its siblings passed over come first."""
        if opens and scope.skipped:
            number = min(scope.skipped)
            scope.skipped.discard(number)
        else:
            number = scope.last = scope.last + 1
        return ".".join(map(str, (*scope.header, number)))
