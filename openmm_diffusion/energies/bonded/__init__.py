"""Energies of internal coordinates of bonded particles: one file for each, registered where it defines its term."""
