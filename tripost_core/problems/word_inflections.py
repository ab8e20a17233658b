"""How `words.txt` was made: the roots of `word_roots.txt`, written for this project, and their regular forms.

    python -m tripost_core.problems.word_inflections > tripost_core/problems/words.txt

Run once; `words.txt` is what the package reads. The forms follow the spelling rules of regular English (silent e,
y after a consonant, doubled consonants). A form that English hardly uses does no harm: the words are only sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

_VOWELS = "aeiou"
_SIBILANTS = ("s", "x", "z", "ch", "sh")
_IRREGULAR_PLURALS = {"calf", "child", "deer", "goose", "gentleman", "knife", "leaf", "loaf", "man", "mouse", "ox"} | {
    "people", "scissors", "sheep", "shelf", "species", "thief", "tooth", "trousers", "wife", "wolf", "woman", "scarf",
    "cattle", "mathematics", "nothing", "data", "index", "crisis", "oasis", "nucleus",
}  # fmt: skip
_IRREGULAR_PASTS = {"build", "cling", "dwell", "hang", "kneel", "overcome", "forecast", "withdraw", "write"}


def _ends_in_consonant_y(word: str) -> bool:
    return word.endswith("y") and word[-2] not in _VOWELS


def with_s(word: str) -> str:
    """`wish` -> `wishes`, `copy` -> `copies`, `book` -> `books`."""
    if _ends_in_consonant_y(word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(_SIBILANTS) else "s")


def with_ed(word: str) -> str:
    """`bake` -> `baked`, `copy` -> `copied`, `walk` -> `walked`."""
    if word.endswith("e"):
        return word + "d"
    return word[:-1] + "ied" if _ends_in_consonant_y(word) else word + "ed"


def with_ing(word: str) -> str:
    """`bake` -> `baking`, `agree` -> `agreeing`, `walk` -> `walking`."""
    return (word[:-1] if word.endswith("e") and word[-2] not in "eoy" else word) + "ing"


def with_er(word: str) -> str:
    """`bake` -> `baker`, `carry` -> `carrier`, `walk` -> `walker`."""
    return with_ed(word)[:-1] + "r"


def with_ly(word: str) -> str:
    """`gentle` -> `gently`, `easy` -> `easily`, `tragic` -> `tragically`, `dull` -> `dully`, `calm` -> `calmly`."""
    if word.endswith("le") and word[-3] not in _VOWELS:
        return word[:-1] + "y"
    if _ends_in_consonant_y(word) and len(word) > 3:
        return word[:-1] + "ily"
    if word.endswith("ic"):
        return word + "ally"
    return word + ("y" if word.endswith("ll") else "ly")


def forms(kind: str, root: str) -> Iterator[str]:
    """The root of one section of word_roots.txt and its inflections; `again` and `opposites` give `re-` and `un-`."""
    if kind == "again":
        root = "re" + root
    if kind == "opposites":
        root = "un" + root
    yield root
    if kind in ("verbs", "again"):
        yield with_s(root)
        yield with_ing(root)
        if root.removeprefix("re") not in _IRREGULAR_PASTS and root not in _IRREGULAR_PASTS:
            yield with_ed(root)
    elif kind == "doubling":
        doubled = root + root[-1]
        yield from (with_s(root), with_ing(doubled), with_ed(doubled), with_er(doubled))
    elif kind == "nouns":
        if root not in _IRREGULAR_PLURALS:
            yield with_s(root)
    elif kind == "adjectives":
        yield with_ly(root)


def all_words() -> list[str]:
    """Every form of every root, sorted, without repetitions."""
    words: set[str] = set()
    kind = ""
    for line in files(__package__).joinpath("word_roots.txt").read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif not line.startswith("#"):
            for root in line.split():
                words.update(forms(kind, root))
    return sorted(words)


if __name__ == "__main__":
    print("\n".join(all_words()))
