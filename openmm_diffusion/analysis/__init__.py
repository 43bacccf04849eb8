"""What configurations and trajectories say, with error bars."""
