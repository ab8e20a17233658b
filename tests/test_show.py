"""`tripost show` and what `evaluate` and `solve` print: complete, and harmless to the terminal."""

import io
import json
import re
import unicodedata
from types import SimpleNamespace

import pytest
from report_fixture import build_run
from rich.console import Console

from tripost_core.config import CONTINUED
from tripost_core.errors import DataError, StorageError
from tripost_core.problems import load_task
from tripost_core.report.diff import attempt_lines
from tripost_core.show import line_text, show
from tripost_core.show_model import _Stream, print_metrics, print_solution

_STYLE = re.compile(r"\x1b\[[\d;]*m")
HOSTILE = (
    "(1) \x1b]0;title\x07\x1b[2J\x1b[31m [bold red]x[/] \x9b31m \u202eabc \r\x08 \x7f 😀\n(2) [/nonsense] tab\there"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "made-up"
    build_run(output, num_train=30, num_test=40)
    return output


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "made-up"
    keys = ("question", "answer", "attempt", "feedback", "student_feedback", "reason", "subtask", "error_class")
    build_run(output, iterations=1, num_train=8, num_test=4, spoil={**dict.fromkeys(keys, HOSTILE), "error_step": "1"})
    return output


def shown(run_dir, *, colours: bool = False, width: int = 100, **options) -> str:
    file = io.StringIO()
    color_system = "truecolor" if colours else None
    console = Console(file=file, width=width, force_terminal=colours, color_system=color_system, highlight=False)
    show(run_dir, console=console, **options)
    return file.getvalue()


def test_overview_has_every_entry_and_every_stage(run):
    text = shown(run)
    for name in ("ft-rationale", "tripost-1", "tripost-3", CONTINUED):
        assert re.search(rf"^{name} +\d+\.\d", text, re.MULTILINE)
    for label in ("problems", "tripost-2/generate", "tripost-2/feedback-1", f"{CONTINUED}/train-3"):
        assert re.search(rf"^{label} ", text, re.MULTILINE)
    assert "duplicate 3" in text and "finished" in text


def test_json_overview_is_the_report_and_the_state(run):
    document = json.loads(shown(run, as_json=True))
    assert document["schema"] == 1 and len(document["iterations"]) == 5 and document["finished"] is True


def test_rows_of_a_stage_and_their_choice(run):
    everything = json.loads(shown(run, stage="tripost-1/filter", limit=1000, as_json=True))
    dropped = json.loads(shown(run, stage="tripost-1/filter", limit=1000, status="dropped", as_json=True))
    assert len(everything["rows"]) == everything["num_rows"] > dropped["num_rows"] > 0
    assert dropped["rows"] == [row for row in everything["rows"] if not row["kept"]]
    copies = json.loads(shown(run, stage="tripost-1/feedback-0", error_class="copy", limit=3, as_json=True))
    assert len(copies["rows"]) == 3 < copies["num_rows"]
    assert all("copy" in [t["error_class"] for t in row["turns"]] for row in copies["rows"])
    assert json.loads(shown(run, stage="tripost-1/filter", iteration=2, as_json=True))["rows"] == []
    text = shown(run, stage="tripost-1/filter", limit=2)
    assert text.count("triplet_id ") == 2 and f"2 of {everything['num_rows']} rows" in text
    assert "checkpoint" in shown(run, stage="tripost-1/train")
    assert "losses" in json.loads(shown(run, stage="tripost-1/train", as_json=True))["metrics"]


def test_trajectories_and_their_choice(run):
    text = shown(run, trajectories=3, iteration=2)
    assert "3 of 30 trajectories" in text and "»" in text and "[-" in text and "{+" in text
    found = json.loads(shown(run, trajectories=100, status="discarded", as_json=True))
    assert found and all(t["status"] == "discarded" and len(t["turns"]) == 3 for t in found)
    found = json.loads(shown(run, trajectories=100, error_class="sign", as_json=True))
    assert found and all("sign" in [turn["error_class"] for turn in t["turns"]] for t in found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage": "tripost-9/filter"}, "has no stage tripost-9/filter; it has problems, ft-rationale/train"),
        ({"trajectories": 3, "error_class": "none such"}, "no trajectory like that"),
        ({"trajectories": 3, "iteration": 7}, "no trajectory like that"),
    ],
)
def test_what_is_not_there_is_named(run, options, said):
    with pytest.raises(DataError, match=said):
        shown(run, **options)


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(DataError, match="holds no run"):
        shown(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StorageError, match="is not the record of a run"):
        shown(tmp_path)


@pytest.mark.parametrize("colours", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"trajectories": 8},
        {"stage": "tripost-1/generate", "limit": 8},
        {"trajectories": 8, "as_json": True},
        {"stage": "tripost-1/generate", "as_json": True},
    ],
)
def test_text_of_models_cannot_reach_the_terminal(hostile_run, options, colours):
    text = shown(hostile_run, colours=colours, **options)
    rest = _STYLE.sub("", text)
    assert not [c for c in rest if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
    if options:
        assert "[bold red]x[/]" in rest.replace("\n", "") and "[/nonsense]" in rest
    if not options.get("as_json") and options:
        assert "⟨U+001B⟩" in rest and "⟨U+202E⟩" in rest


@pytest.mark.parametrize("plain", [True, False])
def test_a_line_shows_its_wrong_part_and_its_changes(plain):
    lines = attempt_lines("(1) 3 + 4 = 8.", "(1) 3 + 4 = 9.", "1", "3 + 4 = 8")
    text = line_text(lines[0], plain)
    if plain:
        assert text.plain == "  (1) »3 + 4 = [-9-]«»{+8+}«." or text.plain == "  (1) »3 + 4 = «[-9-]»{+8+}«."
    else:
        assert text.plain == "  (1) 3 + 4 = 98."
        marked = "".join(text.plain[s.start : s.end] for s in text.spans if "reverse" in str(s.style))
        assert marked == "3 + 4 = 8"


def test_metrics_table_leaves_out_what_is_empty():
    from tripost_core.metrics import evaluate_rows

    row = {"subtask": "l3-4d2", "seen": True, "right": True, "first_right": False, "attempted": True}
    file = io.StringIO()
    print_metrics(evaluate_rows([row, {**row, "right": False}]), Console(file=file, width=100))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert [line[0] for line in lines[1:]] == ["l3-4d2", "seen", "total"]
    assert lines[-1][1:4] == ["2", "50.0", "%"]


def test_a_stream_prints_every_character_once():
    file = io.StringIO()
    stream = _Stream(Console(file=file, width=20))
    text = "(1) caf\u00e9 \x1b[2J and a long line that a narrow console must not fold 😀 end"
    for end in range(len(text)):
        stream.show(text[:end] + "\ufffd")
    stream.end(text)
    assert file.getvalue() == text.replace("\x1b", "⟨U+001B⟩") + "\n"


def test_solution_names_answer_verdict_and_the_script(monkeypatch):
    task = load_task("word_sorting")
    problem = task.parse_question("Sort the following words alphabetically:\nList: pear apple")
    gold = task.rationale(problem.question)
    wrong = gold.replace("answer is: apple pear", "answer is: pear apple")
    text = f"\n{wrong}\nFeedback: hm\nUpdated Answer: x\n{gold}"
    turns = (SimpleNamespace(attempt=wrong, feedback="hm"), SimpleNamespace(attempt=gold, feedback=None))

    def writes(student, task, questions, seeds, *, on_text, **limits):
        for end in range(len(text) + 1):
            on_text(0, text[:end])
        return [SimpleNamespace(text=text, turns=turns, truncated=True)]

    monkeypatch.setattr("tripost_core.lm.self_improve.self_improve", writes)
    file = io.StringIO()
    print_solution(None, task, problem, console=Console(file=file, width=60))
    said = file.getvalue()
    assert said.count(wrong) == 1 and said.count(gold) == 1
    assert "after 2 attempts: right." in said and "length limit" in said
    assert re.search(r"The script says of attempt 1: .*In step \(Final response\)", said)
    assert "The script says of attempt 2: Step (1) to step" in said
