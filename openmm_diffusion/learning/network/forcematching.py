"""Losses of a network where frames have force labels: force matching, and the two targets mixed.

At y = x + sigma eps both -kT eps / sigma and F_label(x) have the mean F_sigma(y), given y, and so has
every mixture c (-kT eps / sigma) + (1 - c) F_label(x).  Force matching proper has no noise at all.

References
----------
De Bortoli et al., arXiv:2402.08667 (target score matching).
"""

from dataclasses import replace

import torch

from ...model.sum import energy_and_forces
from ...noise import draw_noise
from .loop import DenoisingTask


def make_task(network, systems, config):
    """The task that `config.target` names; arguments as `DenoisingTask`."""
    kind = {"denoise": DenoisingTask, "force": ForceTask, "hybrid": HybridTask}[config.target]
    return kind(network, systems, config)


class ForceTask(DenoisingTask):
    """Force matching: the labels are the target, at clean positions of labelled frames alone."""

    def __init__(self, network, systems, config):
        once = config.noise.model_copy(update={"draws": 1, "antithetic": False, "fresh": True})
        config = config.model_copy(update={"noise": once})
        labelled = []
        for system in systems:
            both = (frames.at(frames.labelled) for frames in (system.training, system.validation))
            labelled.append(replace(system, **dict(zip(("training", "validation"), both))))
        super().__init__(network, labelled, config)
        # Clean positions stay where they are, and so do the fixed terms' forces there: labels are kept less these.
        for system in self.systems:
            for frames in (system.training, system.validation):
                frames.forces = clean_residual(system.fixed, frames)

    def draw_levels(self, eps, generator):
        return eps.new_zeros(eps.shape[:2])

    def weight(self, sigma):
        return torch.ones_like(sigma)

    def residual(self, system, frames, eps, sigma):
        return frames.forces.repeat(len(eps), 1, 1)

    def validation_step(self, batch, _):
        # Without noise, one look is enough.
        batch = batch.cpu()
        number, rows = self.validation_rows(batch)
        system = self.systems[number]
        frames = system.validation.at(rows[batch % self.processes == self.process]).to(self.device)
        if len(frames.positions):
            eps = torch.zeros_like(frames.positions).unsqueeze(0)
            losses = self.score_losses(system, frames, eps, eps.new_zeros(eps.shape[:2]))
            loss = losses.sum() / len(system.validation.positions)
            self.log_held_out("held_out_loss", self.counted(number, loss))
            if len(self.systems) > 1:
                self.log_held_out(f"held_out_loss_system_{number}", loss)


class HybridTask(DenoisingTask):
    """Denoising, with force labels mixed in where frames have them; the held-out loss stays free of labels.

    Attributes
    ----------
    force_weights : Tensor, shape (n_species,)
        1 - c: the weight of force labels, chosen by `measured_weights`.
    textbook_weights : Tensor, shape (n_species,)
        v_D / (v_D + v_F), with v_D = (kT / sigma)^2 and v_F the mean square of labels off the fixed
        terms: right for single independent draws only.
    """

    def __init__(self, network, systems, config):
        super().__init__(network, systems, config)
        self.register_buffer("force_weights", measured_weights(self), persistent=False)
        off, v_denoise = [[] for _ in self.force_weights], (systems[0].kT / config.noise.sigma) ** 2
        for system in systems:
            labelled = system.training.at(system.training.labelled)
            if len(labelled.positions):
                rest = clean_residual(system.fixed, labelled)
                for s, squares in enumerate(off):
                    squares.append(rest[:, labelled.species == s].square().flatten())
        v_force = torch.stack([torch.cat(squares).mean() for squares in off])
        self.textbook_weights = v_denoise / (v_denoise + v_force)

    def target(self, system, frames, eps, sigma):
        denoising = super().target(system, frames, eps, sigma)
        if not self.training or frames.forces is None:
            return denoising
        labels = frames.forces.repeat(len(eps), 1, 1)
        weight = self.force_weights[frames.species].unsqueeze(-1)
        return torch.where(torch.isnan(labels), denoising, (1 - weight) * denoising + weight * labels)


def clean_residual(fixed, frames):
    """F_label - F_fixed at clean positions, shape (n_frames, n_particles, 3), kJ/mol/nm."""
    rest = []
    for rows in torch.arange(len(frames.positions)).split(64):
        part = frames.at(rows)
        rest.append(
            part.forces
            - energy_and_forces(fixed, part.positions, part.box, part.species, connectivity=part.connectivity)[1]
        )
    return torch.cat(rest) if rest else frames.positions


def measured_weights(task, groups=16, draws=4):
    """Weights of force labels that leave the gradient of the loss the least variance.

    Training starts from a readout of zero, where the gradient is that of the readout alone and
    linear in the target.  g_D and g_F, of the two targets on the particles of one species, are
    taken on the same frames and the same noise, antithetic as in training (which cancels the
    O(1/sigma) part of g_D); their (co)variances V over groups of frames give::

        c = (V_FF - V_DF) / (V_DD + V_FF - 2 V_DF)

    Noise drawn afresh averages out over the visits that training pays a frame; the noise of
    its label is the same at every visit.  So the part of V between draws is divided by the visits.

    Parameters
    ----------
    task : HybridTask
        Its network not trained yet.
    groups, draws : int
        Batches of labelled frames, and draws of noise for each.

    Returns
    -------
    Tensor, shape (n_species,)
        1 - c, between 0 and 1.
    """
    config = task.config
    generator = torch.Generator().manual_seed(config.training.seed + 31)
    n_species = 1 + max(int(system.training.species.max()) for system in task.systems)
    pulls = []
    for system in task.systems:
        # Stretches of a run are as independent as frames can be.
        stretches = torch.nonzero(system.training.labelled).flatten().tensor_split(groups)
        size = min([config.training.batch, *(len(rows) for rows in stretches if len(rows))])
        for rows in stretches:
            if len(rows):
                part = system.training.at(rows[torch.linspace(0, len(rows) - 1, size).round().long()])
                pulls.append(torch.stack([_pulls(task, system, part, n_species, generator) for _ in range(draws)]))
    pulls = torch.stack(pulls).double()  # (groups, draws, species, 2 targets, weights)
    mean = pulls.mean(1)
    within = torch.einsum("gnsip,gnsjp->sij", pulls - mean[:, None], pulls - mean[:, None])
    within = within / (len(pulls) * (draws - 1))
    between = torch.einsum("gsip,gsjp->sij", mean - mean.mean(0), mean - mean.mean(0)) / (len(pulls) - 1)
    n_frames = sum(len(system.training.positions) for system in task.systems)
    visits = max(1.0, config.training.steps * config.training.batch / n_frames)
    V = between + within * ((1 / visits if config.noise.fresh else 1) - 1 / draws)
    difference = V[:, 0, 0] + V[:, 1, 1] - 2 * V[:, 0, 1]
    c = (V[:, 1, 1] - V[:, 0, 1]) / difference.clamp(min=1e-30)
    return (1 - c.clamp(0, 1)).float()


def _pulls(task, system, frames, n_species, generator):
    """Gradient of F . T by the readout, shape (n_species, 2, n_weights), for T of noise and of labels; one draw."""
    noise = task.config.noise
    eps = draw_noise(frames.positions, noise.draws, noise.antithetic, generator, frames.mask)
    sigma = eps.new_full(eps.shape[:2], noise.sigma)
    y, boxes = frames.noised(sigma, eps)
    _, fixed = energy_and_forces(system.fixed, y, boxes, frames.species, connectivity=frames.connectivity)
    _, force = energy_and_forces(
        task.network, y, boxes, frames.species, differentiable=True, connectivity=frames.connectivity
    )
    labels = frames.forces.repeat(len(eps), 1, 1)
    (readout,) = [p for name, p in task.network.named_parameters() if name.endswith("readout.weight")]
    rows = []
    for s in range(n_species):
        of_species = frames.mask * (frames.species == s).unsqueeze(-1)
        for target in (DenoisingTask.target(task, system, frames, eps, sigma), labels):
            product = (force * (target - fixed) * of_species).sum()
            rows.append(torch.autograd.grad(product, readout, retain_graph=True)[0])
    return torch.stack(rows).view(-1, 2, readout.numel())
