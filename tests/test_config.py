"""The configuration: the paper's values by default, and one sentence that names the key for every error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tripost_core.config import RunConfig
from tripost_core.config_file import load_config, parse_config
from tripost_core.errors import ConfigError

OWN_TASK = str(Path(__file__).parents[1] / "examples" / "grade_school" / "task.yaml")


def test_the_defaults_are_the_papers():
    config = RunConfig()
    assert (config.iterations, config.expert.max_rounds, config.rationale.num_epochs, config.train.num_epochs) == (
        3,
        5,
        5,
        4,
    )
    assert (config.train.learning_rate, config.train.warmup_ratio, config.train.improvement_weight) == (1e-6, 0.2, 1.5)
    assert (config.balance.improvement_ratio, config.balance.min_improvements, config.balance.replay) == (
        1.5,
        60,
        "all",
    )
    assert (config.train.batch_size, config.train.max_length_tokens, config.generate.temperature) == (4, 1024, 1.0)
    assert config.expert.mistake_rate == 0


def test_what_looks_like_a_date_is_text(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("expert: {kind: llm, model: m, api: azure, api_version: 2024-10-21}\n")
    assert load_config(path).expert.api_version == "2024-10-21"
    assert load_config(path, ["expert.api_version=2024-13-45"]).expert.api_version == "2024-13-45"


def test_a_configuration_survives_json():
    config = RunConfig(task="word_sorting", seed=3, data={"num_train": 7})
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_only_where_and_how_the_work_is_done_cannot_change_a_number():
    never = {"compute", "calls", "tracking"}
    for method, unread in {
        "tripost": {"lmsi", "si_demo"},
        "lmsi": {"si_demo"},
        "si-demo": {"lmsi"},
    }.items():
        assert set(RunConfig.model_fields) - set(RunConfig(method=method).results_part()) == never | unread


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"iteratons": 3}, r"iteratons: .*\(known keys: task, seed, method, iterations, "),
        ({"train": {"lr": 1e-3}}, r"train\.lr: .*\(known keys: learning_rate, "),
        ({"iterations": 0}, r"iterations: Input should be greater than or equal to 1"),
        ({"seed": -1}, r"seed: "),
        ({"expert": {"mistake_rate": 1.1}}, r"expert\.mistake_rate: "),
        ({"task": "chess"}, r"task.*'multistep_arithmetic', 'word_sorting'"),
        ({"train": {"learning_rate": "fast"}}, r"train\.learning_rate: "),
        ({"train": 3}, r"train: "),
        ({"data": {"num_test_seen": 0, "num_test_unseen": 0}}, r"data: .*nothing to evaluate on"),
        ({"method": "workings"}, r"method is workings, so expert\.checks has to be true"),
        ({"task": "date_understanding", "expert": {"checks": True}}, r"expert\.checks is for scripts of multistep"),
        ({"task": OWN_TASK, "method": "si-demo"}, r"no mistakes to plant, so expert\.kind has to be llm"),
        ([1], r"is not a mapping"),
        ("text", r"is not a mapping"),
    ],
)
def test_what_is_wrong_is_named(data, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(data, "my.yaml")
    assert str(caught.value).startswith("my.yaml") and "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
sections = st.sampled_from(sorted(RunConfig.model_fields))


@given(st.dictionaries(sections | st.text(max_size=5), json_values, max_size=3))
def test_any_mapping_gives_a_configuration_or_one_sentence(data):
    try:
        config = parse_config(data)
    except ConfigError as error:
        assert str(error)
    else:
        assert parse_config(config.model_dump(mode="json")) == config


def load(tmp_path, text, *overrides):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return load_config(path, list(overrides))


def test_overrides_are_yaml_and_reach_any_depth(tmp_path):
    text = "task: word_sorting\ntrain: {learning_rate: 0.001, batch_size: 8}\n"
    config = load(tmp_path, text, "train.learning_rate=2e-3", "balance.auto=true", "student.device=null", "seed=5")
    assert (config.train.learning_rate, config.train.batch_size) == (2e-3, 8)
    assert (config.balance.auto, config.student.device, config.seed, config.task) == (True, None, 5, "word_sorting")
    assert load(tmp_path, text).train.learning_rate == 1e-3


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load(tmp_path, "") == RunConfig() == load(tmp_path, "# nothing\n")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "key.sub=value"),
        ("=3", "key.sub=value"),
        ("seed=[", "not a YAML value"),
        ("seed.deep=3", "seed is a value, not a group"),
        ("trian.batch_size=3", "trian"),
        ("train.batch_size=many", r"train\.batch_size"),
    ],
)
def test_a_bad_override_is_named(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, "seed: 1\n", override)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no config file .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load_config(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="is not YAML") as caught:
        load(tmp_path, "a: [1\nb: }")
    assert "\n" not in str(caught.value)


def test_yaml_runs_nothing(tmp_path):
    with pytest.raises(ConfigError, match="is not YAML"):
        load(tmp_path, "seed: !!python/object/apply:os.getpid []\n")
