"""How fast is all this here? Benchmarks of the engine, behind the command ``sparsewire bench``.

What is compared takes turns in one process, and medians and ratios are reported, because nothing
else means much on a machine that others use as well. This package imports nothing but the engine.
"""
