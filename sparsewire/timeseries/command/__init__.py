"""What ``sparsewire ts`` consists of: arguments, what is read, the three tasks, what is written."""
