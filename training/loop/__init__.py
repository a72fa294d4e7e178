"""Training: the loop, the optimiser, losses, noise, checkpoints and TensorBoard."""
