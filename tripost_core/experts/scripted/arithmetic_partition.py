"""The definitions of step (1): letters that stand for parts of the question."""

from __future__ import annotations

from tripost_core.problems import expression as ex


def expand(definitions: dict[str, ex.Postfix]) -> dict[str, ex.Postfix] | None:
    """Definitions without letters; None where they refer to each other in a circle."""
    expanded: dict[str, ex.Postfix] = {}
    waiting = dict(definitions)
    while waiting:
        ready = [name for name, e in waiting.items() if all(used in expanded for used in ex.letters(e))]
        if not ready:
            return None
        for name in ready:
            expanded[name] = ex.substitute(waiting.pop(name), expanded)
    return {name: expanded[name] for name in definitions}


def letters_reached(symbolic: ex.Postfix, definitions: dict[str, ex.Postfix]) -> set[str]:
    reached: set[str] = set()
    waiting = ex.letters(symbolic)
    while waiting:
        letter = waiting.pop()
        if letter not in reached:
            reached.add(letter)
            waiting += ex.letters(definitions[letter])
    return reached


def first_mismatch(
    symbolic: ex.Postfix, question: ex.Postfix, definitions: dict[str, ex.Postfix]
) -> tuple[str | None, ex.Postfix]:
    """The letter whose definition is not the question's part at its place, and that part.

    No letter: the form of the symbolic equation itself is not the question's. Patterns are matched from their ends,
    where postfix order has the operators, so that each letter meets the whole subtree that it stands for.
    """
    waiting: list[tuple[str | None, ex.Postfix, ex.Postfix]] = [(None, symbolic, question)]
    wrong: tuple[str, ex.Postfix] | None = None
    while waiting:
        owner, pattern, target = waiting.pop()
        end = len(target) - 1
        for token in reversed(pattern):
            if end < 0:
                return owner, target
            if isinstance(token, str) and ex.is_letter(token):
                start = ex.last_operand_start(target, end)
                definition, part = definitions[token], target[start : end + 1]
                if ex.letters(definition):
                    waiting.append((token, definition, part))
                elif definition != part:
                    wrong = token, part  # goes on: of several wrong ones the first in the text is meant
                end = start - 1
            elif token != target[end]:
                return (owner, target) if wrong is None or owner is None else wrong
            else:
                end -= 1
    return wrong if wrong else (None, question)
