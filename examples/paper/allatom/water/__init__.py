"""Liquid water: its frames, claims and figure."""
