"""Molecular dynamics under a model, and of the solutions that data come from."""
