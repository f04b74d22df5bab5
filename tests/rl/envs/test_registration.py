"""The registered names: the peers' own checkers, what is copied, and every order of imports."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import sparsewire.rl
from sparsewire.rl import FeatureHistogram, NoisyFeatures, relevant_mask
from sparsewire.rl.envs.registration import BASE_IDS
from tests.rl.envs.helpers import laplace, observations

# What both checkers say about wrappers, unbounded spaces, and the base environments' actions.
EXPECTED = (
    "is different from the unwrapped version",
    "observation space minimum value is -infinity",
    "observation space maximum value is infinity",
    "symmetric and normalized",
)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("base_id", BASE_IDS)
def test_both_checkers_accept_every_registered_environment(base_id: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env = gym.make(f"Noisy{base_id}", disable_env_checker=True)
        check_env(env, skip_render_check=True)
        check_env_sb3(gym.make(f"Noisy{base_id}", noise_fraction=0.95, permute_every=5))
    messages = [str(warning.message) for warning in caught]
    assert [m for m in messages if not any(known in m for known in EXPECTED)] == []


@pytest.mark.parametrize("base_id", BASE_IDS)
def test_limit_and_threshold_are_those_of_the_base(base_id: str) -> None:
    ours, base = gym.spec(f"Noisy{base_id}"), gym.spec(base_id)
    assert ours.max_episode_steps == base.max_episode_steps is not None
    assert ours.reward_threshold == base.reward_threshold


def test_the_time_limit_ends_an_episode() -> None:
    env = gym.make("NoisyReacher-v5")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[3] for _ in range(50)]
    assert ends == [False] * 49 + [True]
    assert gym.make("NoisyReacher-v5", max_episode_steps=7).spec.max_episode_steps == 7  # type: ignore[union-attr]


def test_arguments_reach_the_noise_or_else_the_environment() -> None:
    env: Any = gym.make("NoisyPendulum-v1", noise_fraction=0.98, noise_std=2.0, g=3.0)
    assert env.observation_space.shape == (150,)
    assert env.get_wrapper_attr("layout").noise.std == 2.0
    assert env.unwrapped.g == 3.0


def test_an_argument_that_nobody_takes_is_named() -> None:
    with pytest.raises(TypeError, match="noise_fractoin"):
        gym.make("NoisyPendulum-v1", noise_fractoin=0.9)


def test_a_wrong_argument_keeps_its_error_through_make() -> None:
    with pytest.raises(sparsewire.core.errors.InvalidArgumentError, match=r"got 1;"):
        gym.make("NoisyPendulum-v1", noise_fraction=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"noise_fraction": 0.5, "permute_every": 3, "g": 3.0},
        {"distribution": laplace, "refresh": "episode"},
        {"distribution": FeatureHistogram.fit(np.eye(3))},
    ],
    ids=["default", "permuted", "callable", "histogram"],
)
def test_an_environment_can_be_made_again_from_its_spec(arguments: dict[str, Any]) -> None:
    env = gym.make("NoisyPendulum-v1", **arguments)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert again.spec == env.spec
    assert str(again) == str(env)
    assert np.array_equal(observations(again, 9, seed=0), observations(env, 9, seed=0))


def test_a_spec_survives_json() -> None:
    env = gym.make("NoisyPendulum-v1", noise_fraction=0.5)
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space.shape == (6,)


def test_a_wrapped_environment_of_ones_own_can_be_made_again_too() -> None:
    env = NoisyFeatures(gym.make("Pendulum-v1"), noise_fraction=0.5)
    assert env.spec is not None
    assert gym.make(env.spec).observation_space.shape == (6,)


def test_vector_environments_of_gymnasium_have_different_noise_in_each() -> None:
    envs = gym.make_vec("NoisyPendulum-v1", num_envs=3, noise_fraction=0.5)
    first, info = envs.reset(seed=0)
    assert first.shape == (3, 6)
    assert info["noise_phase"].tolist() == [0, 0, 0]
    assert len(np.unique(first[:, 3:])) == 9
    assert np.array_equal(envs.reset(seed=0)[0], first)


@pytest.fixture
def painted() -> Iterator[str]:
    """The name of a registered environment that renders without pygame or OpenGL."""
    here = "tests.rl.envs.helpers:Painted"
    gym.register("Painted-v0", here, max_episode_steps=50)
    kwargs = {"base_id": "Painted-v0"}
    there = "sparsewire.rl.envs.registration:make_noisy"
    gym.register("NoisyPainted-v0", there, max_episode_steps=50, kwargs=kwargs)
    yield "NoisyPainted-v0"
    del gym.registry["Painted-v0"], gym.registry["NoisyPainted-v0"]


def test_pictures_are_those_of_the_environment(painted: str) -> None:
    env = gym.make(painted, render_mode="rgb_array")
    observations(env, 3)
    picture: Any = env.render()
    assert np.array_equal(picture, np.full((32, 32, 3), 3))


def test_lists_of_pictures_survive_being_made_again(painted: str) -> None:
    env = gym.make(painted, render_mode="rgb_array_list")
    assert env.spec is not None
    for each in (env, gym.make(env.spec)):
        observations(each, 3)
        pictures: Any = each.render()
        assert [picture[0, 0, 0] for picture in pictures] == [0, 1, 2, 3]


def test_videos_can_be_recorded_over_it(painted: str) -> None:
    pytest.importorskip("moviepy", reason="gymnasium's RecordVideo needs moviepy")
    env: Any = RecordVideo(gym.make(painted, render_mode="rgb_array"), "videos")
    observations(env, 5)
    env.close()
    assert (Path("videos") / "rl-video-episode-0.mp4").stat().st_size > 0


KNOWN = "gym.spec('NoisyPendulum-v1')"


@pytest.mark.parametrize(
    "code",
    [
        f"import gymnasium as gym, sparsewire.rl; gym.register_envs(sparsewire.rl); {KNOWN}",
        f"import sparsewire.rl, gymnasium as gym; gym.register_envs(sparsewire.rl); {KNOWN}",
        "import gymnasium as gym; gym.make('sparsewire.rl.envs:NoisyPendulum-v1')",
        "import importlib.util, sparsewire.rl; importlib.util.find_spec('gymnasium'); "
        f"import gymnasium as gym; {KNOWN}",
        f"import sparsewire.rl, stable_baselines3; import gymnasium as gym; {KNOWN}",
    ],
    ids=["gymnasium first", "sparsewire first", "by module", "searched before", "through SB3"],
)
def test_the_names_are_known_in_whatever_order_packages_are_imported(code: str) -> None:
    run_python(code)


def test_the_watcher_leaves_no_trace_once_gymnasium_is_there() -> None:
    code = (
        "import sys; before = list(sys.meta_path)\n"
        "import sparsewire.rl, gymnasium, importlib.resources, importlib.machinery\n"
        "assert sys.meta_path == before\n"
        "assert type(gymnasium.__spec__.loader) is importlib.machinery.SourceFileLoader\n"
        "assert importlib.resources.files('gymnasium').joinpath('__init__.py').is_file()\n"
    )
    run_python(code)


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "gymnasium", "stable_baselines3"}
    assert run_python(f"import sys, sparsewire.rl; print({heavy} & set(sys.modules))") == "set()"


@pytest.mark.parametrize("package", ["sparsewire.rl", "sparsewire.rl.envs"])
@pytest.mark.parametrize(
    ("missing", "name"),
    [("gymnasium", "NoisyFeatures"), ("stable_baselines3", "FreshNoiseReplayBuffer")],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    package: str, missing: str, name: str
) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"import {package} as package\n"
        f"try: package.{name}\n"
        "except ImportError as error: print(error)\n"
    )
    expected = f'{name} needs {missing}: pip install "sparsewire[rl]" installs it.'
    assert run_python(code) == expected


@pytest.mark.parametrize("package", [sparsewire.rl, sparsewire.rl.envs])
def test_every_public_name_can_be_imported_and_no_other(package: Any) -> None:
    for name in package.__all__:
        assert getattr(package, name) is getattr(sparsewire.rl, name)
    assert sorted(dir(package)) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


def test_the_mask_is_found_under_the_wrappers_of_make() -> None:
    mask = relevant_mask(gym.make("NoisyHalfCheetah-v5", noise_fraction=0.98))
    assert mask is not None
    assert np.flatnonzero(mask).tolist() == list(range(17))
    assert mask.size == 850
