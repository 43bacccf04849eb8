"""openmm_diffusion: molecular dynamics potentials for OpenMM, learnt by denoising configurations."""
