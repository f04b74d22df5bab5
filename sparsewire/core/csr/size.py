"""How many connections does a layer get that is asked for by density, by epsilon or by number?"""

from sparsewire.core._validation import check_fraction, check_integer, check_positive
from sparsewire.core.errors import InvalidArgumentError


def count_connections(
    in_features: int,
    out_features: int,
    *,
    density: float | None = None,
    epsilon: float | None = None,
    n_connections: int | None = None,
) -> int:
    """Return the number of connections that the one given size stands for.

    Parameters
    ----------
    in_features, out_features : int
        Shape of the layer.
    density : float, optional
        Share of all possible connections, in [0, 1].
    epsilon : float, optional
        ``epsilon * (in_features + out_features)`` connections, at most all.
    n_connections : int, optional
        The number itself.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range, or not exactly one is given.

    Examples
    --------
    >>> count_connections(784, 1000, epsilon=20)
    35680
    """
    most = in_features * out_features
    given = {"density": density, "epsilon": epsilon, "n_connections": n_connections}
    sizes = {name: value for name, value in given.items() if value is not None}
    if len(sizes) != 1:
        raise InvalidArgumentError(
            "give exactly one of density, epsilon and n_connections, got "
            f"{', '.join(f'{name}={value}' for name, value in sizes.items()) or 'none'}."
        )
    if density is not None:
        return round(check_fraction("density", density) * most)
    if epsilon is not None:
        return min(most, round(check_positive("epsilon", epsilon) * (in_features + out_features)))
    count = check_integer("n_connections", n_connections, minimum=0)
    if count > most:
        raise InvalidArgumentError(f"n_connections={count} is more than the {most} possible ones.")
    return count
