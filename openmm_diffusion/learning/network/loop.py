"""The training loop of a network, on Lightning: denoising loss, checkpoints, early stopping, resume.

In several processes each takes its share of every batch, of the same draws as one process would make: the
gradient, averaged over the processes by Lightning's DDP, is that of one process up to rounding.
"""

import contextlib
import logging
import math
import signal
import tempfile
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from ...model.sum import energy_and_forces
from ...noise import denoising_force, draw_noise, draw_sigmas
from ...progress import Progress
from ...rundirectory import held
from .kept import Checkpoint, Interruptible, TableLog, WholeCheckpoints, read_checkpoint
from .processes import environment, joined, shared

log = logging.getLogger(__name__)

#: Noise levels of a range that the held-out loss is measured at, evenly on a logarithmic scale.
VALIDATION_LEVELS = 4


class DenoisingTask(pl.LightningModule):
    """Denoising score matching of what the fixed terms leave over.

    With target T = -kT eps / sigma - F_fixed(y) and the network's force F, the loss is
    <|F|^2 - 2 F . T>: the squared error less its constant <|T|^2>, so that zero means
    "no better than no network" and float32 need not resolve a large constant.  In
    units of (kT / 0.1 nm)^2, per noised Cartesian component.  Of several systems, every batch is of
    one, drawn in proportion to what its frames count (`TrainingSystem.size`).

    Over a range of noise levels every frame and draw has its own, log-uniform, and the
    losses are weighted by sigma (`level_weight`), so that no level drowns the others.

    Parameters
    ----------
    network : WeightedSum
        The trainable term alone.
    systems : list of TrainingSystem
    config : Config
    """

    def __init__(self, network, systems, config):
        super().__init__()
        self.network = network
        # In dataclasses, Lightning neither saves nor trains what is fixed.
        self.systems, self.config = systems, config
        for system in systems:
            system.fixed.requires_grad_(False)
        self.sizes = {
            part: torch.tensor([system.size(part) for system in systems]) for part in ("training", "validation")
        }
        self.unit = systems[0].kT / 0.1
        noise = config.noise
        one, several = [noise.smallest], np.geomspace(noise.smallest, noise.largest, VALIDATION_LEVELS).tolist()
        self.levels = one if noise.sigmas is None else several
        # Drawn once: "data duplication" as in Harcombe & Duignan.
        generator = torch.Generator().manual_seed(config.training.seed + 17)
        self.fixed_noise, self.fixed_sigmas = [], []
        for frames in [] if noise.fresh else [system.training for system in systems]:
            eps = draw_noise(frames.positions, noise.draws, noise.antithetic, generator, frames.mask)
            self.fixed_noise.append(eps)
            self.fixed_sigmas.append(draw_sigmas(eps, noise, generator))
        self.process, self.processes = 0, 1
        self.held_out_residuals = {}

    def setup(self, stage):
        self.process, self.processes = self.global_rank, self.trainer.world_size

    def draw_levels(self, eps, generator):
        """Noise level (nm) of every copy, shape (n_copies, n_frames)."""
        return draw_sigmas(eps, self.config.noise, generator)

    def weight(self, sigma):
        """Weight in the loss of each noise level (nm)."""
        return level_weight(sigma, self.config.noise)

    def target(self, system, frames, eps, sigma):
        """Unbiased estimate of the total force at every copy (n_copies n_frames, n_particles, 3), kJ/mol/nm."""
        return denoising_force(eps.flatten(0, 1), sigma.flatten()[:, None, None], system.kT)

    def residual(self, system, frames, eps, sigma):
        """What is left for the network to learn: the target less the forces of the fixed terms, kJ/mol/nm."""
        y, boxes = frames.noised(sigma, eps)
        _, fixed = energy_and_forces(
            system.fixed.to(self.device),
            y,
            boxes,
            frames.species,
            sigma=sigma.flatten(),
            connectivity=frames.connectivity,
        )
        return self.target(system, frames, eps, sigma) - fixed

    def score_losses(self, system, frames, eps, sigma, residual=None):
        """The loss of every copy, shape (n_copies, n_frames).

        Parameters
        ----------
        system : TrainingSystem
        frames : TrainingSet
            Some frames of it.
        eps : Tensor, shape (n_copies, n_frames, n_particles, 3)
        sigma : Tensor, shape (n_copies, n_frames), nm
        residual : Tensor, shape (n_copies n_frames, n_particles, 3), kJ/mol/nm, optional
            Where it is known from an earlier visit.
        """
        y, boxes = frames.noised(sigma, eps)
        residual = self.residual(system, frames, eps, sigma) if residual is None else residual
        _, force = energy_and_forces(
            self.network, y, boxes, frames.species, self.training, sigma.flatten(), frames.connectivity
        )
        losses = ((force * force - 2 * force * residual) * frames.mask).sum((1, 2))
        losses = losses / (self.unit**2 * frames.mask.sum())
        return losses.view_as(sigma)

    def training_step(self, batch, _):
        # Frames and noise follow from the step's number: a resumed run goes on as the killed one would have, and
        # all processes draw the same batch, of which each takes its share.
        settings, noise = self.config.training, self.config.noise
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + self.global_step)
        number = 0
        if len(self.systems) > 1:
            number = int(torch.multinomial(self.sizes["training"], 1, generator=generator))
        system, frames = self.systems[number], self.systems[number].training
        chosen = torch.randint(len(frames.positions), (settings.batch,), generator=generator)
        if noise.fresh:
            eps = draw_noise(frames.positions[chosen], noise.draws, noise.antithetic, generator, frames.mask)
            sigma = self.draw_levels(eps, generator)
        else:
            eps, sigma = self.fixed_noise[number][:, chosen], self.fixed_sigmas[number][:, chosen]
        mine = slice(self.process, None, self.processes)
        frames, eps, sigma = (part.to(self.device) for part in (frames.at(chosen[mine]), eps[:, mine], sigma[:, mine]))
        loss = (self.weight(sigma) * self.score_losses(system, frames, eps, sigma)).mean()
        self.log("training_loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return loss

    def validation_step(self, batch, _):
        # The same draws at every check, never used in training: differences between checks are the network's.
        number, rows = self.validation_rows(batch.cpu())
        system, settings = self.systems[number], self.config.training
        frames = system.validation.at(rows)
        generator = torch.Generator().manual_seed(settings.seed + 1_000_000_007 + int(batch[0]))
        mine = torch.nonzero(batch.cpu() % self.processes == self.process).flatten()
        if not len(mine):
            return
        share = frames.at(mine).to(self.device)
        part = len(mine) / (len(system.validation.positions) * settings.validation_draws)
        for draw in range(settings.validation_draws):
            eps = draw_noise(frames.positions, 1, True, generator, frames.mask)[:, mine].to(self.device)
            total = 0.0
            for level in self.levels:
                loss = self.held_out_losses(system, share, eps, level, (int(batch[0]), draw, level)).mean()
                if len(self.levels) > 1:
                    self.log_held_out(f"held_out_loss_{level:.4g}_nm", self.counted(number, part * loss))
                total = total + level_weight(level, self.config.noise) * loss / len(self.levels)
            self.log_held_out("held_out_loss", self.counted(number, part * total))
            if len(self.systems) > 1:
                self.log_held_out(f"held_out_loss_system_{number}", part * total)

    def validation_rows(self, batch):
        """Number of the system that a batch of validation frames is of, and which of its frames they are."""
        first = np.cumsum([0] + [len(system.validation.positions) for system in self.systems])
        number = int(np.searchsorted(first, int(batch[0]), side="right")) - 1
        return number, batch - int(first[number])

    def counted(self, number, loss):
        """What a loss of one system adds to that of all."""
        sizes = self.sizes["validation"]
        return loss if len(sizes) == 1 else loss * float(sizes[number] / sizes.sum())

    def held_out_losses(self, system, frames, eps, level, key):
        """`score_losses` at one noise level (nm); the same noise comes back at every check, by the name `key`."""
        sigma = eps.new_full(eps.shape[:2], level)
        if key not in self.held_out_residuals:
            self.held_out_residuals[key] = self.residual(system, frames, eps, sigma)
        return self.score_losses(system, frames, eps, sigma, self.held_out_residuals[key])

    def log_held_out(self, name, part):
        """Log a loss of which this is a part: the parts are added up, over the processes too.

        Lightning's own mean over processes (2.6) rounds the number of frames that each has seen.
        """
        bar = name == "held_out_loss"
        self.log(name, part, prog_bar=bar, on_epoch=True, batch_size=1, reduce_fx="sum", sync_dist=True)

    def configure_optimizers(self):
        settings = self.config.training
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self):
        # One epoch is the stretch between two checks.  Nobody asks for its numbers: they begin again where a training
        # goes on within it.
        every = self.config.training.check_every
        first = self.current_epoch * every
        return DataLoader(range(first, first + every), batch_size=1, shuffle=False)

    def val_dataloader(self):
        # The frames of all systems are numbered through; no batch holds frames of two.
        batches, first = [], 0
        for system in self.systems:
            batches += torch.arange(first, first + len(system.validation.positions)).split(32)
            first += len(system.validation.positions)
        return DataLoader(range(first), batch_sampler=[batch.tolist() for batch in batches if len(batch)])


def level_weight(sigma, config):
    """Weight of a noise level (nm) in the loss: sigma over its mean, so that one level has weight 1.

    Unweighted, the smallest levels would fill the gradient with noise: per component its variance
    is that of the labels, V, times <F^2>.  Independent labels have V = (kT/sigma)^2.  Antithetic
    pairs cancel the leading part of it only where forces are straight over a distance of sigma, and
    those of ions in contact are not: their V rises from 0.12 of that at 0.003 nm to 0.66 of it at
    0.05 nm (pair potential of 2.4 M LiCl).  <F^2> falls as 1/(sigma^2 + (0.02 nm)^2).  Together,
    sqrt(V <F^2>) falls as 1/sigma, within a factor of 1.6 over the range: weighted by sigma, all
    levels bring about the same noise into the gradient.  What there is to learn, <F^2> times the
    weight, then grows at most threefold over the range, instead of falling sixfold.
    """
    if config.sigmas is None:
        return sigma / config.sigma
    return sigma * math.log(config.largest / config.smallest) / (config.largest - config.smallest)


class Told(Callback):
    """Says how far the steps have come, and the held-out loss of the last check, in the manner of all long jobs."""

    def __init__(self, total):
        self.total, self.progress = total, None

    def on_train_start(self, trainer, *_):
        if trainer.is_global_zero:
            self.progress = Progress("network", self.total, "steps", shown=True, done=trainer.global_step)

    def on_train_batch_end(self, trainer, *_):
        if self.progress is not None:
            loss = trainer.callback_metrics.get("held_out_loss")
            self.progress.at(trainer.global_step, "" if loss is None else f"held-out loss {float(loss):+.2g}")

    def on_train_end(self, *_):
        if self.progress is not None:
            self.progress.close()

    on_exception = on_train_end


@contextlib.contextmanager
def _quiet():
    """Lightning tells nobody which devices it has found, nor what else one might install; warnings stay."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def train_network(task, directory, resume, progress=True):
    """Run the loop; the weights of the best held-out loss are left in `task.network`.

    Parameters
    ----------
    task : DenoisingTask
    directory : Path
        Receives checkpoints/ and the CSV log.
    resume : bool
        Go on from the last checkpoint, where there is one.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        `held_out_loss` of the best check, `steps` taken, `best`: path of the weights.
    """
    here = joined()
    if here.first:
        return _train(task, directory, resume, progress, here)
    with (
        tempfile.TemporaryDirectory() as own
    ):  # what this process is told of checkpoints; the first alone writes others
        return _train(task, Path(own), resume, False, here)


def _train(task, directory, resume, progress, here):
    settings = task.config.training
    # The best and the last are two files.
    best = Checkpoint(directory / "checkpoints", "best", "held_out_loss")
    last = directory / "checkpoints" / "last.ckpt"
    callbacks = [
        EMAWeightAveraging(decay=settings.ema_decay),
        EarlyStopping("held_out_loss", patience=settings.patience, check_on_train_epoch_end=False),
        best,
        Checkpoint(last.parent, last.stem),
    ]
    if progress:
        callbacks.append(Told(settings.steps))
    resume, steps = resume and last.exists(), 0
    several = here.world > 1
    if several:
        content = shared(last.read_bytes() if resume else b"")
        resume = bool(content)
        if resume and not here.first:
            last.parent.mkdir()
            last.write_bytes(content)
    if resume:
        state = read_checkpoint(last)
        steps = state["global_step"]
        if here.first and any(callback.get("best_model_path") for callback in state["callbacks"].values()):
            read_checkpoint(last.with_name("best.ckpt"))  # one that is damaged should show now, not after hours
    # Batches of several processes end at different times: they are ended by the one that started them.
    with contextlib.nullcontext(lambda: False) if several else held() as asked, warnings.catch_warnings(), _quiet():
        # Data and logs are small and in memory: Lightning's advice on workers and intervals is not for us.
        warnings.filterwarnings("ignore", ".*(does not have many workers|log_every_n_steps|exists and is not empty).*")
        warnings.filterwarnings("ignore", ".*(ended before the epoch ended|mid-epoch).*")  # steps tell their draws
        trainer = pl.Trainer(
            max_steps=settings.steps,
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            devices=settings.devices,
            num_nodes=settings.nodes,
            # This is one of the processes, see `processes`.  Buffers are constants, the same in all.
            strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
            plugins=[WholeCheckpoints(), *([environment()] if several else [])],
            use_distributed_sampler=False,  # the task shares batches out itself
            logger=TableLog(directory, steps) if here.first else False,
            callbacks=[*callbacks, Interruptible(asked, last)],
            gradient_clip_val=settings.gradient_clip,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            log_every_n_steps=settings.check_every,
            inference_mode=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(task, ckpt_path=str(last) if resume else None, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and ignores the next ones: neither is a library's business.
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
    for system in task.systems:
        system.fixed.cpu()
    content = shared(Path(best.best_model_path).read_bytes() if here.first else b"")
    load_weights(task, best.best_model_path, content)
    return {
        "held_out_loss": float(best.best_model_score), "steps": int(trainer.global_step), "best": best.best_model_path,
    }  # fmt: skip


def load_weights(task, path, content=None):
    """Give a task's network the (averaged) weights of a checkpoint, whose content (bytes) may be known."""
    task.load_state_dict(read_checkpoint(path, content)["state_dict"])
