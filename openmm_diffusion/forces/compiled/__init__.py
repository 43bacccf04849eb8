"""A denoiser's energy and forces compiled into one graph, and where such graphs are kept."""
