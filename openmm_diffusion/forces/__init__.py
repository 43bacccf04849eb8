"""A denoiser as an OpenMM Force."""

# Before OpenMM: openmm-torch's plugins load only where torch's libraries are loaded already.
import torch  # noqa: F401
