"""What 06_hybrid.py is made of."""
