"""Whether a line's claims hold, given what the board knows: the first piece that does not, why, and its class.

Stricter than the research code's verifier (paper section B4.2): every claim must follow from the letters looked at,
also a conclusion that nothing established before it. Free is what does not matter: the order inside a bracket, the
order of siblings, steps that state again what is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from tripost_core.experts.scripted.line_by_line import Complaint
from tripost_core.experts.scripted.word_sorting_board import Board, Looked, same_words
from tripost_core.experts.scripted.word_sorting_lines import Answer, Conclusion, Grouping, Look, Piece
from tripost_core.problems.word_sorting import MAX_LETTERS, letter_at, letter_number, ordinal

ALIKE = 0.7
"""Similarity (difflib's ratio) from which a foreign word counts as a misspelt word of the question."""
_SHOWN = 40
"""Longest foreign word, in characters, that a reason repeats in full."""


def _at(piece: Piece, error_class: str, reason: str) -> Complaint:
    return Complaint(error_class, piece.start, piece.end, reason)


def _across(first: Piece, last: Piece, error_class: str, reason: str) -> Complaint:
    return Complaint(error_class, min(first.start, last.start), max(first.end, last.end), reason)


def quote(word: str) -> str:
    """A word of the attempt as a reason repeats it: short, printable, and unable to imitate a feedback sentence."""
    shown = "".join(c if c.isprintable() else " " for c in word[:_SHOWN]).replace('"', "'").strip()
    return f'"{shown}..."' if len(word) > _SHOWN else f'"{shown}"'


def quotes(words: Sequence[str]) -> str:
    """`"a" and "b"`, `"a", "b" and "c"`; the first four of many."""
    shown = [quote(word) for word in words[:4]]
    if len(words) > 4:
        return f"{', '.join(shown)} and {len(words) - 4} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def foreign_word(piece: Piece, word: str, allowed: Sequence[str], whole: Sequence[str], where: str) -> Complaint:
    """A word that does not belong here: another word of the question, a miscopied or an invented one."""
    if word in whole:
        return _at(piece, "invented_word", f"{quote(word)} does not belong to {where}")
    if len(word) <= 2 * MAX_LETTERS:
        alike = {w: SequenceMatcher(None, w, word, autojunk=False).ratio() for w in (*allowed, *whole)}
        nearest = max(alike, key=alike.__getitem__)
        if alike[nearest] >= ALIKE:
            return _at(piece, "copy_error", f"{quote(word)} is a miscopied {quote(nearest)}")
    return _at(piece, "invented_word", f"{quote(word)} is not one of the words to be sorted")


def first_bad_word(
    pieces: Sequence[Piece], allowed: Sequence[str], whole: Sequence[str], where: str
) -> Complaint | None:
    """The first word that is not among `allowed`, or comes more often than there."""
    left = Counter(allowed)
    for piece in pieces:
        for word in piece.words:
            if word not in left:
                return foreign_word(piece, word, allowed, whole, where)
            left[word] -= 1
            if left[word] < 0:
                return _at(piece, "duplicated_word", f"{quote(word)} has already been listed in this step")
    return None


def missing_words(pieces: Sequence[Piece], wanted: Sequence[str]) -> list[str]:
    """The words of `wanted` that no piece has, in its order."""
    listed = [word for piece in pieces for word in piece.words]
    if same_words(listed, wanted):
        return []
    left = Counter(listed)
    missing = []
    for word in wanted:
        left[word] -= 1
        if left[word] < 0:
            missing.append(word)
    return missing


def _around(pieces: Sequence[Piece], place: int) -> tuple[Piece, Piece]:
    """The neighbours of a gap before `pieces[place]`; at an end, the two pieces there."""
    place = min(max(place, 1), max(len(pieces) - 1, 1))
    return pieces[place - 1], pieces[min(place, len(pieces) - 1)]


# -- looks -------------------------------------------------------------------------------------------------------------


def check_look(look: Look, board: Board, earlier: Sequence[Looked]) -> tuple[Complaint | None, Sequence[str]]:
    """The first wrong part of a look at letters, and the words that should be looked at."""
    cell = board.find_cell(look.subpart.words) if look.subpart else None
    if look.subpart is None:
        words: Sequence[str] = board.words
        depth = 0 if len(board.cells) == 1 and not board.cells[0].depth else None
    elif cell is None:
        return _check_subpart(look, look.subpart, board, earlier)
    else:
        words, depth = cell.words, cell.depth
    if depth is None and look.position == 0:
        reason = "the first letters of all the words have already been looked at"
        return Complaint("repeated_letter", *look.phrase, reason), words
    if depth is None:
        return Complaint("unparsable_step", *look.phrase, "it does not say which subpart is to be sorted"), words
    if look.position > depth:
        reason = f"the {ordinal(depth)} letters of these words have not been looked at yet"
        return Complaint("skipped_letter", *look.phrase, reason), words
    if look.position < depth:
        reason = f"the {ordinal(look.position)} letters of these words have already been looked at"
        return Complaint("repeated_letter", *look.phrase, reason), words
    return _check_items(look.pieces, words, depth, board.words), words


def _check_subpart(
    look: Look, subpart: Piece, board: Board, earlier: Sequence[Looked]
) -> tuple[Complaint, Sequence[str]]:
    """Why no unknown subpart has these words; the words are those of the subpart that was meant."""
    known = [cell for word in subpart.words if (cell := board.cell_of(word)) is not None]
    meant = board.cells[max(known, key=known.count)] if known else None
    words = meant.words if meant else board.words
    if complaint := first_bad_word((subpart,), board.words, board.words, "this list"):
        return complaint, words
    assert meant is not None
    if any(same_words(done.words, subpart.words) and done.position == look.position for done in earlier):
        reason = f"the {ordinal(look.position)} letters of these words have already been looked at"
        return _at(subpart, "repeated_letter", reason), words
    if meant.settled or len(set(known)) == len(known) > 1:
        return _at(subpart, "wrong_subpart", "the order of these words is already known"), words
    if missing := [] if len(set(known)) > 1 else missing_words((subpart,), words):
        return _at(subpart, "lost_word", f"this unknown subpart also has {quotes(missing)}"), words
    return _at(subpart, "wrong_subpart", "these words are not together in one unknown subpart"), words


def _check_items(
    pieces: Sequence[Piece], words: Sequence[str], position: int, whole: Sequence[str]
) -> Complaint | None:
    left = Counter(words)
    for piece in pieces:
        word = piece.words[0]
        if word not in left:
            return foreign_word(piece, word, words, whole, "the subpart to be sorted")
        left[word] -= 1
        if left[word] < 0:
            return _at(piece, "duplicated_word", f"{quote(word)} has already been listed in this step")
        letter = letter_at(word, position)
        if piece.letter != letter:
            if not letter:
                reason = f"{quote(word)} has no {ordinal(position)} letter"
            else:
                reason = f"the {ordinal(position)} letter of {quote(word)} is {quote(letter)}"
            return _at(piece, "wrong_letter", reason)
        if piece.number != letter_number(letter):
            reason = f"the letter {quote(letter)} has the number {letter_number(letter)}"
            return _at(piece, "wrong_number", reason)
    if missing := missing_words(pieces, words):
        before = list(words).index(missing[0])
        place = next((i for i, p in enumerate(pieces) if p.words[0] in words[before + 1 :]), len(pieces))
        return _across(*_around(pieces, place), "lost_word", f"the letter of {quotes(missing)} is missing")
    return None


# -- groupings ---------------------------------------------------------------------------------------------------------


def check_grouping(grouping: Grouping, looked: Looked, board: Board) -> Complaint | None:
    """The first wrong part of a grouping by the letters of `looked`."""
    pieces = grouping.pieces
    number_of = {word: letter_number(letter_at(word, looked.position)) for word in looked.words}
    left = Counter(looked.words)
    for place, piece in enumerate(pieces):
        for word in piece.words:
            if word not in number_of:
                return foreign_word(piece, word, looked.words, board.words, f"the words of step ({looked.header})")
            left[word] -= 1
            if left[word] < 0:
                return _at(piece, "duplicated_word", f"{quote(word)} has already been listed in this step")
        if complaint := _check_number(piece, number_of, looked):
            return complaint
        if complaint := _check_bracket(piece, number_of, board):
            return complaint
        if place and (complaint := _check_neighbours(pieces[place - 1], piece, board)):
            return complaint
    if missing := missing_words(pieces, looked.words):
        number = number_of[missing[0]]
        reason = f"{quotes(missing)} of step ({looked.header}) got lost"
        if home := next((piece for piece in pieces if piece.number == number), None):
            return _at(home, "lost_word", reason)
        place = next((i for i, piece in enumerate(pieces) if piece.number > number), len(pieces))
        return _across(*_around(pieces, place), "lost_word", reason)
    return None


def _check_number(piece: Piece, number_of: dict[str, int], looked: Looked) -> Complaint | None:
    stranger = next((word for word in piece.words if number_of[word] != piece.number), None)
    if stranger is None:
        return None
    reason = f"according to step ({looked.header}) the number of {quote(stranger)} is {number_of[stranger]}"
    misplaced = piece.number in number_of.values()
    return _at(piece, "wrong_group" if misplaced else "wrong_number", reason)


def _check_bracket(piece: Piece, number_of: dict[str, int], board: Board) -> Complaint | None:
    if not piece.bracketed:
        return None
    if len(piece.words) == 1:
        return _at(piece, "wrong_group", f"{quote(piece.words[0])} stands alone, so nothing is unknown about it")
    if piece.inner.strip("?"):
        for a, b in pairwise(piece.words):
            if a != b and not _before(a, b, board):
                return _at(piece, "wrong_order", f"it is not known that {quote(a)} comes before {quote(b)}")
    return None


def _check_neighbours(before: Piece, piece: Piece, board: Board) -> Complaint | None:
    if piece.relation != "<":
        what = "reads from larger to smaller" if piece.relation == ">" else "leaves open an order that is known"
        error_class = "wrong_order" if piece.relation == ">" else "incomplete_sort"
        return _across(before, piece, error_class, f"this part {what}")
    if piece.number < before.number:
        reason = f"({piece.number}) is smaller than ({before.number}), so it comes first"
        return _across(before, piece, "wrong_order", reason)
    if piece.number == before.number:
        a, b = before.words[-1], piece.words[0]
        if a != b and not all(_before(x, y, board) for x in before.words for y in piece.words):
            reason = f"{quote(a)} and {quote(b)} have the same number, so their order is still unknown"
            return _across(before, piece, "wrong_group", reason)
    return None


def _before(a: str, b: str, board: Board) -> bool:
    """Known to come before; copies of one word may stand in any order."""
    first, second = board.cell_of(a), board.cell_of(b)
    return first is not None and second is not None and first < second


# -- conclusions and the final response --------------------------------------------------------------------------------


def check_conclusion(conclusion: Conclusion, words: Sequence[str], board: Board) -> Complaint | None:
    """The first wrong part of a conclusion that should put `words` in order."""
    pieces = conclusion.pieces
    where = "the words to be sorted" if len(words) == len(board.words) else "the subpart that was sorted"
    left = Counter(words)
    for place, piece in enumerate(pieces):
        word = piece.words[0]
        if word not in left:
            return foreign_word(piece, word, words, board.words, where)
        left[word] -= 1
        if left[word] < 0:
            reason = f"{quote(word)} has already been listed in this step"
            return _across(pieces[place - 1], piece, "duplicated_word", reason)
        if place and (complaint := _check_pair(pieces[place - 1], piece, board)):
            return complaint
    if missing := missing_words(pieces, sorted(words)):
        place = next((i for i, piece in enumerate(pieces) if piece.words[0] > missing[0]), len(pieces))
        return _across(*_around(pieces, place), "lost_word", f"{quotes(missing)} got lost")
    if not all(cell.settled for cell in board.cells if set(cell.words) <= set(words)):
        return _across(pieces[0], pieces[-1], "missing_step", "no letters have been looked at yet")
    return None


def _check_pair(before: Piece, piece: Piece, board: Board) -> Complaint | None:
    a, b = before.words[0], piece.words[0]
    if piece.relation == "?":
        reason = f"a conclusion must not leave the order of {quote(a)} and {quote(b)} open"
        return _across(before, piece, "incomplete_sort", reason)
    if piece.relation == ">":
        return _across(before, piece, "wrong_order", "this part reads from larger to smaller")
    if a == b or _before(a, b, board):
        return None
    if _before(b, a, board):
        return _across(before, piece, "wrong_order", f"the steps before put {quote(b)} before {quote(a)}")
    reason = f"no step has worked out yet which of {quote(a)} and {quote(b)} comes first"
    return _across(before, piece, "missing_step", reason)


def check_answer(answer: Answer, board: Board) -> Complaint | None:
    """The final response repeats the order that the step before it has stated."""
    given = [piece.words[0] for piece in answer.pieces]
    whole = (answer.phrase[0], answer.pieces[-1].end if answer.pieces else answer.phrase[1])
    if not board.order_stated:
        return Complaint("missing_step", *whole, "no step before it puts all the words in order")
    expected = sorted(board.words)
    if given == expected:
        return None
    if not given:
        return Complaint("inconsistent_final", *whole, "it names no words")
    place = next((i for i, (a, b) in enumerate(zip(given, expected, strict=False)) if a != b), len(expected))
    place = min(place, len(given))
    if place == len(given):
        reason = f"it leaves out {quote(expected[place])}, which the step before it has here"
    elif place == len(expected):
        reason = "the step before it has no further words"
    else:
        reason = f"the step before it has {quote(expected[place])} here"
    first, last = answer.pieces[max(place - 1, 0)], answer.pieces[min(place + 1, len(given) - 1)]
    return _across(first, last, "inconsistent_final", reason)
