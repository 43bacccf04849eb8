"""Training of a network by descent on its loss."""
