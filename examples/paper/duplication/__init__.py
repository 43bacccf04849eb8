"""What 04_duplication.py is made of."""
