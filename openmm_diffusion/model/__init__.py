"""The model: a weighted sum of energies, its file, and sums of models."""
