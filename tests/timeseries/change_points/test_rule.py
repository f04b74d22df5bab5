"""Does the decision follow the published rule? Scripted losses against a slow, literal twin."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsewire.timeseries.change_points.rule import Floats, Rule, Thresholds

LIMITS = Thresholds(high=4.0, low=1.4, settle=7, patience=4, floor=1e-8)


def rule(n_members: int = 3, n_ordinary: int = 20, **changes: Any) -> Rule:
    limits = Thresholds(**{**vars(LIMITS), **changes})
    return Rule(limits, np.ones(n_members), n_ordinary)


def feed(rule: Rule, losses: Floats | list[float]) -> list[str]:
    """Play the detector: what was learned counts half, and a change starts at a loss of 1."""
    said = []
    for loss in np.broadcast_to(np.asarray(losses)[..., None], (len(losses), len(rule.usual))):
        verdict = rule.judge(loss)
        if verdict.changed:
            rule.restart(np.ones(len(loss)))
        elif not verdict.anomalous:
            rule.learn(loss / 2)
        said.append("change" if verdict.changed else "anomaly" if verdict.anomalous else "-")
    return said


def twin(losses: list[float], n_ordinary: int) -> list[str]:
    usual, said, run = 1.0, [], 0
    for i, loss in enumerate(losses):
        threshold = 1.4 if n_ordinary > 7 else 4.0
        if loss >= threshold * usual and i > 8 and n_ordinary > 4:
            run += 1
            said.append("anomaly")
            if run > 3:
                said[-1], run, usual, n_ordinary = "change", 0, 1.0, 0
        else:
            run, n_ordinary = 0, n_ordinary + 1
            usual = (usual * (n_ordinary - 1) + loss / 2) / n_ordinary
            said.append("-")
    return said


@given(st.lists(st.sampled_from([0.5, 1.0, 2.0, 5.0, 30.0]), max_size=120), st.integers(1, 30))
def test_decisions_are_those_of_the_literal_rule(losses: list[float], n_ordinary: int) -> None:
    # The two running means round differently, so losses right at a threshold are kept out.
    losses = [loss * (1 + 0.001 * (i % 7)) for i, loss in enumerate(losses)]
    assert feed(rule(n_ordinary=n_ordinary), losses) == twin(losses, n_ordinary)


def test_the_fourth_anomaly_in_a_row_is_a_change() -> None:
    said = feed(rule(), [1.0] * 12 + [9.0] * 3 + [0.5] + [9.0] * 5)
    assert said[12:] == ["anomaly"] * 3 + ["-"] + ["anomaly"] * 3 + ["change", "-"]


def test_the_first_nine_samples_are_never_anomalies() -> None:
    assert feed(rule(), [2.0 * 1.4**i for i in range(10)]) == ["-"] * 9 + ["anomaly"]


def test_a_new_segment_is_judged_leniently_until_it_has_settled() -> None:
    # Eight ordinary samples: five without judgement, then three below four times the usual loss.
    said = feed(rule(), [1.0] * 10 + [9.0] * 4 + [1.0] * 5 + [1.5] * 3 + [1.5])
    assert said[13] == "change"
    assert said[14:] == ["-"] * 8 + ["anomaly"]


@pytest.mark.parametrize(("n_members", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_of_members_decides(n_members: int, needed: int) -> None:
    for votes in range(n_members + 1):
        judged = rule(n_members)
        feed(judged, [2.0] * 10)  # usual losses are below 2 now
        losses = np.where(np.arange(n_members) < votes, 50.0, 0.1)
        verdict = judged.judge(losses)
        assert (verdict.votes, verdict.anomalous) == (votes, votes >= needed)


def test_the_score_is_the_multiple_that_a_majority_reaches() -> None:
    assert rule().judge(np.array([7.0, 0.5, 3.0])).score == 3.0


def test_losses_below_the_floor_are_no_anomalies() -> None:
    quiet = Rule(LIMITS, np.full(3, 1e-30), 20)
    assert "anomaly" not in feed(quiet, [1e-20, 1.3e-8] * 30)
