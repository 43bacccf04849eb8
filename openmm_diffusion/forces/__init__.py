"""A denoiser as an OpenMM Force."""
