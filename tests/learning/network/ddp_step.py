"""One training step in double precision: `test_ddp` takes it alone, and runs this file in two processes."""

import os
import sys
from pathlib import Path

import torch
from models import licl_denoiser, licl_frames

from openmm_diffusion.learning.config import read_config
from openmm_diffusion.learning.network.loop import DenoisingTask, train_network
from openmm_diffusion.learning.network.processes import end_with_parent
from openmm_diffusion.learning.trainingset import TrainingSystem, tensors
from openmm_diffusion.units import thermal_energy


class Recorded(DenoisingTask):
    """Keeps the gradient that the optimiser is given, before it is clipped."""

    def on_before_optimizer_step(self, optimizer):
        self.gradient = {name: p.grad.clone() for name, p in self.network.named_parameters() if p.grad is not None}


def take_step(directory, devices, process=0):
    """Gradient, weights after the step and held-out loss go into `step-PROCESS.pt`; returns them."""
    training = {"steps": 1, "batch": 6, "check_every": 1, "validation_draws": 1, "devices": devices}
    # 7 frames to validate: unequal shares.
    config = read_config({"noise": {"sigma": 0.005}, "training": training})
    denoiser = licl_denoiser(kinds=("coulomb", "pair", "network"), precision="double")
    fixed, network = denoiser.subset(["coulomb", "pair"]).model, denoiser.subset(["network"]).model
    frames = licl_frames()
    parts = [tensors(part, denoiser, config, torch.float64) for part in (frames[:13], frames[13:])]
    task = Recorded(network, [TrainingSystem(fixed, *parts, thermal_energy(300))], config)
    result = train_network(task, directory, resume=False, progress=False)
    found = {"gradient": task.gradient, "weights": task.state_dict(), "loss": result["held_out_loss"]}
    torch.save(found, directory / f"step-{process}.pt")
    return found


if __name__ == "__main__":
    end_with_parent()
    torch.set_num_threads(1)
    take_step(Path(sys.argv[1]), 2, int(os.environ["LOCAL_RANK"]))
