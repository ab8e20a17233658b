"""What a long job shows of itself."""

import io

from rich.console import Console

from tripost_core.progress import Pace, ProgressDisplay, format_seconds


def test_pace_tells_what_is_left_of_the_same_work():
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert pace.left("feedback: 0 calls", 10, 100) == ""
    now[0] = 30.0
    assert pace.left("feedback: 7 calls, $0.1", 40, 100) == ", 1 min 00 s left"
    assert pace.left("feedback: 9 calls", 100, 100) == ""
    assert pace.left("other", 1, 100) == ""


def test_pace_does_not_reckon_the_last_long_ones_by_the_many_short_ones():
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.left("answers", 1, 400)
    now[0] = 40.0
    assert pace.left("answers", 399, 400) == ", 0 s left"
    now[0] = 60.0
    assert pace.left("answers", 399, 400).endswith("left")
    now[0] = 85.0
    assert pace.left("answers", 399, 400) == ", no more for 45 s"
    now[0] = 90.0
    assert pace.left("answers", 400, 400) == ""


def test_lines_in_a_log_and_a_bar_on_a_terminal():
    for terminal in (False, True):
        text = io.StringIO()
        console = Console(file=text, force_terminal=terminal, width=120, highlight=False)
        with ProgressDisplay(console) as display:
            display.started("tripost-1/feedback-0")
            for calls in (1, 2):
                display.advanced("tripost-1/feedback-0", f"feedback: {calls} calls, $0.01; rows", calls, 9)
                if display._bar is not None:
                    display._bar.refresh()
            display.finished("tripost-1/feedback-0", "9 of 9 kept")
        assert "feedback: 1 calls, $0.01; rows" in text.getvalue() and "9 of 9 kept" in text.getvalue()
        assert ("2 calls" in text.getvalue()) == terminal, "a log has a line every so often, a terminal everything"


def test_seconds_as_people_say_them():
    assert [format_seconds(s) for s in (7, 185, 7440)] == ["7 s", "3 min 05 s", "2 h 04 min"]
