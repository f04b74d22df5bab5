"""`sparsewire ts detect -`: every event at once, as over the array, and states to go on with."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsewire.timeseries import ALACPD
from tests.timeseries.command.helpers import refusal, run, shifted, strict_json, succeed

STREAM = ("detect", "-", "--param", "n_init:60")


def lines(start: int = 0, stop: int = 160, header: bool = True) -> str:
    rows = [f"{n},{a!r},{b!r}" for n, (a, b) in enumerate(shifted().tolist())][start:stop]
    return "\n".join(["second,a,b"] * header + rows) + "\n"


def expected_events() -> list[dict[str, Any]]:
    found = ALACPD(n_init=60, random_state=0).detect(shifted())
    return [
        {
            "index": event.index,
            "time": str(event.index),
            "detected_at": event.detected_at,
            "delay": event.delay,
            "score": event.score,
            "member_votes": event.member_votes,
        }
        for event in found.events
    ]


def events_of(text: str) -> list[dict[str, Any]]:
    return [strict_json(line) for line in text.splitlines()]


def test_events_are_those_of_the_array() -> None:
    result = succeed(*STREAM, "--time", "second", standard_input=lines())
    assert events_of(result.stdout) == expected_events() != []
    assert "160 samples seen, 1 changes" in result.stderr
    silent = succeed(*STREAM, "--time", "second", "--quiet", standard_input=lines())
    assert silent.stderr == ""


def test_a_header_is_not_needed_and_dates_are_recognised() -> None:
    rows = [f"{a!r},{b!r}" for a, b in shifted().tolist()]
    found = events_of(succeed(*STREAM, standard_input="\n".join(rows)).stdout)
    assert found == [{**event, "time": None} for event in expected_events()]
    dated = [f"2024-01-01 10:{n // 60:02}:{n % 60:02},{row}" for n, row in enumerate(rows)]
    found = events_of(succeed(*STREAM, standard_input="\n".join(dated)).stdout)
    assert [event["time"] for event in found] == ["2024-01-01 10:01:40"]


@pytest.mark.parametrize("cut", [70, 101, 102])
def test_a_stream_in_two_parts_equals_a_stream_in_one(tmp_path: Path, cut: int) -> None:
    state = tmp_path / "state.npz"
    time = ("--time", "second")
    first = succeed(*STREAM, *time, "--save-state", state, standard_input=lines(0, cut))
    second = succeed(
        "detect", "-", *time, "--load-state", state, "--save-state", state,
        standard_input=lines(cut),
    )  # fmt: skip
    found = events_of(first.stdout + second.stdout)
    forgotten = {"time": None} if cut > 100 else {}  # that sample was in the first part
    assert found == [event | forgotten for event in expected_events()]
    assert ALACPD.load(state).n_seen_ == 160


def test_columns_are_chosen_by_name() -> None:
    options = ("--time", "second", "--columns", "b")
    found = events_of(succeed(*STREAM, *options, standard_input=lines()).stdout)
    detected = ALACPD(n_init=60, random_state=0).detect(shifted()[:, 1])
    assert [event["index"] for event in found] == detected.change_points


def test_a_line_that_cannot_be_read_stops_the_stream_but_keeps_its_state(tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    fixed = (*STREAM, "--quiet", "--save-state", state)
    for bad, word in (("160,x,1", "'x'"), ("160,1", "2 fields"), ("160,,1", "missing")):
        text = lines(stop=90) + bad + "\n"
        message = refusal(run(*fixed, "--force", "--time", "second", standard_input=text))
        assert "line 92" in message
        assert word in message
        assert ALACPD.load(state).n_seen_ == 90


@pytest.mark.parametrize(
    ("options", "text", "words"),
    [
        ([], lines(stop=20), ["20 samples", "60"]),
        ([], "", ["0 samples"]),
        (["--columns", "c"], lines(), ["'c'", "second, a, b"]),
        (["--columns", "a"], lines(header=False), ["header"]),
        (["-o", "out"], lines(), ["--output"]),
        (["--plots"], lines(), ["--plots"]),
        (["--param", "window:0"], lines(), ["window"]),
        (["--load-state", "no.npz"], lines(), ["--param"]),
    ],
)
def test_unusable_streams_and_options_are_refused(
    options: list[str], text: str, words: list[str]
) -> None:
    message = refusal(run(*STREAM, *options, standard_input=text))
    assert [word for word in words if word not in message] == []


def test_a_share_as_warm_up_and_a_damaged_state_are_refused(tmp_path: Path) -> None:
    message = refusal(run("detect", "-", "--param", "n_init:0.2", standard_input=lines()))
    assert "n_init:200" in message
    (tmp_path / "state.npz").write_text("nonsense")
    state = ("--load-state", tmp_path / "state.npz")
    assert "state.npz" in refusal(run("detect", "-", *state, standard_input=lines()))


@pytest.mark.parametrize("n_init", ["0", "-5", "3", "many", "True"])
def test_a_warm_up_that_is_no_sufficient_number_is_refused(n_init: str) -> None:
    message = refusal(run("detect", "-", "--param", f"n_init:{n_init}", standard_input=lines()))
    assert "n_init must be an integer >= " in message
    assert n_init in message


@pytest.mark.parametrize("place", [0, 2000])
def test_a_byte_that_is_no_text_is_refused_with_its_line(tmp_path: Path, place: int) -> None:
    text = lines().encode()
    bad = text[:place] + b"\xff" + text[place:]
    number = text[:place].count(b"\n") + 1
    state = tmp_path / "state.npz"
    options = ("--param", "n_init:20", "--quiet", "--time", "second", "--save-state", state)
    message = refusal(run("detect", "-", *options, standard_input=bad))
    assert f"line {number} " in message
    assert "UTF-8" in message
    if place:  # the lines before the wrong one count
        assert ALACPD.load(state).n_seen_ == number - 2


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    text = b"\xef\xbb\xbf" + lines().encode()
    result = succeed(*STREAM, "--time", "second", standard_input=text)
    assert events_of(result.stdout) == expected_events()


def test_a_date_with_missing_values_is_no_header() -> None:
    rows = ["2024-01-01,,"] + [f"2024-01-02 00:{n:02},{n % 2},1" for n in range(40)]
    options = ("--param", "missing:hold", "n_init:30")
    said = succeed("detect", "-", *options, standard_input="\n".join(rows)).stderr
    assert "41 samples seen" in said


@pytest.mark.parametrize(
    ("row", "words"),
    [("89,1,1", ["'89'", "twice"]), ("7,1,1", ["'7'", "'89'"]), ("soon,1,1", ["'soon'", "time"])],
)
def test_times_of_a_stream_must_increase(row: str, words: list[str]) -> None:
    text = lines(stop=90) + row + "\n"
    message = refusal(run(*STREAM, "--quiet", "--time", "second", standard_input=text))
    assert [word for word in ["line 92", *words] if word not in message] == []


def test_times_in_two_zones_and_a_quote_that_is_not_closed_are_refused() -> None:
    text = "2024-01-01T00:00:00+01:00,1\n2024-01-01T00:00:01+02:00,2\n"
    message = refusal(run(*STREAM, standard_input=text))
    assert "line 2" in message
    assert "time zone" in message
    assert "line 1" in refusal(run(*STREAM, standard_input='"a,b\n1,2\n'))


def test_times_without_values_are_refused() -> None:
    message = refusal(run(*STREAM, "--time", "second", standard_input="second\n1\n2\n"))
    assert "column of values" in message


def test_a_seed_for_a_detector_that_is_loaded_is_refused() -> None:
    assert "--seed" in refusal(run("detect", "-", "--load-state", "s.npz", "--seed", 7))


def test_an_event_is_printed_before_the_next_line_arrives() -> None:
    code = "from sparsewire.cli import main; main()"
    command = [sys.executable, "-c", code, "ts", *STREAM, "--time", "second"]
    (event,) = expected_events()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines(stop=event["detected_at"] + 1))
        process.stdin.flush()  # and the pipe stays open
        assert json.loads(process.stdout.readline()) == event
        rest, said = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert f"{event['detected_at'] + 1} samples seen" in said
