"""Plural nouns and their singulars, as far as stories need them."""

from __future__ import annotations

_IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "loaves": "loaf", "wolves": "wolf", "shelves": "shelf", "knives": "knife",
    "leaves": "leaf", "scarves": "scarf", "movies": "movie", "pies": "pie", "ties": "tie", "cookies": "cookie",
    "shoes": "shoe", "series": "series", "species": "species", "horses": "horse", "houses": "house",
    "causes": "cause", "sizes": "size", "prizes": "prize", "axes": "axe", "caches": "cache",
}  # fmt: skip


def singular(noun: str) -> str:
    """`bird` of `birds`, `pastry` of `pastries`; of several words the last one's."""
    head, _, last = noun.rpartition(" ")
    if last.lower() in _IRREGULAR:
        last = _IRREGULAR[last.lower()]
    elif last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("ches", "shes", "xes", "sses", "zes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith("ss"):
        last = last[:-1]
    return f"{head} {last}".strip()


def without_kind(text: str, kind: str) -> str:
    """The text without the noun that it may end with: `the oldest` of `the oldest car` where the kind is `cars`."""
    for noun in {kind, singular(kind)}:
        if text.lower().endswith(f" {noun.lower()}"):
            return text[: -len(noun) - 1].rstrip()
    return text
