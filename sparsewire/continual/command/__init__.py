"""What ``sparsewire cl`` consists of: benchmarks, methods, runs, results, plots."""
