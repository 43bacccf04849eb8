"""What 03_five_arms.py is made of."""
