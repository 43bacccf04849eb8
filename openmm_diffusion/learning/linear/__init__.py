"""Fits in closed form of energies that are linear in their coefficients."""
