"""Where does an environment's own randomness come from? One generator per purpose.

A generator is a pure function of a stable name and integers such as (seed, phase); NumPy's global
generator is never advanced.
"""

import hashlib

import numpy as np


def named_generator(name: str, *numbers: int) -> np.random.Generator:
    """Return a generator that depends on `name` and `numbers` and on nothing else."""
    key = "/".join([name, *map(str, numbers)])
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
