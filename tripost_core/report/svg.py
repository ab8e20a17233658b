"""Small charts as SVG: one set of axes, styled by the report's style sheet, so that they follow light and dark.

Made by hand and not by matplotlib: a plot of a few points is then 2 kB, has no inline styles (which the report's
Content-Security-Policy refuses), and importing it costs nothing at the end of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]


def tag(name: str, *children: str | Markup, **attributes: str | float) -> Markup:
    """An element; text and attribute values are escaped. `class_` is `class`, `_` in names is `-`."""
    spelled = [f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"' for key, value in attributes.items()]
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{''.join(spelled)}>{inner}</{name}>")


def _number(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".")


def ticks(low: float, high: float, num: int) -> list[float]:
    """About `num` round values from `low` to `high`."""
    if high <= low:
        return [low]
    rough = (high - low) / max(num, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass
class Axes:
    """Data ranges `x` and `y` in a box of `width` x `height` px."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 320
    height: float = 220
    left: float = 40
    right: float = 14
    top: float = 10
    bottom: float = 34
    parts: list[Markup] = field(default_factory=list)

    def px(self, x: float) -> float:
        low, high = self.x
        return self.left + (x - low) / ((high - low) or 1) * (self.width - self.left - self.right)

    def py(self, y: float) -> float:
        low, high = self.y
        return self.height - self.bottom - (y - low) / ((high - low) or 1) * (self.height - self.top - self.bottom)

    def grid(
        self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x_label: str = ""
    ) -> None:
        """Horizontal rules with their labels, labels below, and what the x axis counts."""
        right, floor = self.width - self.right, self.height - self.bottom
        for y, label in y_ticks:
            self.parts.append(tag("line", class_="rule", x1=self.left, x2=right, y1=self.py(y), y2=self.py(y)))
            self._text(label, self.left - 6, self.py(y) + 4, "tick end")
        self.parts.append(tag("line", class_="axis", x1=self.left, x2=right, y1=floor, y2=floor))
        for x, label in x_ticks:
            self._text(label, self.px(x), floor + 15, "tick middle")
        if x_label:
            self._text(x_label, (self.left + right) / 2, self.height - 4, "tick middle")

    def _text(self, text: str, x: float, y: float, class_: str) -> None:
        self.parts.append(tag("text", text, class_=class_, x=x, y=y))

    def band(self, points: Sequence[tuple[float, float, float]], class_: str) -> None:
        """Between `low` and `high` of (x, low, high)."""
        outline = [(x, high) for x, _, high in points] + [(x, low) for x, low, _ in reversed(points)]
        self.parts.append(tag("polygon", class_=f"band {class_}", points=self._spell(outline)))

    def line(self, points: Points, class_: str) -> None:
        self.parts.append(tag("polyline", class_=f"line {class_}", points=self._spell(points)))

    def level(self, y: float, class_: str) -> None:
        """A line across at one height."""
        self.line([(self.x[0], y), (self.x[1], y)], class_)

    def whisker(self, x: float, low: float, high: float, class_: str) -> None:
        self.line([(x, low), (x, high)], f"{class_} whisker")

    def dot(self, x: float, y: float, class_: str, title: str) -> None:
        """A point with what it says on hover."""
        circle = tag("circle", tag("title", title), class_=f"dot {class_}", cx=self.px(x), cy=self.py(y), r=4)
        self.parts.append(circle)

    def diamond(self, x: float, y: float, class_: str, title: str) -> None:
        cx, cy, r = self.px(x), self.py(y), 5.5
        outline = " ".join(
            f"{_number(a)},{_number(b)}" for a, b in ((cx, cy - r), (cx + r, cy), (cx, cy + r), (cx - r, cy))
        )
        self.parts.append(tag("polygon", tag("title", title), class_=f"dot {class_}", points=outline))

    def note(self, text: str) -> None:
        """In the middle, where there is nothing to draw."""
        self._text(text, (self.left + self.width - self.right) / 2, self.height / 2, "tick middle")

    def _spell(self, points: Points) -> str:
        return " ".join(f"{_number(self.px(x))},{_number(self.py(y))}" for x, y in points)

    def svg(self, description: str) -> Markup:
        """The picture; `description` is what a screen reader says."""
        return tag(
            "svg",
            *self.parts,
            viewBox=f"0 0 {_number(self.width)} {_number(self.height)}",
            role="img",
            aria_label=description,
        )


def bar(parts: Sequence[tuple[float, str, str]], total: float) -> Markup:
    """A horizontal bar of (length, class, title) parts, `total` filling the width."""
    at = 0.0
    rects = []
    for length, class_, title in parts:
        if length <= 0:
            continue
        width = 100 * length / (total or 1)
        rects.append(tag("rect", tag("title", title), class_=f"fill {class_}", x=at, y=0, width=width, height=10))
        at += width
    label = "; ".join(title for length, _, title in parts if length > 0) or "nothing"
    return tag(
        "svg", *rects, class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", role="img", aria_label=label
    )
