"""The report: its numbers, its sentences, and that text of models is inert in it."""

import base64
import hashlib
import json
import re
import shutil
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from report_fixture import ERROR_CLASSES, build_run
from rich.console import Console

from tripost_core.buffers import read_rows, write_buffer, write_manifest
from tripost_core.config import CONTINUED
from tripost_core.errors import StorageError
from tripost_core.record import read_record
from tripost_core.report import write_report
from tripost_core.report.diff import attempt_lines
from tripost_core.report.figures import error_table
from tripost_core.report.html import MAX_TRAJECTORIES, _titles, render_report
from tripost_core.report.intervals import paired_difference, wilson
from tripost_core.report.numbers import cut_off, print_scores, relocated, report_json, rights, score_rows, score_table
from tripost_core.report.summary import deltas, summary
from tripost_core.report.svg import ticks
from tripost_core.report.text import points, reveal
from tripost_core.report.trajectories import OUTCOMES, choose, load_trajectories
from tripost_core.sweep.results import read_answers

HOSTILE = (
    "(1) <script>document.documentElement.dataset.pwned = 1</script> </script></style></details>\n"
    '(2) "><img src=x onerror="document.documentElement.dataset.pwned = 1"> {{ 7 * 7 }} {% raw %} ]]> <!-- \n'
    "(3) \u202egnp.exe\u202c \x1b[31mred\x1b]0;title\x07 \x00\u200b&lt;b&gt; <svg onload=alert(1)>\n"
    '(Final response) So the answer is <a href="javascript:alert(1)">4</a>.'
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "made-up"
    build_run(output, num_train=48)
    return output


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "<script>alert(1)<"
    spoil = dict.fromkeys(("question", "answer", "attempt", "feedback", "student_feedback", "reason"), HOSTILE)
    spoil |= {"error_segment": "<script>", "error_step": "1", "error_class": 'x" onclick="alert(1)', "subtask": "<b>"}
    build_run(output, iterations=1, num_train=12, num_test=4, spoil=spoil)
    return output


# -- report.json -------------------------------------------------------------------------------------------------------


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Split(Strict):
    seen: float | None
    unseen: float | None
    total: float | None


class Count(Strict):
    seen: int
    unseen: int
    total: int


class Subtask(Strict):
    n: int
    accuracy: float | None
    first_attempt_accuracy: float | None
    directly_correct: float | None
    si_freq: float | None
    si_contrib: float | None
    repaired: float | None
    harm: float | None


class Eval(Strict):
    n: Count
    accuracy: Split
    first_attempt_accuracy: Split
    directly_correct: Split
    si_freq: Split
    si_contrib: Split
    repaired: Split
    harm: Split
    by_subtask: dict[str, Subtask]


class Expert(Strict):
    calls: int
    cache_hits: int
    cost_usd: float


class EntryModel(Strict):
    iteration: int | None
    name: str
    eval: Eval
    buffers: dict[str, dict]
    seconds: dict[str, float]
    expert: Expert


class ReportModel(Strict):
    schema_: int = Field(alias="schema")
    run_id: str
    task: str
    config_fingerprint: str
    iterations: list[EntryModel]


def written(output: Path) -> ReportModel:
    write_report(read_record(output), output)
    return ReportModel.model_validate_json((output / "report.json").read_bytes())


def test_report_json_is_schema_1(run):
    report = written(run)
    assert report.schema_ == 1 and report.run_id == "made-up" and report.task == "multistep_arithmetic"
    assert [(e.name, e.iteration) for e in report.iterations] == [
        ("ft-rationale", 0),
        ("tripost-1", 1),
        ("tripost-2", 2),
        ("tripost-3", 3),
        (CONTINUED, None),
    ]
    for entry in report.iterations:
        assert list(entry.buffers) == list(entry.seconds)
        for counts in entry.buffers.values():
            assert list(counts) == ["in", "kept", "dropped"] and isinstance(counts["dropped"], dict)
        assert entry.eval.n.seen + entry.eval.n.unseen == entry.eval.n.total == 120
        seen, unseen = entry.eval.accuracy.seen * entry.eval.n.seen, entry.eval.accuracy.unseen * entry.eval.n.unseen
        assert entry.eval.accuracy.total * 120 == pytest.approx(seen + unseen)
    second = report.iterations[2]
    order = ["generate", "feedback-0", "improve-1", "feedback-1", "filter", "balance", "train", "evaluate"]
    assert list(second.buffers) == order
    assert second.expert.calls == 144
    assert second.buffers["generate"]["dropped"] == {"duplicate": 3}


@pytest.mark.parametrize(
    ("stop", "evaluated", "said"),
    [
        ("start", [], "This run has not finished."),
        ("middle", ["ft-rationale", "tripost-1"], "This run has not finished."),
        ("few", ["ft-rationale", "tripost-1", CONTINUED], "fewer than balance.min_improvements = 60"),
    ],
)
def test_unfinished_runs_have_a_report_of_the_same_shape(tmp_path, stop, evaluated, said):
    build_run(tmp_path / "run", num_train=8, num_test=8, stop=stop)
    report = written(tmp_path / "run")
    assert [e.name for e in report.iterations if e.eval.n.total] == evaluated
    assert [row["name"] for row in score_rows(read_record(tmp_path / "run"))] == evaluated
    unevaluated = [e for e in report.iterations if not e.eval.n.total]
    assert all(e.eval.accuracy == Split(seen=None, unseen=None, total=None) for e in unevaluated)
    assert said in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_report_written_before_the_run_is_marked_finished_says_finished(run):
    record = read_record(run)
    record.finished = False
    assert "has not finished" not in render_report(record)
    del record.entries[-1].stages["evaluate"]
    assert "has not finished" in render_report(record)


def test_answers_that_ran_into_the_length_limit_are_told(tmp_path, capsys):
    record = build_run(tmp_path / "run", num_train=8, num_test=120, iterations=2)
    assert cut_off(record) == []

    def cut(entry, stage, num_truncated):
        ref = next(e for e in record.entries if e.name == entry).stages[stage]
        path = Path(ref.uri.removeprefix("file://")) / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["metrics"]["num_truncated"] = num_truncated
        path.write_text(json.dumps(manifest))

    cut("tripost-1", "evaluate", 1)  # under one in a hundred: runs in circles happen
    assert cut_off(record) == []
    cut("tripost-2", "evaluate", 48)
    cut("tripost-2", "generate", 3)
    attempts, answers = cut_off(record)
    assert "attempts at training questions for tripost-2 (3 of 11)." in attempts and "wrong" not in attempts
    assert "generate.max_new_tokens = 1024" in attempts and "evaluate.max_new_tokens = 1024" in answers
    assert "counted as wrong: answers to test questions of tripost-2 (48 of 120)." in answers
    assert cut_off(record, ["evaluate"]) == [answers]
    assert answers in render_report(record).replace("&#39;", "'")
    print_scores(record, Console(width=1_000))
    assert answers in capsys.readouterr().out
    shutil.rmtree(Path(record.entries[1].stages["generate"].uri.removeprefix("file://")))
    assert cut_off(record, ["evaluate"]) == [answers], "a sweep does without the stages that its table does not read"


def test_one_test_question_and_no_unseen_ones(tmp_path):
    build_run(tmp_path / "run", num_train=2, num_test=1, unseen=False, iterations=1)
    report = written(tmp_path / "run")
    assert report.iterations[1].eval.accuracy.unseen is None and report.iterations[1].eval.n.unseen == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "On 1 test question," in page and "nan" not in page.lower().split()


def test_the_last_students_card_lies_beside_the_report(run, tmp_path):
    written(run)
    card = (run / "model-card.md").read_text(encoding="utf-8")
    assert "# made-up: tripost-3" in card and "Iteration 3;" in card
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "model-card.md").unlink()
    untrained = read_record(tmp_path / "run").model_copy(update={"entries": []})
    write_report(untrained, tmp_path / "run")
    assert not (tmp_path / "run" / "model-card.md").exists()


def test_a_stage_that_is_gone_is_one_sentence_and_changes_nothing(tmp_path):
    build_run(tmp_path / "run", num_train=4, num_test=4, iterations=1)
    write_report(read_record(tmp_path / "run"), tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("report.json", "report.html")}
    (shard,) = (tmp_path / "run" / "stages" / "tripost-1" / "filter").glob("*/part-*.parquet")
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(StorageError, match="truncated or altered"):
        write_report(read_record(tmp_path / "run"), tmp_path / "run")
    (shard.parent / "manifest.json").unlink()
    with pytest.raises(StorageError, match="gone"):
        write_report(read_record(tmp_path / "run"), tmp_path / "run")
    assert before == {name: (tmp_path / "run" / name).read_bytes() for name in before}
    assert not list((tmp_path / "run").glob("*.tmp-*"))


def test_answers_of_before_their_checkpoints_digest_stood_in_them_are_read(run, tmp_path):
    """`answers-1`, which finished runs have: the report, `tripost show` and a sweep's table read it."""
    entry = next(entry for entry in read_record(run).entries if entry.name == "tripost-1")
    rows = read_rows(entry.stages["evaluate"])
    old = write_buffer(
        str(tmp_path / "old"), "answers-1", [{k: v for k, v in r.items() if k != "attempt_by"} for r in rows]
    )
    assert (old.kind, entry.stages["evaluate"].kind) == ("answers-1", "answers-2")
    before = entry.model_copy(update={"stages": {**entry.stages, "evaluate": old}})
    assert rights(before) == rights(entry)
    assert read_answers(before, "seen") == read_answers(entry, "seen")
    assert [{**row, "attempt_by": "0" * 64} for row in read_rows(old)] == rows


def test_a_run_that_was_moved_is_read_where_it_is(tmp_path):
    record = build_run(tmp_path / "old", num_train=4, num_test=4, iterations=1)
    expected = report_json(record)
    (tmp_path / "old").rename(tmp_path / "new place")
    moved = relocated(read_record(tmp_path / "new place"), tmp_path / "new place")
    assert report_json(moved) == expected and all("old" not in ref.uri.split("/")[-4] for ref in moved.references())
    write_report(read_record(tmp_path / "new place"), tmp_path / "new place")


def test_score_table_fits_a_terminal(run):

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(score_table(read_record(run)))
    text = console.export_text()
    rows = {row["name"]: row for row in score_rows(read_record(run))}
    for name, row in rows.items():
        (line,) = [line for line in text.splitlines() if line.split() and line.split()[0] == name]
        assert line.split()[3] == f"{100 * row['total']:.1f}" and line.split()[-1] == "120"


def test_not_a_number_becomes_null(tmp_path):
    record = build_run(tmp_path / "run", num_train=2, num_test=2, iterations=1)
    ref = record.entries[0].stages["evaluate"]
    manifest = json.loads((Path(ref.uri.removeprefix("file://")) / "manifest.json").read_text())
    manifest["metrics"]["eval"]["accuracy"]["total"] = float("nan")
    write_manifest(ref.uri, manifest)
    assert report_json(record)["iterations"][0]["eval"]["accuracy"]["total"] is None
    json.dumps(report_json(record), allow_nan=False)


# -- intervals and sentences -------------------------------------------------------------------------------------------


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case):
    k, n = case
    interval, mirror = wilson(k / n, n), wilson((n - k) / n, n)
    assert 0 <= interval.low <= k / n <= interval.high <= 1 and interval.low < interval.high
    assert interval.low == pytest.approx(1 - mirror.high, abs=1e-12)
    wider = wilson(k / n, max(1, n // 4))
    assert wider.high - wider.low >= interval.high - interval.low - 1e-12


def test_wilson_at_known_points():
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    assert wilson(None, 10) is None and wilson(0.5, 0) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_difference_turns_its_sign_and_holds_its_value(pairs):
    new = {str(i): a for i, (a, _) in enumerate(pairs)}
    old = {str(i): b for i, (_, b) in enumerate(pairs)}
    forward, backward = paired_difference(new, old), paired_difference(old, new)
    assert forward.value == pytest.approx((sum(new.values()) - sum(old.values())) / len(pairs))
    assert forward.low <= forward.value + 1e-12 and forward.value <= forward.high + 1e-12
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert not forward.shown or abs(sum(new.values()) - sum(old.values())) > 0
    with_others = paired_difference({**new, "only here": True}, {**old, "only there": True})
    assert with_others == forward


def test_paired_interval_is_narrower_than_chance_disagreement_and_clear_gains_show():
    right = {str(i): i < 60 for i in range(100)}
    more = {str(i): i < 75 for i in range(100)}
    assert paired_difference(more, right).shown and not paired_difference(right, right).shown
    # The same shares with twice as many disagreements leave more doubt.
    shuffled = {str(i): 10 <= i < 85 for i in range(100)}
    assert paired_difference(shuffled, right).low < paired_difference(more, right).low


def test_summary_says_no_more_than_the_intervals(run):
    record = read_record(run)
    figures = {e["name"]: e["eval"] for e in report_json(record)["iterations"]}
    answers = {entry.name: rights(entry) for entry in record.entries}
    against = deltas(answers, CONTINUED)
    text = " ".join(summary(record, figures, deltas(answers, "ft-rationale"), against))
    assert not against["tripost-3"]["total"].shown and "no difference can be told" in text
    assert f"{100 * figures['tripost-3']['accuracy']['total']:.1f} %" in text and "one seed" in text
    sure = {
        "tripost-3": {
            "total": paired_difference({str(i): i > 9 for i in range(99)}, dict.fromkeys(map(str, range(99)), False))
        }
    }
    assert "more accurate" in " ".join(summary(record, figures, {}, sure))
    worse = {
        "tripost-3": {
            "total": paired_difference(dict.fromkeys(map(str, range(99)), False), {str(i): i > 9 for i in range(99)})
        }
    }
    assert "less accurate" in " ".join(summary(record, figures, {}, worse))


@given(st.floats(-1, 1))
def test_points_never_show_a_signed_zero(value):
    text = points(value)
    assert (text == "±0.0") == (round(100 * value, 1) == 0) and text[0] in "+−±"


@given(st.floats(0, 1e4), st.floats(1e-3, 1e4), st.integers(2, 6))
def test_ticks_are_few_round_and_inside(low, size, num):
    values = ticks(low, low + size, num)
    assert len(values) <= num + 2 and values == sorted(set(values))
    assert all(low - 1e-6 * size <= v <= low + size * (1 + 1e-6) for v in values)


# -- text and lines ----------------------------------------------------------------------------------------------------

_ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@given(_ANY_TEXT)
def test_revealed_text_holds_nothing_invisible(text):
    shown = reveal(text)
    assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    assert reveal(shown) == shown
    ordinary = "".join(c for c in text if c == "\n" or c.isprintable())
    assert reveal(ordinary) == ordinary


_LINES = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 6), st.text('abc 12-(=)"', max_size=12)).map(lambda x: f"({x[0]}) {x[1]}"),
        st.text('ab (1)"', max_size=8),
        st.just("(Final response) So the answer is 4."),
    ),
    min_size=1,
    max_size=7,
).map("\n".join)


@settings(max_examples=60)
@given(_LINES, _LINES)
def test_a_diff_holds_both_attempts_completely(previous, attempt):
    lines = attempt_lines(attempt, previous)
    new = [line.text for line in lines if line.kind != "removed"]
    old = ["".join(p.text for p in line.parts if p.op != "ins") for line in lines if line.kind != "added"]
    # An empty attempt has no lines.
    assert "\n".join(new) == attempt and "\n".join(old) == previous
    assert all(p.op == "keep" for line in lines if line.kind == "same" for p in line.parts)
    if previous == attempt:
        assert {line.kind for line in lines} <= {"same"}


@settings(max_examples=60)
@given(_LINES, st.none() | _LINES, st.data())
def test_the_segment_is_marked_in_its_line_and_nowhere_else(attempt, previous, data):
    steps = attempt.split("\n")
    index = data.draw(st.integers(0, len(steps) - 1))
    header = re.match(r"\((\d|Final response)\)(?: |$)", steps[index])
    assume(header is not None and attempt != "")
    step = "final" if header[1] == "Final response" else header[1]
    first = next(
        i for i, line in enumerate(steps) if line == header[0].strip() or line.startswith(header[0].strip() + " ")
    )
    start = data.draw(st.integers(0, len(steps[first]) - 1))
    segment = steps[first][start : data.draw(st.integers(start + 1, len(steps[first])))].strip()
    assume(segment)
    own = [line for line in attempt_lines(attempt, previous, step, segment) if line.kind != "removed"]
    marked = ["".join(p.text for p in line.parts if p.marked) for line in own]
    assert marked[first] == segment and own[first].wrong
    assert not any(marked[:first] + marked[first + 1 :]) and sum(line.wrong for line in own) == 1
    assert "\n".join(line.text for line in own) == attempt


@pytest.mark.parametrize(
    ("step", "segment", "marked"),
    [
        ("2", "2", ["", "2"]),  # the number, not a digit of 12
        ("2", "= 5", ["", "= 5"]),
        ("2", "not there", ["", "(2) 12 + 2 = 5."]),  # the whole line
        ("7", None, ["", "(2) 12 + 2 = 5."]),  # a missing step: the last line there is
        (None, None, ["", ""]),
    ],
)
def test_where_a_segment_is_marked(step, segment, marked):
    lines = attempt_lines("(1) 12.\n(2) 12 + 2 = 5.", None, step, segment)
    assert ["".join(p.text for p in line.parts if p.marked) for line in lines] == marked


def test_a_repair_shows_as_the_words_that_changed():
    lines = attempt_lines("(1) a b.\n(2) 3 + 4 = 7.", "(1) a b.\n(2) 3 + 4 = 8.")
    assert [line.kind for line in lines] == ["same", "changed"]
    assert [(p.op, p.text) for p in lines[1].parts] == [
        ("keep", "(2) 3 + 4 = "),
        ("del", "8"),
        ("ins", "7"),
        ("keep", "."),
    ]


def test_overlong_attempts_are_cut_with_a_note():
    lines = attempt_lines("\n".join(f"({i}) {'x' * 5000}" for i in range(400)), None, "1", "x" * 4000)
    assert len(lines) < 130 and all(len(line.text) < 1600 for line in lines)
    assert "280 more lines" in lines[-1].text and "more characters" in lines[0].text
    assert attempt_lines("", None, "1", None) == []


# -- trajectories ------------------------------------------------------------------------------------------------------


def test_trajectories_carry_what_became_of_them(run):
    record = read_record(run)
    found = load_trajectories(record)
    assert len(found) == 144 and {t.iteration for t in found} == {1, 2, 3}
    assert set(OUTCOMES) - {t.outcome for t in found} == {"attempt", "open"}
    entry = next(e for e in record.entries if e.name == "tripost-2")
    triplets = read_rows(entry.stages["filter"])
    trained = {row["triplet_id"] for row in read_rows(entry.stages["balance"])}
    mine = [t for t in load_trajectories(record, 2) if t.iteration == 2]
    assert sum(len(t.triplets) for t in mine) == len(triplets)
    assert sum(x.trained for t in mine for x in t.triplets) == len(trained)
    assert sum(not x.kept for t in mine for x in t.triplets) == sum(not row["kept"] for row in triplets)
    for t in mine:
        assert (t.error_class in ERROR_CLASSES) == (t.outcome != "direct")
        assert t.status == ("discarded" if t.outcome == "discarded" else "correct")


def test_trajectories_of_baselines(run, tmp_path):
    """Of ft SI. demo those that the expert began, whatever order the record has; of LMSI attempts alone."""
    record = read_record(run)
    entry = next(e for e in record.entries if e.name == "tripost-1")
    shown, edited = entry.stages["generate"], entry.stages["feedback-0"]

    def of(stages):
        return record.model_copy(update={"entries": [entry.model_copy(update={"stages": stages})]})

    lmsi = load_trajectories(of({"select": entry.stages["balance"], "generate": shown}))
    assert {t.outcome for t in lmsi} == {"attempt"} and "An attempt alone" in render_report(
        of({"select": entry.stages["balance"], "generate": shown, "evaluate": entry.stages["evaluate"]})
    )

    students = [{**row, "trajectory_id": f"own.{row['trajectory_id']}"} for row in read_rows(edited)]
    about = {"metrics": {"num_directly_correct": 1, "error_classes": {"favourite": 2}}}
    own = write_buffer(str(tmp_path / "own"), "trajectories-2", students, about=about)
    demo = of({"generate": own, "judged": own, "feedback-0": edited, "demonstrate": shown})
    found = load_trajectories(demo)
    assert {t.id: t.status for t in found} == {row["trajectory_id"]: row["status"] for row in read_rows(edited)}
    assert [name for name, _ in error_table(demo).rows] == ["directly correct", "favourite"]


def test_the_choice_is_stratified_and_deterministic(run):
    found = load_trajectories(read_record(run))
    for limit in (1, 7, 60, 96, 500):
        chosen = choose(found, limit)
        assert len(chosen) == min(limit, len(found)) == len({t.id for t in chosen})
        assert chosen == choose(list(reversed(found)), limit)
    chosen = choose(found, 60)
    for iteration in (1, 2, 3):
        part = [t for t in chosen if t.iteration == iteration]
        assert len(part) == 20
        assert {t.outcome for t in part} == {t.outcome for t in found if t.iteration == iteration}
        assert {t.error_class for t in part if t.outcome == "repaired"} == set(ERROR_CLASSES)


# -- report.html -------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Elements, attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.inside[self.open[-1]] = self.inside.get(self.open[-1], "") + data
        else:
            self.texts.append(data)


def assert_inert(text: str) -> Page:
    page = Page(text)
    assert page.open == [], "every element is closed"
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == tags.count("style") == 1
    assert not {"img", "iframe", "object", "embed", "link", "base", "foreignobject", "image", "use"} & set(tags)
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcdoc")], tag
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inside[name].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    return page


def test_the_page_is_one_inert_file_with_what_it_promises(run):
    text = render_report(read_record(run))
    page = assert_inert(text)
    assert len(text) < 3_000_000
    shown = [a for tag, a in page.elements if a.get("class") == "trajectory"]
    assert 50 <= len(shown) == MAX_TRAJECTORIES
    assert {a["data-outcome"] for a in shown} == {t.outcome for t in load_trajectories(read_record(run))}
    tags = [tag for tag, _ in page.elements]
    assert tags.count("mark") > 50 and tags.count("ins") > 50 and tags.count("del") > 50
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert targets <= set(ids)
    assert all(a.get("aria-label") for tag, a in page.elements if tag == "svg")
    assert text == render_report(read_record(run)), "the same run gives the same page"


def test_titles_leave_out_what_all_questions_begin_with(run):
    found = load_trajectories(read_record(run))[:2]
    words = [replace(t, question=f"Sort these words:\nList: ab{i} x") for i, t in enumerate(found)]
    assert _titles(words) == ["… ab0 x", "… ab1 x"]
    assert _titles(found) == [t.question for t in found] and _titles([]) == []
    assert _titles(words[:1]) == ["Sort these words: List: ab0 x"]


def test_text_of_models_is_inert_and_made_visible(hostile_run):
    record = read_record(hostile_run)
    page = assert_inert(render_report(record))
    text = "".join(page.texts)
    assert "<script>document.documentElement.dataset.pwned" in text and "{{ 7 * 7 }}" in text
    assert "⟨U+202E⟩gnp.exe" in text and "⟨U+001B⟩[31m" in text and "⟨U+0000⟩" in text
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]


@given(_ANY_TEXT)
def test_any_text_in_a_template_is_escaped_once(text):
    from tripost_core.report.svg import tag

    page = Page(str(tag("text", text, class_=text)))
    assert len(page.elements) == 1 and page.open == []
    assert "".join(page.texts) == text.replace("\r\n", "\n").replace("\r", "\n") or "\r" in text or "\x00" in text


@pytest.mark.parametrize(
    ("method", "keep", "said"),
    [
        ("lmsi", "tripost-3", "after 3 LMSI iterations it is right on"),
        ("si-demo", "tripost-1", "after ft SI. demo it is right on"),
        ("rationale", CONTINUED, "trained on with gold rationales alone it is right on"),
    ],
)
def test_the_report_of_a_baseline_does_not_speak_of_tripost(run, method, keep, said):
    record = read_record(run)
    kept = [entry for entry in record.entries if entry.name in ("ft-rationale", keep)]
    name = {"lmsi": "lmsi-3", "si-demo": "si-demo"}.get(method, keep)
    entries = [entry if entry.name == "ft-rationale" else entry.model_copy(update={"name": name}) for entry in kept]
    record = record.model_copy(update={"config": {**record.config, "method": method}, "entries": entries})
    page = render_report(record)
    assert said in page
    sentences = page[page.index("fine-tuned on gold rationales is right") : page.index("one run with one seed")]
    assert "TriPosT" not in sentences
    assert ("lmsi-k" in page) == (method == "lmsi") and "tripost-k" not in page
