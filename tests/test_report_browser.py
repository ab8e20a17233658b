"""The report in a real browser: nothing that a model wrote runs, and the viewer's filters and keys work."""

import html
import json
import re
import shutil
import subprocess

import pytest
from report_fixture import ERROR_CLASSES, build_run

from tripost_core.record import read_record
from tripost_core.report.html import MAX_TRAJECTORIES, render_report
from tripost_core.report.trajectories import choose, load_trajectories

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
IN_ATTRIBUTE = "x\" autofocus onfocus=\"parent.postMessage('attribute', '*')\" data-x=\""


def payload(name: str) -> str:
    """Markup that tells the page around it so when any of it runs."""
    say = f"parent.postMessage('{name}', '*')"
    return (
        f'</script></style></textarea><script>{say}</script><img src=x onerror="{say}"><svg onload="{say}"></svg>'
        f'<details open ontoggle="{say}">x</details>'
    )


def dump_dom(page, tmp_path) -> str:
    """The document after its scripts ran."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=3000"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900"]
    done = subprocess.run([CHROMIUM, *flags, "--dump-dom", page.as_uri()], capture_output=True, timeout=120, check=True)
    return done.stdout.decode()


def test_nothing_that_a_model_wrote_runs(tmp_path):
    keys = ("question", "answer", "attempt", "feedback", "student_feedback", "reason")
    spoil = dict.fromkeys(keys, payload("text"))
    spoil |= {"error_step": "1", "error_segment": "<script>", "error_class": IN_ATTRIBUTE, "subtask": IN_ATTRIBUTE}
    build_run(tmp_path / "run", iterations=1, num_train=8, num_test=4, spoil=spoil)
    report = render_report(read_record(tmp_path / "run"))
    pages = {
        "report": report,
        # Were a text ever not escaped, the policy would stop it.
        "policy": report.replace("<main>", f"<main>{payload('past the policy')}", 1),
        # What the test would catch.
        "control": f"<!doctype html><body>{payload('control')}</body>",
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    frames = "".join(f'<iframe src="{name}.html"></iframe>' for name in pages)
    listen = "const said = []; onmessage = (e) => { said.push(e.data); document.title = JSON.stringify(said); };"
    (tmp_path / "index.html").write_text(f"<!doctype html><title>[]</title><script>{listen}</script>{frames}")
    assert set(title(dump_dom(tmp_path / "index.html", tmp_path))) == {"control"}


def title(dom: str):
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom)[1]))


_DRIVER = """
(() => {
  const seen = {};
  const all = [...document.querySelectorAll("details.trajectory")];
  const visible = () => all.filter((one) => getComputedStyle(one).display !== "none").length;
  const set = (name, value) => {
    const field = document.querySelector(`[data-filter="${name}"]`);
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const key = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const open = () => all.filter((one) => one.open).map((one) => one.id).join(" ");
  seen.all = visible();
  set("iteration", "2"); seen.iteration = visible();
  set("outcome", "repaired"); seen.repaired = visible();
  set("error", "copy"); seen.copy = visible();
  seen.count = document.getElementById("count").textContent;
  key("j"); seen.first = open();
  key("j"); seen.second = open();
  key("k"); seen.back = open();
  seen.focus = document.activeElement.parentElement.id;
  key("/"); seen.search = document.activeElement.dataset.filter;
  set("iteration", ""); set("outcome", ""); set("error", "");
  set("text", "NO SUCH TEXT"); seen.none = visible();
  set("text", "Let's CALCULATE"); seen.text = visible();
  document.querySelector("#filters button").click();
  setTimeout(() => {
    seen.cleared = visible();
    location.hash = "#t5";
    setTimeout(() => { seen.linked = open(); document.title = JSON.stringify(seen); }, 100);
  }, 100);
})();
"""


def test_filters_and_keys(tmp_path):
    build_run(tmp_path / "run", num_train=30, num_test=8)
    record = read_record(tmp_path / "run")
    text = render_report(record)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)[0]
    page = tmp_path / "run" / "driven.html"
    page.write_text(text.replace(policy, "").replace("</body>", f"<script>{_DRIVER}</script></body>"), encoding="utf-8")
    seen = title(dump_dom(page, tmp_path))
    shown = choose(load_trajectories(record), MAX_TRAJECTORIES)
    second = [i for i, t in enumerate(shown, 1) if t.iteration == 2]
    repaired = [i for i in second if shown[i - 1].outcome == "repaired"]
    copies = [i for i in repaired if shown[i - 1].error_class == "copy"]
    assert "copy" in ERROR_CLASSES and len(copies) >= 2
    assert (seen["all"], seen["iteration"]) == (len(shown), len(second))
    assert (seen["repaired"], seen["copy"]) == (len(repaired), len(copies))
    assert seen["count"] == f"{len(copies)} of {len(shown)} shown"
    assert (seen["first"], seen["second"], seen["back"]) == tuple(f"t{copies[i]}" for i in (0, 1, 0))
    assert seen["focus"] == f"t{copies[0]}" and seen["search"] == "text"
    assert (seen["none"], seen["text"], seen["cleared"]) == (0, len(shown), len(shown))
    assert seen["linked"] == "t5"
