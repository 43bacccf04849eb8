"""What 01_scaling.py is made of."""
