"""Which single series have a name? The tables of series to forecast and of change points.

The change points are those of TCPD, the Turing Change Point Dataset (van den Burg and Williams,
2020), where several persons annotated each series; some of its series are not redistributable and
not registered. Look-up is ``registry``'s.
"""

from sparsewire.datasets.timeseries.spec import TimeSeriesSpec

_ETT = "github.com/zhouhaoyi/ETDataset at commit 1d16c8f4f9, ETT-small/"
_ETT_LICENCE = "CC BY-ND 4.0: changed or shortened copies must not be distributed"
_CS436 = "github.com/Bolism233/CS436-Final-Project at commit 36f185d6f7, dataset/"
_TCPD = "github.com/alan-turing-institute/TCPD at commit 83b3039b5c, datasets/"
_TCPD_LICENCE = "MIT (repository); for the data see the README beside them"
_ANNOTATIONS_SHA256 = "532bedc29837086a024cf680213afaa832ecdf3d6b1763ae9ad89181fd85227d"


def _csv(filename: str, sha256: str) -> dict[str, str]:
    return {f"forecasting/{filename}.csv": sha256}


SERIES: tuple[TimeSeriesSpec, ...] = (
    TimeSeriesSpec(
        name="etth1",
        title="ETTh1",
        kind="series",
        format="ltsf",
        n_channels=7,
        length=17420,
        target="OT",
        description="Load and oil temperature of a power transformer, hourly, two years",
        licence=_ETT_LICENCE,
        source=_ETT + "ETTh1.csv",
        files=_csv("ETTh1", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"),
    ),
    TimeSeriesSpec(
        name="etth2",
        title="ETTh2",
        kind="series",
        format="ltsf",
        n_channels=7,
        length=17420,
        target="OT",
        description="Load and oil temperature of another power transformer, hourly, two years",
        licence=_ETT_LICENCE,
        source=_ETT + "ETTh2.csv",
        files=_csv("ETTh2", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b"),
    ),
    TimeSeriesSpec(
        name="exchange",
        title="Exchange",
        aliases=("exchange_rate",),
        kind="series",
        format="ltsf",
        n_channels=8,
        length=7588,
        target="OT",
        description=(
            "Daily exchange rates of eight countries against the US dollar; the dates are "
            "made up, and the last two columns are swapped against the original, so OT is its "
            "seventh column"
        ),
        licence="none stated in the repository (origin: laiguokun/multivariate-time-series-data)",
        source=_CS436 + "exchange_rate/exchange_rate.csv",
        files=_csv(
            "exchange_rate", "d55e7aa2641009814a18ba3279431b13f6d413b0eab195b9ff21988d8cf94e97"
        ),
    ),
    TimeSeriesSpec(
        name="illness",
        title="ILI",
        aliases=("national_illness", "ili"),
        kind="series",
        format="ltsf",
        n_channels=7,
        length=966,
        target="OT",
        description="Weekly counts of influenza-like illness in the USA, 2002 to 2020",
        licence="none stated in the repository (origin: US CDC FluView, public domain)",
        source=_CS436 + "illness/national_illness_old.csv",
        files=_csv(
            "national_illness", "8594cecb98c6f2f9dc014eca11c4d5d1e38ad5ce6ed0592d4abe65b146fce395"
        ),
    ),
    TimeSeriesSpec(
        name="air_passengers",
        title="AirPassengers",
        kind="series",
        format="ltsf",
        n_channels=1,
        length=144,
        target="#Passengers",
        description="Monthly passengers of airlines, in thousands, 1949 to 1960",
        licence="Apache-2.0 (repository)",
        source="github.com/unit8co/darts at commit 2be8e43fbd, datasets/AirPassengers.csv",
        files=_csv(
            "AirPassengers", "5f8b316b84545d9cfb05612298df8415ce4c44421c7012d109465564b07ebc06"
        ),
    ),
)


def _tcpd(
    name: str,
    length: int,
    sha256: str,
    description: str,
    *,
    licence: str = _TCPD_LICENCE,
    n_channels: int = 1,
) -> TimeSeriesSpec:
    return TimeSeriesSpec(
        name=name,
        title=name,
        kind="change_points",
        format="tcpd",
        n_channels=n_channels,
        length=length,
        description=description,
        licence=licence,
        source=f"{_TCPD}{name}/{name}.json",
        files={
            f"changepoint/tcpd/{name}.json": sha256,
            "changepoint/annotations.json": _ANNOTATIONS_SHA256,
        },
    )


CHANGE_POINTS: tuple[TimeSeriesSpec, ...] = (
    _tcpd(
        "bank",
        581,
        "e00567946a10dfae6f118dc22f2290dd7065cf40c093e4e61853201999537676",
        "Balance of a bank account; no annotator sees a change",
    ),
    _tcpd(
        "businv",
        330,
        "6184899278eac04b79cce34db7a4d555ae6d68306e6061d6831bf84866246fad",
        "Monthly business inventories in the USA",
    ),
    _tcpd(
        "nile",
        100,
        "1d3bd0c3d8b4cbb5d1368aa1128d59631cfc71889f110def34ec42ba91ec9103",
        "Yearly volume of the Nile at Aswan, 1871 to 1970",
        licence="GPL-2.0 (data)",
    ),
    _tcpd(
        "quality_control_1",
        313,
        "faee7c4134fdea29cf5ab5b9a9884240622cf6f0c548a8605097aacc7ded2a62",
        "Measurements of a quality control, with one change",
    ),
    _tcpd(
        "quality_control_2",
        283,
        "2cca35f891c9966c6fe98faf5b51249898de4ac2761b2f810f6ca7d956d4c316",
        "Measurements of a quality control, with one change",
    ),
    _tcpd(
        "quality_control_3",
        366,
        "6bdaf41f2d48015b7c922318f36dffece6934f2353fab9e324ee5f70f321e989",
        "Measurements of a quality control, with one change",
    ),
    _tcpd(
        "run_log",
        376,
        "6d70ba6dde16e29609283fe8ebfaf3e03048f0e44493809e4f496bc1b89a6f65",
        "Pace and distance of an interval training",
        n_channels=2,
    ),
    _tcpd(
        "seatbelts",
        192,
        "aacf93cbd3b41bba6d7fe9855172a0a54b5d2a605ba0998b29e4e6823804a11f",
        "Monthly car drivers killed or seriously injured in Great Britain, 1969 to 1984",
        licence="GPL-2.0 (data)",
    ),
    _tcpd(
        "us_population",
        816,
        "7c440060003ada87981c252a2b462d2516d3e69c03a09dd85dcd0d08e20cdcf4",
        "Monthly population of the USA",
    ),
    _tcpd(
        "well_log",
        675,
        "522f44890ebb7a07b0654eb3b50afdfd783cc8883f37d93b127763415005d96e",
        "Nuclear magnetic response of rock while drilling a well",
    ),
)
