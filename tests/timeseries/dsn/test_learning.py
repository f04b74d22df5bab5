"""Does it learn? Accuracies on benchmark sets, with slack below what was measured."""

from pathlib import Path

import pytest

from sparsewire.datasets import load_panel
from sparsewire.timeseries.dsn import DSNClassifier

pytestmark = pytest.mark.filterwarnings("ignore:kernel_size=.* is cut:UserWarning")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_epochs", "least"),
    [
        ("gunpoint", 100, 0.95),
        ("italypowerdemand", 100, 0.93),
        ("coffee", 60, 0.96),
        ("basicmotions", 60, 0.95),
    ],
)
def test_narrow_networks_reach_known_accuracies_in_seconds(
    data_dir: Path, name: str, n_epochs: int, least: float
) -> None:
    data = load_panel(name)
    fitted = DSNClassifier(n_filters=16, n_epochs=n_epochs, random_state=0)
    assert fitted.fit(data.X_train, data.y_train).score(data.X_test, data.y_test) >= least


def test_the_reference_mode_learns(data_dir: Path) -> None:
    data = load_panel("italypowerdemand")
    fitted = DSNClassifier(
        n_filters=8, n_epochs=25, padding="right", pad_value="replicate", random_state=0
    )
    assert fitted.fit(data.X_train, data.y_train).score(data.X_test, data.y_test) >= 0.9
