"""Settings of all tests."""

import torch  # before OpenMM: openmm-torch's plugins load only where torch's libraries are

# Results of a sum depend on how many threads share it.
torch.set_num_threads(1)
