"""A page about runs: what was fitted, how well it is known, whether it is right, and how to make it again."""
