"""A model against frames: what is right, what is not, by how much."""
