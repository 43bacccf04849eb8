"""A denoiser in simulation programs other than OpenMM."""
