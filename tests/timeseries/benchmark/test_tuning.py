"""Which pair is chosen: a slow reference and the cases that matter."""

from hypothesis import given
from hypothesis import strategies as st

from sparsewire.timeseries.benchmark.tuning import GRID, Pair, choose

Runs = dict[Pair, dict[str, float]]


def run(loss: float, sparsity: float) -> dict[str, float]:
    return {"validation_loss": loss, "sparsity": sparsity}


def test_the_grid_is_the_papers() -> None:
    assert len(GRID) == len(set(GRID)) == 9
    assert {value for pair in GRID for value in pair} == {1.05, 1.1, 1.2}


def test_a_nearly_dense_run_does_not_compete_with_sparse_ones() -> None:
    runs = {GRID[0]: run(0.1, 0.59), GRID[1]: run(0.3, 0.6), GRID[2]: run(0.2, 0.9)}
    choice = choose(runs)
    assert (choice.pair, choice.n_sparse, choice.n_runs) == (GRID[2], 2, 3)


def test_without_a_sparse_run_all_compete() -> None:
    choice = choose({GRID[0]: run(0.1, 0.2), GRID[1]: run(0.05, 0.3)})
    assert (choice.pair, choice.n_sparse, choice.text) == (GRID[1], 0, "1.05, 1.1 (0 of 2)")


def test_the_first_of_equally_good_pairs_is_chosen() -> None:
    assert choose({pair: run(0.5, 0.7) for pair in GRID}).pair == GRID[0]


@given(
    st.dictionaries(
        st.sampled_from(GRID),
        st.builds(run, st.floats(0, 1), st.floats(0, 1)),
        min_size=1,
    )
)
def test_no_run_that_competes_is_better(runs: Runs) -> None:
    choice = choose(runs)
    chosen = runs[choice.pair]
    for other in runs.values():
        if other["sparsity"] >= 0.6 or choice.n_sparse == 0:
            assert chosen["validation_loss"] <= other["validation_loss"]
    assert chosen["sparsity"] >= 0.6 or all(other["sparsity"] < 0.6 for other in runs.values())
