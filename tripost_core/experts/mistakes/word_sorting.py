"""Planted mistakes in word sorting: a student that sorts as the gold rationale does, but errs once.

What follows the mistake is built on it, as a student's work would be: a lost word stays lost, a misread letter puts
its word elsewhere. `lucky` is the exception: there the rest of the rationale stays right.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from tripost_core.experts.base import Planted
from tripost_core.experts.mistakes.word_sorting_student import Fault, Groups, Looking, Order, Student, letter_items
from tripost_core.experts.scripted.word_sorting_checks import ALIKE
from tripost_core.problems.base import Problem
from tripost_core.problems.word_sorting import (
    TASK,
    final_line,
    letter_number,
    question_words,
    rationale_steps,
    word_list,
)
from tripost_core.trajectory import Attempt

_TRIES = 12
"""Random places and mistakes that are tried before a problem counts as having no place for a class."""


# -- faults: what was decided and the student, to what is decided wrongly, or None ------------------------------------


def _wrong_letter(look: Looking, student: Student) -> Looking | None:
    """Another letter of the word, or any other; with that letter's number."""
    i = student.rng.randrange(len(look.items))
    word, letter, _ = look.items[i]
    near = [c for c in word if c != letter]
    if near and student.rng.random() < 0.6:
        wrong = student.rng.choice(near)
    else:
        wrong = student.rng.choice([c for c in string.ascii_lowercase if c != letter])
    return _with_item(look, i, (word, wrong, letter_number(wrong)))


def _wrong_number(look: Looking, student: Student) -> Looking | None:
    i = student.rng.randrange(len(look.items))
    word, letter, number = look.items[i]
    wrong = [n for n in range(1, 27) if n != number]
    near = [n for n in wrong if abs(n - number) <= 3]
    return _with_item(
        look, i, (word, letter, student.rng.choice(near if near and student.rng.random() < 0.5 else wrong))
    )


def _with_item(look: Looking, i: int, *items: tuple[str, str, int]) -> Looking:
    return replace(look, items=(*look.items[:i], *items, *look.items[i + 1 :]))


def _skip_letter(look: Looking, student: Student) -> Looking | None:
    words = [word for word, _, _ in look.items]
    return replace(look, position=look.position + 1, items=letter_items(words, look.position + 1))


def _repeat_letter(look: Looking, student: Student) -> Looking | None:
    """The letters of the step before once more; as they tell nothing, the student then gives up."""
    if look.position == 0 or look.subpart is None:
        return None
    position = look.position - 1
    return replace(look, position=position, items=letter_items(look.subpart, position), last=True)


def _wrong_subpart(look: Looking, student: Student) -> Looking | None:
    """A word from elsewhere in the subpart."""
    others = [word for word in student.words if word not in (look.subpart or ())]
    if look.subpart is None or not others:
        return None
    words = list(look.subpart)
    words.insert(student.rng.randrange(len(words) + 1), student.rng.choice(others))
    return Looking(tuple(words), look.position, letter_items(words, look.position))


def _swap_groups(groups: Groups, student: Student) -> Groups | None:
    places = [i for i in range(len(groups) - 1) if groups[i][0] < groups[i + 1][0]]
    if not places:
        return None
    i = student.rng.choice(places)
    return [*groups[:i], groups[i + 1], groups[i], *groups[i + 2 :]]


def _wrong_group(groups: Groups, student: Student) -> Groups | None:
    """A word under another group's number, or an unknown subpart taken as sorted."""
    unknown = [i for i, (_, words) in enumerate(groups) if len(words) > 1]
    if unknown and student.rng.random() < 0.4:
        i = student.rng.choice(unknown)
        number, words = groups[i]
        return [*groups[:i], *((number, [word]) for word in words), *groups[i + 1 :]]
    if len(groups) < 2:
        return None
    source, target = student.rng.sample(range(len(groups)), 2)
    if groups[source][0] == groups[target][0]:
        return None
    word = student.rng.choice(groups[source][1])
    moved = [(n, [w for w in words if i != source or w != word]) for i, (n, words) in enumerate(groups)]
    moved[target][1].append(word)
    return [(number, words) for number, words in moved if words]


def _swap_words(order: Order, student: Student) -> Order | None:
    words = _swapped(order.words, student.rng)
    return replace(order, words=tuple(words)) if words else None


def _leave_open(order: Order, student: Student) -> Order | None:
    """Two words in a bracket with a question mark; in the final response they then come in the wrong order."""
    places = [i for i in range(len(order.words) - 1) if order.words[i] < order.words[i + 1]]
    if not places:
        return None
    i = student.rng.choice(places)
    words = [*order.words[:i], order.words[i + 1], order.words[i], *order.words[i + 2 :]]
    return Order(tuple(words), i)


def _other_final(order: list[str], student: Student) -> list[str] | None:
    change = student.rng.choice((_swapped, _without_one, _with_double, _with_misspelling))
    return change(order, student.rng)


def _skip(_: bool, student: Student) -> bool:
    return True


# -- faults of words, for every kind of decision -----------------------------------------------------------------------


def _swapped(words: Sequence[str], rng: random.Random) -> list[str] | None:
    places = [i for i in range(len(words) - 1) if words[i] != words[i + 1]]
    if not places:
        return None
    i = rng.choice(places)
    return [*words[:i], words[i + 1], words[i], *words[i + 2 :]]


def _without_one(words: Sequence[str], rng: random.Random) -> list[str] | None:
    i = rng.randrange(len(words))
    return [*words[:i], *words[i + 1 :]] if len(words) > 1 else None


def _with_double(words: Sequence[str], rng: random.Random) -> list[str] | None:
    i = rng.randrange(len(words))
    later = rng.randrange(i + 1, len(words) + 1)
    return [*words[:later], words[i], *words[later:]]


def _with_misspelling(words: Sequence[str], rng: random.Random) -> list[str] | None:
    i = rng.randrange(len(words))
    wrong = _misspelt(words[i], rng)
    return [*words[:i], wrong, *words[i + 1 :]] if wrong and wrong not in words else None


def _with_stranger(words: Sequence[str], rng: random.Random) -> list[str] | None:
    stranger = rng.choice(word_list())
    if any(SequenceMatcher(None, word, stranger, autojunk=False).ratio() >= ALIKE for word in words):
        return None
    i = rng.randrange(len(words) + 1)
    return [*words[:i], stranger, *words[i:]]


def _misspelt(word: str, rng: random.Random) -> str | None:
    """The word with two letters exchanged, one doubled, left out or replaced; still recognisable."""
    i = rng.randrange(len(word))
    wrong = rng.choice(
        (
            word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
            word[:i] + word[i] + word[i:],
            word[:i] + word[i + 1 :],
            word[:i] + rng.choice("aeiou" if word[i] in "aeiou" else "lmnrst") + word[i + 1 :],
        )
    )
    alike = SequenceMatcher(None, word, wrong, autojunk=False).ratio() >= ALIKE
    return wrong if wrong != word and alike else None


_ChangeWords = Callable[[Sequence[str], random.Random], list[str] | None]


def _in_look(change: _ChangeWords) -> Fault:
    def fault(look: Looking, student: Student) -> Looking | None:
        words = _changed(change, [word for word, _, _ in look.items], student)
        return replace(look, items=letter_items(words, look.position)) if words else None

    return fault


def _in_group(change: _ChangeWords) -> Fault:
    """In one group; one that loses its only word is gone."""

    def fault(groups: Groups, student: Student) -> Groups | None:
        i = student.rng.randrange(len(groups))
        number, members = groups[i]
        if change is _without_one and len(members) == 1:
            return [*groups[:i], *groups[i + 1 :]] if len(groups) > 1 else None
        words = _changed(change, members, student)
        return [*groups[:i], (number, words), *groups[i + 1 :]] if words else None

    return fault


def _in_conclusion(change: _ChangeWords) -> Fault:
    def fault(order: Order, student: Student) -> Order | None:
        words = _changed(change, order.words, student)
        return Order(tuple(words)) if words else None

    return fault


def _changed(change: _ChangeWords, words: Sequence[str], student: Student) -> list[str] | None:
    changed = change(words, student.rng)
    foreign = set(changed or ()) - set(words)
    alike = (SequenceMatcher(None, a, b, autojunk=False).ratio() for a in foreign for b in student.words)
    if foreign & set(student.words) or (change is _with_stranger and max(alike, default=0) >= ALIKE):
        return None
    return changed


def _everywhere(change: _ChangeWords) -> dict[str, Fault]:
    return {"look": _in_look(change), "group": _in_group(change), "conclude": _in_conclusion(change)}


_FAULTS: dict[str, dict[str, Fault]] = {
    "wrong_letter": {"look": _wrong_letter},
    "wrong_number": {"look": _wrong_number},
    "skipped_letter": {"look": _skip_letter},
    "repeated_letter": {"look": _repeat_letter},
    "wrong_subpart": {"look": _wrong_subpart},
    "wrong_order": {"group": _swap_groups, "conclude": _swap_words},
    "wrong_group": {"group": _wrong_group},
    "lost_word": _everywhere(_without_one),
    "duplicated_word": _everywhere(_with_double),
    "invented_word": _everywhere(_with_stranger),
    "copy_error": _everywhere(_with_misspelling),
    "incomplete_sort": {"conclude": _leave_open},
    "inconsistent_final": {"final": _other_final},
}
_HIDDEN = ("wrong_letter", "wrong_number", "wrong_order", "wrong_group", "lost_word", "duplicated_word", "copy_error")
"""Mistakes that `lucky` makes in one line, the rest staying right."""

ERROR_CLASSES = (*_FAULTS, "missing_step", "unparsable_step", "wrong_header", "lucky")
"""The classes that `plant` knows, named as FBK names them."""


def plant(problem: Problem, error_class: str, rng: random.Random) -> Planted | None:
    """One mistake of `error_class` at a random place; None where none was found. Raises KeyError for a class that
    is not in `ERROR_CLASSES`."""
    words = question_words(problem.question)
    for _ in range(_TRIES):
        if error_class in _FAULTS:
            planted = _plant_fault(words, error_class, rng)
        else:
            planted = _WHOLE[error_class](words, rng)
        if planted and TASK.is_right(planted.attempt, problem.answer) == (error_class == "lucky"):
            return planted
    return None


def _plant_fault(words: list[str], error_class: str, rng: random.Random) -> Planted | None:
    faults = _FAULTS[error_class]
    clean = Student(words, rng)
    clean.write()
    places = [(kind, place) for kind in faults for place in range(clean.counts.get(kind, 0))]
    return _erring(words, rng, error_class, *rng.choice(places), faults)


def _erring(
    words: list[str], rng: random.Random, error_class: str, kind: str, place: int, faults: dict[str, Fault]
) -> Planted | None:
    student = Student(words, rng, kind, place, faults[kind])
    attempt = student.write()
    return Planted(attempt, student.error_step, error_class) if student.error_step else None


def _plant_lucky(words: list[str], rng: random.Random) -> Planted | None:
    planted = _plant_fault(words, rng.choice(_HIDDEN), rng)
    if planted is None:
        return None
    gold = list(rationale_steps(words))
    wrong = Attempt.parse(planted.attempt)
    index = wrong.index_of(planted.error_step)
    assert index is not None
    gold[index] = wrong.steps[index].line
    return Planted("\n".join(gold), planted.error_step, "lucky")


def _plant_missing(words: list[str], rng: random.Random) -> Planted | None:
    """The attempt stops early, or concludes without having sorted a subpart."""
    if rng.random() < 0.5:
        clean = Student(words, rng)
        clean.write()
        if places := clean.counts.get("skip", 0):
            return _erring(words, rng, "missing_step", "skip", rng.randrange(places), {"skip": _skip})
    steps = Attempt.parse("\n".join(rationale_steps(words))).steps
    stop = rng.randrange(len(steps))
    return Planted("\n".join(s.line for s in steps[:stop]), steps[stop].header or "", "missing_step")


def _plant_unparsable(words: list[str], rng: random.Random) -> Planted | None:
    """A line that breaks off within a word, with nothing after it, or one that says nothing, before a wrong end."""
    steps = Attempt.parse("\n".join(rationale_steps(words))).steps
    index = rng.randrange(len(steps) - 1)
    header, line = steps[index].header, steps[index].line
    assert header is not None
    if rng.random() < 0.5:
        cut = rng.choice([i for i in range(len(line)) if line[:i].count('"') % 2])
        return Planted("\n".join([*(s.line for s in steps[:index]), line[:cut]]), header, "unparsable_step")
    empty = rng.choice(("Let me think about this.", "We sort the words.", "Next, the same again.", "..."))
    answer = _swapped(sorted(words), rng)
    if answer is None:
        return None
    lines = [s.line for s in steps]
    lines[index], lines[-1] = f"({header}) {empty}", final_line(answer)
    return Planted("\n".join(lines), header, "unparsable_step")


def _plant_header(words: list[str], rng: random.Random) -> Planted | None:
    """A step that is said again and again until the output ends."""
    steps = Attempt.parse("\n".join(rationale_steps(words))).steps
    places = [i for i, s in enumerate(steps) if s.body.startswith(("We now have", "Hence"))]
    index = rng.choice(places)
    lines = [s.line for s in steps[: index + 1]] + [steps[index].line] * rng.randint(1, 3)
    return Planted("\n".join(lines), steps[index].header or "", "wrong_header")


_WHOLE = {
    "missing_step": _plant_missing,
    "unparsable_step": _plant_unparsable,
    "wrong_header": _plant_header,
    "lucky": _plant_lucky,
}
