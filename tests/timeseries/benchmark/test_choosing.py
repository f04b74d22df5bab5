"""Names, seeds and parameters: what is taken, and what is refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from sparsewire.core.errors import InvalidArgumentError
from sparsewire.timeseries.benchmark.choosing import check_parameters, find_data
from sparsewire.timeseries.benchmark.classification import ClassifyBench
from sparsewire.timeseries.benchmark.detection import DetectBench
from sparsewire.timeseries.benchmark.forecasting import ForecastBench
from sparsewire.timeseries.dsn import DSNClassifier


def test_names_become_canonical_and_all_means_everything(data_dir: Path) -> None:
    everything = ["gunpoint", "coffee"]
    assert find_data(["Gun-Point", "all", "gunpoint"], "panel", everything) == tuple(everything)


def test_absent_data_name_the_variable_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InvalidArgumentError, match="SPARSEWIRE_DATA"):
        ClassifyBench(data=["gunpoint"])


@pytest.mark.parametrize(
    ("bench", "arguments", "message"),
    [
        (ClassifyBench, {"data": ["unittest"]}, "unittest is not of this benchmark"),
        (ClassifyBench, {"data": ["nile"]}, "not of the kind 'panel'"),
        (ClassifyBench, {"methods": ["dns"]}, "unknown method 'dns'. Did you mean 'dsn'"),
        (ClassifyBench, {"methods": []}, "name at least one method"),
        (ClassifyBench, {"seeds": []}, "give at least one seed"),
        (ClassifyBench, {"seeds": [-1]}, "a seed must be an integer >= 0"),
        (ClassifyBench, {"steps": 0}, "steps must be an integer >= 1"),
        (ClassifyBench, {"parameters": {"n_filter": 3}}, "Did you mean 'n_filters'"),
        (ClassifyBench, {"parameters": {"n_filters": 0}}, "'n_filters' parameter"),
        (ClassifyBench, {"parameters": {"topology": "dense"}}, "--methods dsn, dsn-static"),
        (ForecastBench, {"data": ["air_passengers"]}, "air_passengers is not of this benchmark"),
        (ForecastBench, {"models": ["dlinaer"]}, "unknown model 'dlinaer'. Did you mean 'dlinear'"),
        (ForecastBench, {"n_horizons": 0}, "n_horizons must be an integer >= 1"),
        (ForecastBench, {"look_back": 0}, "look_back must be an integer >= 1"),
        (ForecastBench, {"methods": ["granet"]}, "takes the density that PALS found"),
        (ForecastBench, {"methods": ["dense"], "tune": True}, "--tune is for pals"),
        (
            ForecastBench,
            {"tune": True, "parameters": {"loss_freedom": 1.2}},
            "leave loss_freedom out",
        ),
        (ForecastBench, {"parameters": {"horizon": 3}}, "use --n-horizons"),
        (DetectBench, {"parameters": {"windows": 3}}, "Did you mean 'window'"),
        (DetectBench, {"parameters": {"random_state": 3}}, "use --seeds"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    bench: Any, arguments: dict[str, Any], message: str, data_dir: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        bench(**arguments)


def test_parameters_in_their_bounds_are_taken() -> None:
    check_parameters(DSNClassifier(), {"n_filters": 3, "batch_size": "auto"}, {})
