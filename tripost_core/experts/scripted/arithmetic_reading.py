"""What an attempt at a multistep arithmetic question has established so far, and what is wrong with its next step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from tripost_core.experts.scripted.arithmetic_diagnosis import diagnose, show, show_number
from tripost_core.experts.scripted.arithmetic_partition import expand, first_mismatch, letters_reached
from tripost_core.experts.scripted.arithmetic_steps import Answer, Broken, Chain, Part, Partition
from tripost_core.problems import expression as ex

# A calculation without a letter may start from what stands in an earlier step; so much of it is remembered.
_MAX_SEEN = 200
_MAX_SEEN_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong segment of one line, verbatim, with its class and a clause that says why."""

    error_class: str
    segment: str
    reason: str


class Reading:
    """Letters, their values and the result, as the steps read so far give them.

    `definitions` and `values` are what the attempt claims; as long as `read` has found no fault they are true.
    """

    def __init__(self, question: ex.Postfix) -> None:
        self.question = question
        self.symbolic: ex.Postfix | None = None
        self.symbolic_text = ""
        self.definitions: dict[str, ex.Postfix] = {}
        self.definition_texts: dict[str, str] = {}
        self.values: dict[str, int] = {}
        """Of every defined letter, calculated or not."""
        self.calculated: set[str] = set()
        self.result: int | None = None
        """The value of the whole question, once a step has given it."""
        self._expanded: dict[str, ex.Postfix] = {}
        self._seen: list[ex.Postfix] = [question]

    def read(self, step: Partition | Chain | Answer | Broken, goes_on: Callable[[str | None], bool]) -> Fault | None:
        """The step's fault, or None; what the step claims is taken over either way.

        `goes_on(letter)`: whether a later line takes up a calculation that this step does not bring to a number.
        """
        try:
            if isinstance(step, Partition):
                return self._read_partition(step)
            if isinstance(step, Chain):
                return self._read_chain(step, goes_on)
            if isinstance(step, Answer):
                return self._read_answer(step)
        except ex.ExpressionError as error:  # only sizes are left: every part is parsed where it can be named
            return Fault("unparsable_step", _whole(step), str(error))
        assert isinstance(step, Broken), step
        return Fault("unparsable_step", step.part.text, step.reason)

    def needed(self) -> list[str]:
        """Letters of the symbolic equation that are not calculated yet, each after those in its definition."""
        assert self.symbolic is not None
        order: list[str] = []
        waiting = list(reversed(ex.letters(self.symbolic)))
        while waiting:
            letter = waiting[-1]
            inner = [] if letter in self.calculated else ex.letters(self.definitions[letter])
            inner = [used for used in inner if used not in order and used not in self.calculated]
            if inner:
                waiting += reversed(inner)
            else:
                waiting.pop()
                if letter not in self.calculated and letter not in order:
                    order.append(letter)
        return order

    def next_needed(self) -> str:
        """A clause about what has to come before the final response."""
        if self.symbolic is None:
            return "the equation has not been split into parts"
        for letter in self.needed():
            return f"{letter} has not been calculated"
        return "the final equation has not been calculated"

    # Step (1): a partition is right when it is the question itself, with names for some of its parts.

    def _read_partition(self, step: Partition) -> Fault | None:
        fault: Fault | None = None
        definitions: dict[str, ex.Postfix] = {}
        parts: dict[str, str] = {}
        texts: dict[str, str] = {}
        try:
            symbolic = ex.parse(step.symbolic.text)
        except ex.ExpressionError as error:
            return Fault("unparsable_step", step.symbolic.text, str(error))
        for name, part in step.definitions:
            segment = name.to(part)
            try:
                expression = ex.parse(part.text)
            except ex.ExpressionError as error:
                return Fault("unparsable_step", segment, str(error))
            if name.text in definitions:
                fault = fault or Fault("wrong_partition", segment, f"{name.text} is defined twice")
                continue
            definitions[name.text], parts[name.text], texts[name.text] = expression, segment, part.text
        used = {"": symbolic, **definitions}
        for owner, expression in used.items():
            for letter in ex.letters(expression):
                if letter not in definitions:
                    segment = parts[owner] if owner else step.symbolic.text
                    return fault or Fault("unknown_letter", segment, f"{letter} is not defined")
        expanded = expand(definitions)
        if expanded is None:
            return fault or Fault("wrong_partition", step.symbolic.text, "the definitions refer to each other")
        self.symbolic, self.symbolic_text = symbolic, step.symbolic.text
        self.definitions, self.definition_texts, self._expanded = definitions, texts, expanded
        self.values = {letter: ex.evaluate(expression) for letter, expression in expanded.items()}
        self.calculated = {letter for letter, expression in definitions.items() if _is_number(expression)}
        self._remember(symbolic, *definitions.values())
        return fault or self._partition_mismatch(step.symbolic.text, parts)

    def _partition_mismatch(self, symbolic_text: str, segments: dict[str, str]) -> Fault | None:
        assert self.symbolic is not None
        whole = ex.substitute(self.symbolic, self._expanded)
        if whole != self.question:
            owner, target = first_mismatch(self.symbolic, self.question, self.definitions)
            if owner is not None:
                return self._wrong_definition(owner, target, segments[owner])
            extra = ex.num_leaves(whole) - ex.num_leaves(self.question)
            kind = "added_term" if extra > 0 else "missing_term" if extra < 0 else "wrong_partition"
            reason = f"with the definitions it gives {show(whole)}, which is not what the question asks for"
            return Fault(kind, symbolic_text, reason)
        used = letters_reached(self.symbolic, self.definitions)
        parts_of_question = None
        for letter, expression in self._expanded.items():
            if letter not in used:
                parts_of_question = parts_of_question or set(ex.subexpressions(self.question))
                if expression not in parts_of_question:
                    return Fault("added_term", segments[letter], f"{letter} is no part of the question")
        return None

    def _wrong_definition(self, letter: str, target: ex.Postfix, segment: str) -> Fault:
        expression = self._expanded[letter]
        extra = ex.num_leaves(expression) - ex.num_leaves(target)
        if extra:
            kind = "added_term" if extra > 0 else "missing_term"
        elif expression in ex.subexpressions(self.question):
            kind = "wrong_order"
        else:
            kind = "copy" if len(expression) == len(target) else "wrong_partition"
        return Fault(kind, segment, f"{letter} should be {show(target)} as in the question")

    # Steps `calculate X = ...` and `the final equation is ...`.

    def _read_chain(self, step: Chain, goes_on: Callable[[str | None], bool]) -> Fault | None:
        first = ex.parse(step.parts[0].text)
        letter = first[0] if len(first) == 1 and ex.is_letter(first[0]) and len(step.parts) > 1 else None
        if letter is None or (step.concluding and letter in self.definitions):
            return self._read_equation(step, goes_on)
        assert isinstance(letter, str)
        if step.concluding:  # `the final equation is X = (A - B) = ...`: a name for the result
            return self._read_equation(Chain(step.parts[1:], concluding=True), goes_on)
        return self._read_calculation(letter, step, goes_on)

    def _read_calculation(self, letter: str, step: Chain, goes_on: Callable[[str | None], bool]) -> Fault | None:
        name, parts = step.parts[0], step.parts[1:]
        try:
            first = ex.parse(parts[0].text)
        except ex.ExpressionError as error:
            return Fault("unparsable_step", _segment(name, parts[0]), str(error))
        if letter not in self.definitions:  # a new name is fine for something made of the known ones
            if not ex.letters(first) or self._unknown(first):
                return Fault("unknown_letter", _segment(name, parts[0]), f"{letter} is not defined in an earlier step")
            self._define(letter, first, parts[0].text)
        fault = self._compare_definition(letter, first, name, parts[0])
        fault = fault or self._follow(parts, first)
        value, ends = _claimed(parts[-1], self.values)
        if value is not None:
            self.values[letter] = value
            if ends:
                self.calculated.add(letter)
                if self.symbolic == (letter,):
                    self.result = value
        if fault is None and not ends and not goes_on(letter):
            return _unfinished(step.parts)
        return fault

    def _compare_definition(self, letter: str, first: ex.Postfix, name: Part, part: Part) -> Fault | None:
        definition = self.definitions[letter]
        if first == definition:
            return None
        segment = name.to(part)
        if unknown := self._unknown(first):
            return Fault("unknown_letter", segment, f"{unknown} is not defined in an earlier step")
        if ex.letters(definition) and not ex.letters(first):
            return self._substitution_fault(definition, first, ex.letters(definition), segment)
        kind = _difference(
            self._expanded[letter],
            ex.substitute(first, self._expanded),
            may_expand=bool(ex.letters(definition)),
        )
        return Fault(kind[0], segment, f"{letter} is defined as {show(definition)}: {kind[1]}") if kind else None

    def _read_equation(self, step: Chain, goes_on: Callable[[str | None], bool]) -> Fault | None:
        parts = step.parts
        try:
            first = ex.parse(parts[0].text)
        except ex.ExpressionError as error:
            return Fault("unparsable_step", _whole(step), str(error))
        if unknown := self._unknown(first):
            return Fault("unknown_letter", parts[0].text, f"{unknown} is not defined in an earlier step")
        whole = self.symbolic if self.symbolic is not None else self.question
        concludes = step.concluding or self._is_whole(first)
        if concludes:
            fault = self._compare_whole(whole, first, parts[0])
        else:
            fault = (
                None
                if self._is_start(first)
                else Fault(
                    "copy",
                    _segment(parts[0], parts[1]),
                    f"{show(first)} occurs neither in the question nor in a step",
                )
            )
        fault = fault or self._follow(parts, first)
        value, ends = _claimed(parts[-1], self.values)
        if concludes and ends:
            self.result = value
        if fault is None and not ends and not goes_on(None):
            return _unfinished(parts)
        return fault

    def _compare_whole(self, whole: ex.Postfix, first: ex.Postfix, part: Part) -> Fault | None:
        """The first expression of the final equation against what step (1) and the values make it."""
        if first == whole or first == self.question:
            return None
        substituted = ex.substitute(whole, self._numbers())
        if not ex.letters(first):
            uncalculated = [letter for letter in ex.letters(whole) if letter not in self.calculated]
            if uncalculated and ex.num_leaves(first) <= ex.num_leaves(whole):
                return Fault("uncalculated_letter", part.text, f"{uncalculated[0]} has not been calculated before")
            kind = _difference(substituted, first, may_expand=True)
            return Fault(_substitution_class(kind[0]), part.text, kind[1]) if kind else None
        given = ex.substitute(first, self._expanded)
        if ex.fingerprint(given, tag_literals=True) == ex.fingerprint(self.question, tag_literals=True):
            return None
        mixed = ex.substitute(first, self._numbers())
        if ex.literals(first) and _difference(substituted, mixed, may_expand=True) is None:
            return None
        wanted, has = ex.letters(whole), ex.letters(first)
        if len(ex.letters(first)) == ex.num_leaves(first) and set(has) < set(wanted):
            kind_name = "missing_term"
        elif ex.num_leaves(first) > ex.num_leaves(whole):
            kind_name = "added_term"
        elif has != wanted and sorted(has) == sorted(wanted):
            kind_name = "wrong_order"
        else:
            kind_name = "algebraic"
        return Fault(kind_name, part.text, f"the equation to calculate is {show(whole)}")

    def _follow(self, parts: tuple[Part, ...], first: ex.Postfix) -> Fault | None:
        """The first equality of the chain that does not hold; `first` is its first part, parsed."""
        before, before_value = first, ex.evaluate(first, self.values)
        self._remember(before)
        for left, right in itertools.pairwise(parts):
            try:
                after = ex.parse(right.text)
            except ex.ExpressionError as error:
                return Fault("unparsable_step", _segment(left, right), str(error))
            segment = left.to(right)
            if unknown := self._unknown(after):
                return Fault("unknown_letter", segment, f"{unknown} is not defined in an earlier step")
            after_value = ex.evaluate(after, self.values)
            kept = ex.letters(after)
            dropped = [used for used in ex.letters(before) if used not in kept]
            if dropped:
                fault = self._substitution_fault(before, after, dropped, segment)
                if fault:
                    return fault
            elif before_value != after_value:
                found = diagnose(ex.substitute(before, self._numbers()), ex.substitute(after, self._numbers()), False)
                return Fault(found.error_class, segment, found.reason)
            before, before_value = after, after_value
            self._remember(after)
        return None

    def _substitution_fault(
        self, before: ex.Postfix, after: ex.Postfix, dropped: list[str], segment: str
    ) -> Fault | None:
        """`(A - B) = (-23 - 17)`: letters may give way to their values, once these are calculated, or definitions."""
        uncalculated = [letter for letter in dropped if letter not in self.calculated]
        substituted = ex.substitute(before, self._numbers())
        given = ex.substitute(after, self._numbers())
        if uncalculated and ex.num_leaves(after) <= ex.num_leaves(before):
            return Fault("uncalculated_letter", segment, f"{uncalculated[0]} has not been calculated before")
        kind = _difference(substituted, given, may_expand=True)
        if kind is None:
            return None
        values = ", ".join(f"{letter} is {show_number(self.values[letter])}" for letter in dropped[:8])
        error_class = _substitution_class(kind[0])
        return Fault(error_class, segment, values if error_class == "wrong_substitution" else kind[1])

    # The final response.

    def _read_answer(self, step: Answer) -> Fault | None:
        if self.result is None:
            return Fault("missing_step", step.part.text, f"a step is missing before it: {self.next_needed()}")
        if step.value != self.result:
            reason = f"the steps before it give {show_number(self.result)}, not {show_number(step.value)}"
            return Fault("inconsistent_final", step.part.text, reason)
        return None

    # Helpers.

    def _numbers(self) -> dict[str, ex.Postfix]:
        return {letter: (value,) for letter, value in self.values.items()}

    def _define(self, letter: str, expression: ex.Postfix, text: str) -> None:
        self.definitions[letter], self.definition_texts[letter] = expression, text
        self._expanded[letter] = ex.substitute(expression, self._expanded)
        self.values[letter] = ex.evaluate(expression, self.values)

    def _unknown(self, expression: ex.Postfix) -> str | None:
        return next((letter for letter in ex.letters(expression) if letter not in self.definitions), None)

    def _remember(self, *expressions: ex.Postfix) -> None:
        if len(self._seen) < _MAX_SEEN:
            self._seen.extend(e for e in expressions if len(e) <= _MAX_SEEN_TOKENS)

    def _is_start(self, expression: ex.Postfix) -> bool:
        """Whether a calculation without a letter takes up a part of the question or of a step, part-way or whole."""
        value, num_leaves = ex.evaluate(expression, self.values), ex.num_leaves(expression)
        for part in (part for seen in self._seen for part in ex.subexpressions(seen)):
            if part == expression:
                return True
            if ex.num_leaves(part) > num_leaves and ex.evaluate(part, self.values) == value:
                return True
        return False

    def _is_whole(self, expression: ex.Postfix) -> bool:
        """Whether it can stand for the whole question, its letters' values put in."""
        if expression in (self.question, self.symbolic):
            return True
        whole = self.symbolic if self.symbolic is not None else self.question
        given = ex.substitute(expression, self._numbers())
        return _difference(ex.substitute(whole, self._numbers()), given, may_expand=True) is None


def _difference(expected: ex.Postfix, given: ex.Postfix, may_expand: bool) -> tuple[str, str] | None:
    """Class and reason where `given` (numeric) neither is `expected`, commuted or regrouped, nor a part-way result.

    With as many numbers as expected nothing has been calculated yet, so it must be the same expression: the same
    value is not enough (`2 * 2` is no copy of `2 + 2`). With fewer numbers the value decides, with more likewise if
    `may_expand` (definitions instead of values).
    """
    if expected == given:
        return None
    if ex.evaluate(expected) == ex.evaluate(given):
        more = ex.num_leaves(given) - ex.num_leaves(expected)
        if more < 0 or (more > 0 and may_expand):
            return None
        if ex.fingerprint(expected, tag_literals=True) == ex.fingerprint(given, tag_literals=True):
            return None
    found = diagnose(expected, given, copied=True)
    return found.error_class, found.reason


def _substitution_class(error_class: str) -> str:
    return "wrong_substitution" if error_class == "copy" else error_class


def _is_number(expression: ex.Postfix) -> bool:
    return len(expression) == 1 and isinstance(expression[0], int)


def _claimed(part: Part, values: dict[str, int]) -> tuple[int | None, bool]:
    """The value of a chain's last part, and whether it stands there as a bare number."""
    try:
        expression = ex.parse(part.text)
        return ex.evaluate(expression, values), _is_number(expression)
    except ex.ExpressionError:
        return None, False


def _unfinished(parts: tuple[Part, ...]) -> Fault:
    reason = "the calculation does not end in a number"
    return Fault("unfinished_step", _segment(parts[-2], parts[-1]) if len(parts) > 1 else parts[-1].text, reason)


def _segment(left: Part, right: Part) -> str:
    return left.to(right).rstrip()


def _whole(step: Partition | Chain | Answer | Broken) -> str:
    if isinstance(step, Chain):
        return step.parts[0].line[step.parts[0].start : step.parts[-1].end].strip() or step.parts[0].line
    if isinstance(step, Partition):
        return step.symbolic.text
    return step.part.text
