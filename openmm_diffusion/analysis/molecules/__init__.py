"""Molecules as such: where their internal coordinates are, and how far those of MD are from the data's."""
