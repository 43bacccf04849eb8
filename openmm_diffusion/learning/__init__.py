"""Learning: frames and a configuration in, a denoiser out."""
