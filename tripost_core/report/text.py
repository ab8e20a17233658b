"""Text that a model wrote, made harmless and readable: for the HTML report and for a terminal."""

from __future__ import annotations

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def reveal(text: str) -> str:
    """Every control, format (bidirectional overrides, zero-width) or unassigned character but the line feed as
    `⟨U+202E⟩`. Nothing that is left can move a terminal's cursor, colour it, or reorder the characters around it.

    Idempotent; ordinary text comes back as the same object.
    """
    if text.isascii() and (text.isprintable() or text.replace("\n", "").isprintable()):
        return text
    return "".join(_reveal(character) for character in text)


def _reveal(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"⟨U+{ord(character):04X}⟩"


def clip(text: str, max_characters: int) -> str:
    """The text, or its start with a note of how much is missing."""
    if len(text) <= max_characters:
        return text
    return f"{text[:max_characters]} … ({len(text) - max_characters:,} more characters)"


def spaced(name: str) -> str:
    """`word_sorting` -> `word sorting`."""
    return name.replace("_", " ")


def percent(value: float | None, digits: int = 1) -> str:
    """0.4123 -> `41.2 %`; `–` for None."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float) -> str:
    """A difference of shares in percentage points with its sign: 0.021 -> `+2.1`."""
    rounded = round(100 * value, 1)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else '±'}{abs(rounded):.1f}"


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
