"""What 02_error_against_sigma.py is made of."""
