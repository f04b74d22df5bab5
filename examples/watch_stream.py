"""When does a machine begin to behave differently? ALACPD on two sensors, one sample at a time.

The stream is made up: after 300 samples it becomes warmer, after 600 it shakes four times as much,
after 900 it is cold again. The detector learns what is usual from the first 120 samples, reports
every change as it comes, and is saved and loaded on the way, as if the program had been stopped.
With some seeds it misses the second change. Run ``python examples/watch_stream.py``; it takes some
seconds and downloads nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sparsewire.timeseries import ALACPD, covering, f1_score_with_margin

CHANGES, WARM_UP, STOP = [300, 600, 900], 120, 500


def stream(n_samples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield temperature and vibration."""
    rng = np.random.default_rng(seed)
    for k in range(n_samples):
        warm, loud = CHANGES[0] <= k < CHANGES[2], k >= CHANGES[1]
        sensors = np.array([20 + warm, (4 if loud else 1) * np.sin(0.3 * k)])
        yield sensors + 0.1 * rng.normal(size=2)


def main() -> None:
    """Watch, stop, go on, and compare with what is known about the stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1200, help="length of the stream")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, default=Path("watch_stream.npz"), help="file")
    options = parser.parse_args()
    sensors = stream(options.samples, options.seed)
    detector = ALACPD(random_state=options.seed)
    detector.fit([next(sensors) for _ in range(WARM_UP)])
    found, started = [], time.process_time()
    for k, sample in enumerate(sensors, start=WARM_UP):
        for event in detector.update(sample):
            print(f"sample {k}: changed at {event.index}, {event.score:.1f} times the usual loss")
            found.append(event.index)
        if k == STOP:
            detector.save(options.state)
            detector = ALACPD.load(options.state)
            print(f"sample {k}: saved and loaded, {detector.memory_bytes_} bytes kept")
    rate = (options.samples - WARM_UP) / (time.process_time() - started)
    truth = {"truth": [k for k in CHANGES if k < options.samples]}
    f1 = f1_score_with_margin(truth, found)
    cover = covering(truth, found, options.samples)
    print(f"F1 {f1:.2f}, covering {cover:.2f}, {rate:.0f} samples per second of CPU time")


if __name__ == "__main__":
    main()
