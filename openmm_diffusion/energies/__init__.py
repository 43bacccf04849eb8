"""The energies that a model can be a sum of, one file each."""
