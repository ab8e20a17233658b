"""The expert client against a real HTTP server: each call paid once, none lost, never over the budget."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from misbehaving_endpoint import GARBAGE, Behaviour, MisbehavingEndpoint, serving

from tripost_core.config import CallsConfig, ExpertConfig
from tripost_core.errors import ConfigError, StoppedError, StorageError
from tripost_core.experts import answers, client
from tripost_core.experts.answers import Call
from tripost_core.experts.asking import cache_directory, check_calls, open_client
from tripost_core.experts.budget import BudgetExceededError
from tripost_core.experts.prices import price_of
from tripost_core.experts.response_cache import NAME, ResponseCache

SECRET = "sk-never-to-be-seen-0123456789"


def call(i=0, **parts):
    messages = ({"role": "system", "content": parts.pop("system", "Judge.")}, {"role": "user", "content": f"q {i}"})
    return Call("gpt-4o-mini", messages, **parts)


def ask(url, calls, tmp_path, run="run", model="gpt-4o-mini", api="openai", key=SECRET, **settings):
    """Answers and the statistics of one client's life."""
    expert = ExpertConfig(kind="llm", model=model, base_url=url, api=api, api_version="2024-10-21")
    config = CallsConfig.model_validate({"cache_dir": str(tmp_path / "cache"), **settings})

    async def work():
        async with open_client(expert, config, run, {"api_key": key} if key else {}) as opened:
            try:
                return await opened.complete_all(calls), opened.statistics
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    return asyncio.run(work())


def serve(behaviour=None, **parts):
    return MisbehavingEndpoint(behaviour or Behaviour(), **parts)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(client, "FIRST_BACKOFF_SECONDS", 0.01)


def test_calls_come_back_in_order_and_are_paid_once(tmp_path):
    endpoint = serve()
    calls = [call(i) for i in range(300)]
    with serving(endpoint) as url:
        first, statistics = ask(url, calls, tmp_path)
        again, hits = ask(url, calls, tmp_path)
    assert [a.text for a in first] == [a.text for a in again] and len({a.text for a in first}) == 300
    assert endpoint.stats["answered"] == 300 == statistics.calls
    assert (hits.calls, hits.cache_hits, hits.cost_usd) == (0, 300, 0.0)
    assert all(a.from_cache and a.cost_usd == 0 for a in again)
    assert statistics.cost_usd == pytest.approx(sum(a.cost_usd for a in first)) and statistics.cost_usd > 0


def test_what_is_asked_for_decides_what_is_sent_again(tmp_path):
    endpoint = serve()
    calls = [call(i) for i in range(40)]
    with serving(endpoint) as url:

        def sent(new):
            before = endpoint.stats["answered"]
            ask(url, new, tmp_path)
            return endpoint.stats["answered"] - before

        assert sent(calls) == 40
        assert sent([*calls, call(40)]) == 1
        assert sent([call(i, system="Judge again.") for i in range(40)]) == 40
        assert sent([call(i, temperature=0.5) for i in range(40)]) == 40
        assert sent([call(i, sample=1) for i in range(40)]) == 40
        assert sent([call(i, tag="prompts-2") for i in range(40)]) == 40
        assert sent([call(i, response_format={"type": "json_object"}) for i in range(40)]) == 40
        assert sent(calls) == 0


def test_identical_calls_at_once_are_one(tmp_path):
    endpoint = serve(Behaviour(latency=0.1))
    with serving(endpoint) as url:
        found, statistics = ask(url, [call(7)] * 64, tmp_path)
    assert endpoint.stats["requests"] == 1 == statistics.calls
    assert len({a.text for a in found}) == 1 and statistics.joined == 63


def test_an_endpoint_that_stumbles_loses_nothing(tmp_path):
    endpoint = serve(Behaviour(p429=0.2, p500=0.05, drop=0.02, retry_after=0.05))
    with serving(endpoint) as url:
        found, statistics = ask(url, [call(i) for i in range(400)], tmp_path, max_in_flight=32)
    assert {a.outcome for a in found} == {answers.OK}
    assert statistics.rate_limited == endpoint.stats["sent_429"] > 0
    assert statistics.retries == endpoint.stats["sent_500"] + endpoint.stats["dropped"] > 0


def test_rate_limits_cost_no_attempt(tmp_path):
    endpoint = serve(Behaviour(p429=0.9, retry_after=0.01))
    with serving(endpoint) as url:
        found, statistics = ask(url, [call(i) for i in range(10)], tmp_path)
    assert {a.outcome for a in found} == {answers.OK}
    assert statistics.rate_limited > client.MAX_ATTEMPTS * 10


def test_refused_prompts_are_lost_alone_and_typed(tmp_path):
    endpoint = serve(Behaviour(bad=0.1))
    with serving(endpoint) as url:
        found, statistics = ask(url, [call(i) for i in range(300)], tmp_path)
    bad = [a for a in found if a.outcome == answers.BAD_REQUEST]
    assert len(bad) == endpoint.stats["sent_400"] == statistics.failed > 0
    assert "this prompt is refused" in bad[0].detail
    assert {a.outcome for a in found} == {answers.OK, answers.BAD_REQUEST}


def test_answers_that_are_none_are_typed_and_kept_because_they_were_paid(tmp_path):
    endpoint = serve(Behaviour(empty=0.2, cut=0.2, garbage=0.1))
    with serving(endpoint) as url:
        first, _ = ask(url, [call(i) for i in range(200)], tmp_path)
        again, _ = ask(url, [call(i) for i in range(200)], tmp_path)
    outcomes = [a.outcome for a in first]
    assert {answers.OK, answers.EMPTY, answers.CUT_OFF} == set(outcomes)
    assert any(a.text == GARBAGE and a.outcome == answers.OK for a in first), "whether it helps is not for the client"
    assert outcomes == [a.outcome for a in again] and endpoint.stats["answered"] == 200


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [(401, ConfigError, "refuses the key of $OPENAI_API_KEY"), (404, ConfigError, "does not know the address")],
)
def test_a_wrong_key_or_model_ends_it_with_one_sentence(tmp_path, status, error, words):
    endpoint = serve(Behaviour(status=status, message="no such model"))
    with serving(endpoint) as url, pytest.raises(error) as raised:
        ask(url, [call(i) for i in range(100)], tmp_path)
    assert words in str(raised.value) and SECRET not in str(raised.value)
    assert endpoint.stats["requests"] <= 64


def test_a_used_up_account_is_not_waited_for(tmp_path):
    endpoint = serve(Behaviour(status=429, message="insufficient_quota"))
    with serving(endpoint) as url, pytest.raises(StoppedError, match="no quota left"):
        ask(url, [call()], tmp_path)


def test_an_endpoint_that_is_not_there_ends_it(tmp_path):
    with serving(serve()) as url:
        pass
    with pytest.raises(StoppedError, match="cannot be reached"):
        ask(url, [call(i) for i in range(40)], tmp_path, max_in_flight=4)


def test_a_server_that_always_fails_is_given_up_after_some_attempts(tmp_path):
    endpoint = serve(Behaviour(status=500))
    with serving(endpoint) as url:
        found, _ = ask(url, [call(0), call(1)], tmp_path)
    assert [a.outcome for a in found] == [answers.SERVER_ERROR] * 2
    assert endpoint.stats["requests"] == 2 * client.MAX_ATTEMPTS


def test_an_answer_that_takes_too_long_is_timed_out(tmp_path):
    endpoint = serve(Behaviour(latency=1.0))
    with serving(endpoint) as url:
        found, _ = ask(url, [call()], tmp_path, timeout_seconds=0.05)
    assert found[0].outcome == answers.TIMED_OUT


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": 7}}]}']
)
def test_a_body_that_is_no_answer_is_malformed(body):
    from tripost_core.experts.endpoint import Received, read_answer

    assert read_answer(Received(200, {}, body)).outcome == answers.MALFORMED


def test_parameters_that_a_model_does_not_take_are_left_out(tmp_path):
    def reply(body):
        if "max_tokens" in body:
            raise ValueError("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body:
            raise ValueError("Unsupported value: 'temperature' does not support 0.0 with this model.")
        return "fine"

    for max_in_flight in (1, 64):  # one after the other, and all sent before the first answer
        with serving(serve(Behaviour(latency=0.1), reply=reply)) as url:
            found, _ = ask(
                url, [call(i) for i in range(100)], tmp_path / str(max_in_flight), max_in_flight=max_in_flight
            )
        assert [(a.outcome, a.text) for a in found] == [(answers.OK, "fine")] * 100


def test_an_endpoint_that_answers_nothing_stops_the_run_in_its_own_words(tmp_path, caplog):
    endpoint = serve(Behaviour(status=400, message=f"the model {SECRET} is switched off"))
    with serving(endpoint) as url:
        with pytest.raises(
            StoppedError, match=r"answered none of 10 calls in a row .bad request: the model "
        ) as caught:
            ask(url, [call(i) for i in range(50)], tmp_path, max_in_flight=4)
        assert SECRET not in str(caught.value) and "switched off" in str(caught.value)
        found, _ = ask(url, [call(i) for i in range(9)], tmp_path, max_in_flight=4)  # too few to tell
        assert {a.outcome for a in found} == {answers.BAD_REQUEST} and "9 calls got no answer" in caplog.text
        endpoint.behaviour.status = 0
        found, _ = ask(url, [call(i) for i in range(50)], tmp_path, max_in_flight=4)
    assert {a.outcome for a in found} == {answers.OK}


def test_after_answers_it_takes_many_failures_in_a_row_to_stop(tmp_path):
    refused = {f"q {i}" for i in range(100, 115)}

    def reply(body):
        if body["messages"][-1]["content"] in refused:
            raise ValueError("too long")
        return "fine"

    with serving(serve(reply=reply)) as url:
        found, _ = ask(url, [call(i) for i in range(115)], tmp_path, max_in_flight=2)
        assert [a.outcome for a in found].count(answers.BAD_REQUEST) == 15
        refused |= {f"q {i}" for i in range(200, 300)}
        with pytest.raises(StoppedError, match="none of 20 calls in a row"):
            ask(url, [call(i) for i in [115, *range(200, 300)]], tmp_path, max_in_flight=2)


def test_an_answer_in_parts_is_read_and_what_was_charged_is_never_sent_again(tmp_path):
    from tripost_core.experts.endpoint import Received, read_answer

    usage = {"prompt_tokens": 7, "completion_tokens": 2}

    def read(message, **more):
        return read_answer(Received(200, {}, json.dumps({"choices": [{"message": message}], **more}).encode()))

    parts = [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "It is "}, {"type": "text", "text": "4."}]
    assert read({"content": parts}, usage=usage).text == "It is 4."
    paid = read({"content": 7}, usage=usage)
    assert (paid.outcome, paid.prompt_tokens, paid.completion_tokens) == (answers.EMPTY, 7, 2)
    assert read_answer(Received(200, {}, json.dumps({"choices": [], "usage": usage}).encode())).outcome == answers.EMPTY


@pytest.mark.parametrize("url", ["http://[bad/v1", "ftp://x", "nonsense", ""])
def test_an_address_that_is_none_is_one_sentence(url):
    calls = CallsConfig()
    with pytest.raises(ConfigError, match="is not an http or https address"):
        check_calls(ExpertConfig(kind="llm", model="m", base_url=url), calls, {"api_key": "k"})


def test_what_is_known_before_the_first_call():
    calls = CallsConfig(budget_usd=1.0)
    with pytest.raises(ConfigError, match=r"price of expert\.model is not known"):
        check_calls(ExpertConfig(kind="llm", model="unheard-of"), calls, {"api_key": "k"})
    with pytest.raises(ConfigError, match=r"needs a key, and \$OPENAI_API_KEY is not set"):
        check_calls(ExpertConfig(kind="llm", model="gpt-4o-mini"), calls, {})
    check_calls(ExpertConfig(kind="llm", model="gpt-4o-mini"), calls, {"api_key": "k"})


# -- budget ------------------------------------------------------------------------------------------------------------


def long_answer(body):
    return "word " * 200


def test_the_budget_is_never_passed_and_nearly_used(tmp_path):
    endpoint = serve(reply=long_answer)
    calls = [call(i, max_tokens=300) for i in range(2000)]
    price = price_of("gpt-4o-mini")
    budget = 0.02
    with serving(endpoint) as url:
        with pytest.raises(BudgetExceededError) as raised:
            ask(url, calls, tmp_path, budget_usd=budget)
        kept = ResponseCache(tmp_path / "cache")
        spent = kept.spent_usd("run")
        worst = price.cost_usd(calls[-1].most_prompt_tokens, 300)
        assert budget - worst <= spent <= budget
        assert spent == pytest.approx(sum(row["cost_usd"] for row in kept.summary()))
        paid = endpoint.stats["answered"]
        assert kept.summary()[0]["answers"] == paid
        kept.close()
        # The same command stops at once; with a higher budget it goes on and pays for nothing twice.
        with pytest.raises(BudgetExceededError):
            ask(url, calls, tmp_path, budget_usd=budget)
        assert endpoint.stats["answered"] == paid
        with pytest.raises(BudgetExceededError):
            ask(url, calls, tmp_path, budget_usd=2 * budget)
        assert endpoint.stats["answered"] == len(endpoint.answered) > 1.8 * paid
    for words in ("calls.budget_usd", "is used up", "every answer is kept", "goes on from here"):
        assert words in str(raised.value)


def test_another_run_has_a_budget_of_its_own_and_shares_the_answers(tmp_path):
    endpoint = serve(reply=long_answer)
    calls = [call(i, max_tokens=300) for i in range(20)]
    with serving(endpoint) as url:
        ask(url, calls, tmp_path, budget_usd=0.01)
        _, statistics = ask(url, calls, tmp_path, run="another", budget_usd=0.000001)
    assert statistics.cache_hits == 20


def test_a_budget_without_a_price_is_refused_before_anything_is_sent(tmp_path):
    endpoint = serve()
    with serving(endpoint) as url:
        with pytest.raises(ConfigError, match=r"calls\.prices_file"):
            ask(url, [call()], tmp_path, model="home-made", budget_usd=1.0)
        prices = tmp_path / "prices.yaml"
        prices.write_text("home-made: {input: 1.0, output: 2.0}\n")
        found, _ = ask(url, [call()], tmp_path, model="home-made", budget_usd=1.0, prices_file=str(prices))
    assert found[0].outcome == answers.OK and found[0].cost_usd > 0


def test_prices():
    assert price_of("gpt-4o-2024-08-06") == price_of("gpt-4o")
    assert price_of("gpt-4o-mini-2024-07-18") == price_of("gpt-4o-mini")
    assert price_of("nobody") is None
    assert price_of("gpt-4o").cost_usd(1_000_000, 100_000) == pytest.approx(3.5)
    assert price_of("gpt-4o").cost_usd(1_000_000, 100_000, batch=True) == pytest.approx(1.75)


@pytest.mark.parametrize("text", ["- 1", "m: 3", "m: {input: -1, output: 1}", "m: {input: 1}", "{"])
def test_a_price_file_that_is_none(tmp_path, text):
    path = tmp_path / f"{abs(hash(text))}.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="price file"):
        price_of("m", str(path))


# -- cache -------------------------------------------------------------------------------------------------------------


def test_the_key_of_an_endpoint_is_nowhere(tmp_path, caplog):
    endpoint = serve(Behaviour(p500=0.2, bad=0.1))
    with caplog.at_level("DEBUG"), serving(endpoint) as url:
        ask(url, [call(i) for i in range(50)], tmp_path)
    assert endpoint.keys == {f"Bearer {SECRET}"}
    assert SECRET not in caplog.text
    for path in (tmp_path / "cache").iterdir():
        assert SECRET.encode() not in path.read_bytes()
    assert not any(SECRET in str(body) for body in endpoint.bodies)


def test_a_cache_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / NAME).write_bytes(b"not a database, but long enough to be one" * 100)
    with serving(serve()) as url, pytest.raises(StorageError, match="response cache"):
        ask(url, [call()], tmp_path)


def test_prune_and_summary(tmp_path):
    with serving(serve()) as url:
        ask(url, [call(i, tag="word_sorting-1-aa") for i in range(5)], tmp_path)
        ask(url, [call(i, tag="word_sorting-2-bb") for i in range(3)], tmp_path)
    kept = ResponseCache(tmp_path / "cache")
    assert [(row["tag"], row["answers"]) for row in kept.summary()] == [
        ("word_sorting-2-bb", 3),
        ("word_sorting-1-aa", 5),
    ]
    assert kept.prune(older_than=time.time() - 3600) == 0
    assert kept.prune(tag="word_sorting-1") == 5
    assert kept.prune(model="other") == 0
    assert kept.prune() == 3 and kept.summary() == []
    kept.close()


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TRIPOST_CACHE", str(tmp_path / "here"))
    assert cache_directory() == tmp_path / "here"
    assert cache_directory(CallsConfig(cache_dir=str(tmp_path))) == tmp_path
    monkeypatch.delenv("TRIPOST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "tripost" / "answers"


KILLED = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_expert_client import ask, call
ask({url!r}, [call(i) for i in range(600)], Path({directory!r}), max_in_flight=32)
"""


def test_kill_9_loses_no_answer_and_repeats_at_most_those_in_flight(tmp_path):
    endpoint = serve(Behaviour(latency=0.02))
    with serving(endpoint) as url:
        script = KILLED.format(tests=str(Path(__file__).parent), url=url, directory=str(tmp_path))
        kills = 0
        for wanted in (80, 250, 420):
            process = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
            while endpoint.stats["answered"] < wanted:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        found, _ = ask(url, [call(i) for i in range(600)], tmp_path, max_in_flight=32)
    assert {a.outcome for a in found} == {answers.OK} and len(endpoint.answered) == 600
    repeats = endpoint.stats["answered"] - 600
    assert repeats <= kills * 32


def test_two_processes_share_a_cache(tmp_path):
    endpoint = serve(Behaviour(latency=0.001))
    with serving(endpoint) as url:
        script = KILLED.format(tests=str(Path(__file__).parent), url=url, directory=str(tmp_path))
        processes = [subprocess.Popen([sys.executable, "-c", script], env=os.environ) for _ in range(2)]
        assert [process.wait(60) for process in processes] == [0, 0]
        _, statistics = ask(url, [call(i) for i in range(600)], tmp_path)
    assert statistics.cache_hits == 600
    database = sqlite3.connect(tmp_path / "cache" / NAME)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT COUNT(*) FROM answers").fetchone() == (600,)


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_azure_is_addressed_by_deployment(tmp_path):
    endpoint = serve()
    with serving(endpoint) as url:
        found, _ = ask(url.removesuffix("/v1"), [call()], tmp_path, api="azure")
    assert found[0].outcome == answers.OK and endpoint.keys == {SECRET}


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        ("ftp://example.org", SECRET, "not an http"),
        ("nonsense", SECRET, "not an http"),
        ("https://user:pass@example.org/v1", SECRET, "must not have a user"),
        ("https://api.openai.com/v1", None, "needs a key, and $OPENAI_API_KEY is not set"),
        ("http://127.0.0.1:1/v1", "two words", "characters in it"),
    ],
)
def test_addresses_and_keys_that_cannot_be(tmp_path, url, key, words):
    with pytest.raises(ConfigError) as raised:
        ask(url, [call()], tmp_path, key=key)
    assert words in str(raised.value) and SECRET not in str(raised.value)
