"""Whether a line's claims follow, given what the lines before it have established: the first part that does not, why,
and its class (paper section B5 lists what the LLM verifier looks for).

Everything is decided by sets of orders (`problems.ordering_solver`): a pattern follows from steps if it fits every
order that they leave. Any route passes, in any order and in any wording of the ends, also steps that add nothing.
"""

from __future__ import annotations

from collections import Counter

from tripost_core.experts.scripted.line_by_line import Complaint
from tripost_core.experts.scripted.logical_deduction_board import (
    Board,
    Part,
    listed,
    parts_of,
    shown,
    tight,
)
from tripost_core.experts.scripted.logical_deduction_lines import (
    PLACES,
    Answer,
    Combination,
    Conclusion,
    Drawing,
    Statement,
    Total,
)
from tripost_core.problems.logical_rationale import Ordering
from tripost_core.problems.logical_statements import Claim, place_pattern, read_claim
from tripost_core.problems.options import LETTERS
from tripost_core.problems.ordering_patterns import Pattern
from tripost_core.problems.ordering_solver import orders_of
from tripost_core.problems.ordering_words import Pole, Position

# -- what every pattern has to be --------------------------------------------------------------------------------------


def _check_drawing(drawing: Drawing, body: str, board: Board) -> Complaint | None:
    """Its labels and objects, whatever it is to say."""
    if drawing.bad_label is not None:
        ends = " to ".join(board.story.labels)
        reason = f"this order has no end {shown(body[slice(*drawing.bad_label)])}, it goes from {ends}"
        return Complaint("wrong_label", *drawing.bad_label, reason)
    if drawing.foreign:
        span = drawing.foreign[0]
        return Complaint(
            "invented_object", *span, f"the question does not have {shown(body[slice(*span)])} among its objects"
        )
    for i, thing in enumerate(drawing.things):
        if thing in drawing.things[:i]:
            earlier = drawing.thing_spans[drawing.things.index(thing)]
            reason = f"{board.name(thing)} stands in this order twice"
            return Complaint("duplicated_object", earlier.start, drawing.thing_spans[i].end, reason)
    if not drawing.things:
        return Complaint("unparsable_step", *tight(drawing.span, body), "it names no object")
    pattern, n = Pattern(drawing.things, drawing.gaps), board.story.n
    if pattern.least > n:
        reason = f"there are {n} objects, but this order has {pattern.least} places"
        return Complaint("wrong_number", *tight(drawing.span, body), reason)
    if not any(gap.open for gap in pattern.gaps) and pattern.least < n:
        lost = [board.name(thing) for thing in range(n) if thing not in drawing.things]
        if all(gap.least == 0 for gap in pattern.gaps):
            return Complaint("lost_object", *tight(drawing.span, body), f"this order leaves out {listed(lost)}")
        reason = f"there are {n} objects, but this order has {pattern.least} places"
        return Complaint("wrong_number", *tight(drawing.span, body), reason)
    return None


def _turn_of(drawing: Drawing, board: Board) -> int:
    return drawing.turn or board.turn


# -- statements --------------------------------------------------------------------------------------------------------


def check_statement(line: Statement, body: str, board: Board) -> tuple[Complaint | None, int | None]:
    """(what is wrong, the number of the statement that the line takes up or None)."""
    number, claim = _meant(line, board)
    if claim is None:
        nearest = max(board.story.statements, key=lambda s: _likeness(s.text, line.text), default=None)
        reason = "the question does not say this"
        if nearest is not None and _likeness(nearest.text, line.text) > 0.6:
            reason += f", but that {_lower(nearest.text)}"
        return Complaint("miscopied_statement", *line.span, reason), None
    complaint = _check_drawing(line.drawing, body, board)
    if complaint is None:
        complaint = _check_meaning(line.drawing, claim, body, board)
    return complaint, number


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if text.startswith(("The ", "A ", "An ")) else text


def _likeness(a: str, b: str) -> float:
    """Share of the words that two sentences have in common."""
    first, second = Counter(a.lower().split()), Counter(b.lower().split())
    return 2 * (first & second).total() / max(1, first.total() + second.total())


def _meant(line: Statement, board: Board) -> tuple[int | None, Claim | None]:
    """The statement of the question that the sentence repeats, or another sentence that follows from one of them."""
    statements = board.story.statements
    text = _plain(line.text)
    for number, statement in enumerate(statements):
        if _plain(statement.text) == text:
            return number, statement
    claim = read_claim(board.story, line.text) if len(line.text) <= 300 else None
    if claim is None:
        return None, None
    n = board.story.n
    said = claim.pattern.orders(n)
    for number, statement in enumerate(statements):
        if statement.pattern.orders(n) == said:
            return number, claim
    if any(not statement.pattern.orders(n) & ~said for statement in statements):
        return None, claim
    return None, None


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _check_meaning(drawing: Drawing, claim: Claim, body: str, board: Board) -> Complaint | None:
    """Whether the pattern says what the sentence says, no less and no more."""
    n, turn = board.story.n, _turn_of(drawing, board)
    pattern, meant = drawing.pattern(turn), claim.pattern.orders(n)
    orders = pattern.orders(n)
    if orders == meant:
        return None
    if orders and not meant & ~orders:
        start, end = tight(drawing.span, body)
        return Complaint("incomplete_pattern", start, end, f"it does not show {_missing(claim, board)}")
    wrong = next((part for part in parts_of(drawing, turn) if meant & ~part.pattern.orders(n)), None)
    assert wrong is not None
    start, end = tight(wrong.span, body)
    if len(claim.things) == 2:
        first, second = (board.name(thing) for thing in claim.pattern.things)
        reason = f"it says only that {first} comes before {second}, counted from {board.story.labels[0]}"
        if meant & wrong.pattern.orders(n) == 0:
            reason = f"{first} comes before {second}, counted from {board.story.labels[0]}"
    else:
        reason = f"{board.name(claim.things[0])} {_place_of(claim.pattern, board)}"
    return Complaint("misread_statement", start, end, reason)


def _missing(claim: Claim, board: Board) -> str:
    if len(claim.things) == 1:
        return f"that {board.name(claim.things[0])} {_place_of(claim.pattern, board)}"
    first, second = (board.name(thing) for thing in claim.pattern.things)
    return f"that {first} comes before {second}, counted from {board.story.labels[0]}"


def _place_of(pattern: Pattern, board: Board) -> str:
    """`has 1 object before it, counted from left`."""
    from_end = pattern.gaps[0].open
    label = board.story.labels[1 if from_end else 0]
    return f"has {_objects(pattern.gaps[-1 if from_end else 0].least)} before it, counted from {label}"


def _objects(count: int) -> str:
    return "no object" if count == 0 else "1 object" if count == 1 else f"{count} objects"


# -- the list of all objects -------------------------------------------------------------------------------------------


def check_total(line: Total, body: str, board: Board) -> Complaint | None:
    story = board.story
    if line.number is not None and line.number != story.n:
        return Complaint("wrong_number", *line.number_span, f"the question lists {story.n} objects")
    found: set[int] = set()
    for span in line.items:
        thing = board.names.one(body[slice(*span)])
        if thing is None:
            return Complaint(
                "invented_object", *span, f"the question does not have {shown(body[slice(*span)])} among its objects"
            )
        if thing in found:
            return Complaint("duplicated_object", *span, f"{board.name(thing)} has already been listed")
        found.add(thing)
    lost = [board.name(thing) for thing in range(story.n) if thing not in found]
    if lost:
        return Complaint("lost_object", *line.span, f"{listed(lost)} got lost")
    return None


# -- combinations ------------------------------------------------------------------------------------------------------


def check_combination(line: Combination, body: str, board: Board) -> tuple[Complaint | None, int]:
    """(what is wrong, the orders that the named steps leave)."""
    for header, span in line.grounds:
        if header not in board.grounds:
            return Complaint("wrong_reference", *span, f"no step ({header}) before it says anything of the order"), 0
    headers = [header for header, _ in line.grounds] or list(board.grounds)
    if not headers:
        return Complaint("missing_step", *line.grounds_span, "no step before it says anything of the order"), 0
    left = orders_of(board.story.n).all
    for header in headers:
        left &= board.grounds[header]
    if complaint := _check_drawing(line.drawing, body, board):
        return complaint, left
    return _check_following(line, body, board, headers, left), left


def _check_following(line: Combination, body: str, board: Board, headers: list[str], left: int) -> Complaint | None:
    n, turn = board.story.n, _turn_of(line.drawing, board)
    if not left & ~line.drawing.pattern(turn).orders(n):
        return None
    parts = [part for part in parts_of(line.drawing, turn) if left & ~part.pattern.orders(n)]
    assert parts, "a pattern says no more than its parts"
    contradicted = [part for part in parts if not left & part.pattern.orders(n)]
    reversed_pairs = (part for part in contradicted if _is_reversed(part, left, turn, board))
    wrong = next(reversed_pairs, (contradicted or parts)[0])
    start, end = tight(wrong.span, body)
    cited = list(dict.fromkeys(headers))
    named = f"step{'s' * (len(cited) > 1)} {listed([f'({header})' for header in cited])}"
    if contradicted:
        return Complaint(*_contradicted(wrong, left, turn, board, named, start, end))
    if len(line.grounds) and not board.all_told & ~line.drawing.pattern(turn).orders(n):
        needed = next((h for h in board.grounds if not left & board.grounds[h] & ~wrong.pattern.orders(n)), None)
        reason = f"{named} alone {'do' if len(cited) > 1 else 'does'} not tell this"
        reason += f", it takes step ({needed}) too" if needed else ""
        return Complaint("wrong_reference", *line.grounds_span, reason)
    return Complaint("unsupported_step", start, end, f"{named} {_left_open(wrong, left, turn, board)}")


def _is_reversed(part: Part, left: int, turn: int, board: Board) -> bool:
    if part.first is None or part.second is None:
        return False
    return not left & ~orders_of(board.story.n).before(*_in_story(part.second, part.first, turn))


def _in_story(first: int, second: int, turn: int) -> tuple[int, int]:
    """Two things as they are written, in the story's direction."""
    return (first, second) if turn > 0 else (second, first)


def _contradicted(
    part: Part, left: int, turn: int, board: Board, named: str, start: int, end: int
) -> tuple[str, int, int, str]:
    """Class, span and reason where the named steps rule a part out."""
    world = orders_of(board.story.n)
    if part.first is not None and part.second is not None:
        nearest, farthest = sorted(turn * d for d in world.distances(left, part.first, part.second))
        first, second = board.name(part.first), board.name(part.second)
        if farthest < 0:
            if turn < 0:  # reasons count from the story's first end, however the pattern is turned
                first, second = second, first
            return "wrong_order", start, end, f"by {named} {second} comes before {first}"
        between = _span_of_numbers(max(nearest, 1) - 1, farthest - 1)
        return "wrong_place", start, end, f"by {named} there {between} between {first} and {second}"
    thing = part.second if part.first is None else part.first
    assert thing is not None
    places = world.places(left, thing)
    from_start = (part.first is None) == (turn > 0)
    counts = sorted(place if from_start else board.story.n - 1 - place for place in places)
    label = board.story.labels[0 if from_start else 1]
    between = _span_of_numbers(counts[0], counts[-1])
    return "wrong_place", start, end, f"by {named} there {between} before {board.name(thing)}, counted from {label}"


def _span_of_numbers(least: int, most: int) -> str:
    """`is no object`, `are 2 objects`, `are 1 to 3 objects`."""
    if least == most:
        return f"{'is' if least < 2 else 'are'} {_objects(least)}"
    return f"are {least} to {most} objects"


def _left_open(part: Part, left: int, turn: int, board: Board) -> str:
    world = orders_of(board.story.n)
    if part.first is not None and part.second is not None:
        first, second = board.name(part.first), board.name(part.second)
        nearest, _ = sorted(turn * d for d in world.distances(left, part.first, part.second))
        if nearest < 0:
            return f"leave open whether {first} or {second} comes first"
        return f"leave open how many objects are between {first} and {second}"
    thing = part.second if part.first is None else part.first
    assert thing is not None
    from_start = (part.first is None) == (turn > 0)
    label = board.story.labels[0 if from_start else 1]
    return f"leave open how many objects are before {board.name(thing)}, counted from {label}"


def take_ordering(line: Combination, header: str, board: Board) -> None:
    """Writes a sound ordering on the board."""
    turn = _turn_of(line.drawing, board)
    pattern = line.drawing.pattern(turn)
    counted = {o.header for o in board.known.orderings if o.counted} | {board.known.total}
    is_counted = not line.grounds or any(ground in counted for ground, _ in line.grounds)
    orders = pattern.orders(board.story.n)
    board.known.orderings.append(Ordering(header, pattern, orders, is_counted))
    board.grounds[header] = orders
    board.turn = turn


# -- conclusion and final response -------------------------------------------------------------------------------------


def check_conclusion(line: Conclusion, body: str, board: Board, before_final: bool) -> Complaint | None:
    """What is read off the ordering: true, and before the final response what is asked."""
    story, best = board.story, board.known.best
    pattern = place_pattern(story, line.thing, _in_story_words(line.position, board))
    if pattern is None:
        return Complaint("unparsable_step", *line.span, "this order has no such place")
    if best is None:
        return Complaint("missing_step", *line.span, "no ordering has been worked out before it")
    said = pattern.orders(story.n)
    if best.orders & ~said:
        if best.orders & said:
            return Complaint("unsupported_step", *line.span, f"step ({best.header}) leaves open which one this is")
        there = [t for t in range(story.n) if not best.orders & ~_same_place(pattern, t).orders(story.n)]
        instead = f"{board.name(there[0])} is in this place" if there else f"{board.name(line.thing)} is not there"
        return Complaint("misread_ordering", *line.span, f"in step ({best.header}) {instead}")
    if said == story.options[story.answer].pattern.orders(story.n):
        board.known.concluded = True
        return None
    if before_final and not board.known.concluded:
        asked = story.options[story.answer].predicate
        return Complaint("wrong_question", *line.span, f"the question is which one {asked}")
    return None


def _in_story_words(position: Position, board: Board) -> Position:
    """`leftmost` in an order from oldest to newest is the end that the last pattern has on its left."""
    pole, story = position.pole, board.story
    if pole is None or story.sign(pole) is not None or pole.axis not in PLACES:
        return position
    axis, turn = story.axes[0]
    return Position(Pole(axis, pole.sign * board.turn * turn, pole.label), position.rank)


def _same_place(pattern: Pattern, thing: int) -> Pattern:
    return Pattern((thing,), pattern.gaps)


def check_answer(line: Answer, board: Board) -> Complaint | None:
    """The final response repeats what has been found, and its letter is that of the option which says so."""
    story, known = board.story, board.known
    answer = story.options[story.answer]
    if not known.concluded and (known.best is None or known.best.orders & ~answer.pattern.orders(story.n)):
        span = line.sentence_span if line.sentence else line.letter_span
        return Complaint("missing_step", *span, "no step before it has found the answer")
    if line.sentence:
        claim = read_claim(story, line.sentence) if len(line.sentence) <= 300 else None
        said = claim.pattern.orders(story.n) if claim else None
        if said != answer.pattern.orders(story.n):
            reason = f"the steps before it have found that {_lower(answer.text)}"
            return Complaint("inconsistent_final", *line.sentence_span, reason)
    if line.letter == LETTERS[story.answer]:
        return None
    where = LETTERS.find(line.letter)
    says = f"says that {_lower(story.options[where].text)}" if 0 <= where < len(story.options) else "does not exist"
    return Complaint("wrong_option", *line.letter_span, f"option ({line.letter}) {says}")
