"""What 05_long_runs.py is made of."""
