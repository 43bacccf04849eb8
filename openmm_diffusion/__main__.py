"""python -m openmm_diffusion."""

from .cli import main

main()
