"""What ``sparsewire select`` consists of: request, methods, training, results."""
