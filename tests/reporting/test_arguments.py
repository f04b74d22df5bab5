"""Text on the command line: literals become values, everything else is refused, nothing runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.core import InvalidArgumentError
from sparsewire.reporting.arguments import parse_pairs, parse_seeds
from sparsewire.rl.command.settings import MAX_SEED, Settings

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(max_size=5)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["a", "b_1", "net_arch"]), PLAIN, max_size=2))
def test_every_plain_value_survives_the_command_line(values: dict[str, object]) -> None:
    texts = [f"{key}:{value!r}" for key, value in values.items()]
    assert parse_pairs("-params", texts) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:1e-3", 0.001),
        ("a:(1, 'episode')", [1, "episode"]),
        ("a:uniform", "uniform"),
        ("a:None", None),
        ("a:{'net_arch': [64, 64]}", {"net_arch": [64, 64]}),
        ("a:-0.5", -0.5),
        ("a:'x:y'", "x:y"),
    ],
)
def test_values_are_python_literals_or_words(text: str, value: object) -> None:
    assert parse_pairs("-params", [text]) == {"a": value}


@pytest.mark.parametrize(
    "text",
    [
        "a", "a:", ":1", "1a:2", "a:__import__('os')", "a:1+", "a:true", "a:none", "a:{1, 2}",
        "a:1j", "a:b'x'", "a:{1: 2}", "a:[", "a b:1", "a:f(1)", "a:" + "[" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="-params"):
        parse_pairs("-params", [text])


def test_a_word_that_looks_like_a_literal_is_asked_about() -> None:
    with pytest.raises(InvalidArgumentError, match="write None, or \"'none'\" if the word"):
        parse_pairs("--param", ["normalise:none"])


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="twice"):
        parse_pairs("-params", ["a:1", "a:2"])


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds("3") == [3]
    assert parse_seeds("0-2,7") == [0, 1, 2, 7]


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1,", "0-4,2", "0..4", str(2**32)])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_timesteps", 0), ("n_timesteps", 1.5), ("n_timesteps", True), ("seed", -1),
        ("seed", MAX_SEED + 1), ("eval_episodes", 0), ("eval_freq", -1), ("num_threads", 0),
        ("env_kwargs", {"noise_fraction": 1}), ("env_kwargs", {"noise_fraction": 1.5}),
        ("env_kwargs", {"noise_fraction": float("nan")}), ("env_kwargs", {"noise_fraction": "x"}),
        ("env_kwargs", {"f": print}), ("params", [1]), ("params", {1: 2}), ("algo", ""),
        ("env", None),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    given = {"algo": "td3", "env": "Pendulum-v1", name: value}
    expected = "noise_fraction|env_kwargs" if name == "env_kwargs" else name
    with pytest.raises(InvalidArgumentError, match=expected):
        Settings(**given)  # type: ignore[arg-type]


def test_tuples_in_settings_become_what_yaml_gives_back() -> None:
    made = Settings(algo="td3", env="Pendulum-v1", params={"train_freq": (1, "episode")})
    assert made.params == {"train_freq": [1, "episode"]}
