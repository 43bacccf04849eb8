"""What 07_all_atom.py is made of."""
