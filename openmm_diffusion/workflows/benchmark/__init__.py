"""Speed, memory and accuracy of every way to run a model in OpenMM."""
