"""What a training is refused for before anything is written, and what it is warned of."""

import logging

import numpy as np
import torch

from ..analysis.rdf import compute_rdf, rmsd, smear
from ..analysis.resampling import split_half_error
from ..energies.bonded.survey import surveyed
from ..energies.network import NetworkTerm
from ..particles import ordered
from ..space.batch import make_batch
from ..space.boxes import check_cutoff, minimum_image
from ..space.connectivity import connectivity, free_pairs
from .config import kind_of
from .network.processes import check_world

log = logging.getLogger(__name__)

#: RMSD of a g(r) above which the smoothing by the noise is warned of.
SMOOTHING_WARNING = 0.05

#: Fewer labelled frames than this tell nothing of their noise, and so not how far to trust them.
MIN_LABELLED = 10

#: Standard deviation below which a distance (nm) or an angle (rad) has no width.  Trajectories are often written to
#: 0.001 nm, which blurs a constrained distance by 0.0005 nm and an angle by 0.005; a C=O bond at 300 K has 0.002 nm,
#: the stiffest angles 0.04.
NO_WIDTH, NO_WIDTH_OF_ANGLES = 8e-4, 0.01

#: Distance (nm) up to which particles that are not bonded may be held by a constraint, and frames that show it.
HELD_WITHIN, FRAMES_THAT_SHOW = 0.6, 20

#: Part of the stiffness of a bond or an angle that noise may take.
SOFTENED = 0.1


def check_system(frames, config):
    """Refuse frames of one system that a configuration does not fit, and warn of what will hurt."""
    config.prior.check(frames.types.tolist(), frames.box is not None)
    for kind, _ in config.learners:
        if not kind.linear and kind is not NetworkTerm:
            raise ValueError(
                f"{kind_of(kind)} is asked for, but nothing can learn a {kind.noun}: only energies that are linear in "
                "their coefficients and the network are trained"
            )
    check_apart(frames)
    if frames.box is not None:
        for kind, settings in config.learners:
            check_cutoff(settings.cutoff, torch.as_tensor(frames.boxes), f"{kind_of(kind)}.cutoff")
    if config.noise.species is not None or config.noise.axes != "xyz":
        if config.linear:
            kinds = [kind_of(kind) for kind, _ in config.linear]
            raise ValueError(
                f"noise.species and noise.axes leave coordinates clean, which the {kinds[0]} fit cannot: "
                f"set {', '.join(f'{kind}: null' for kind in kinds)}"
            )
    given = [kind for kind, settings in config.linear if settings.sigma is not None and config.network is None]
    key = f"{kind_of(given[0])}.sigma" if given else "noise.sigma"
    check_internal(frames, config, key)
    warn_of_smoothing(frames, config.sigma, key)


def check_apart(frames):
    """Refuse frames with two particles at one place: no density of configurations has any there."""
    some = frames[:: max(1, len(frames) // 20)]
    for kinds, distance in some.shortest_distances().items():
        if not distance > 0:
            raise ValueError(
                f"frames have particles {' and '.join(kinds)} at one place, 0 nm apart: give frames of separate "
                "particles, and look for a unit or a column that was lost"
            )


def check_labels(training, validation, config):
    """Refuse a target that needs force labels where the divided frames of all systems have none, or too few."""
    if config.target == "denoise":
        return
    n = sum(int(part.labelled.sum()) for part in training)
    if n < MIN_LABELLED:
        number = sum(map(len, training))
        raise ValueError(
            f"target is {config.target}, but {n or 'none'} of the {number} training frames have force labels: "
            f"give frames with forces (kJ/mol/nm), {MIN_LABELLED} at least, or set target: denoise"
        )
    if config.target == "force" and config.network is not None and not any(p.labelled.any() for p in validation):
        raise ValueError(
            "target is force, but none of the validation frames have force labels to stop the network by: "
            "label frames of more runs, or set another data.seed"
        )


def check_bias(systems, config):
    """Refuse biased frames where the bias cannot be taken out: it is known at clean positions alone."""
    if all(frames.bias_forces is None for frames in systems):
        return
    noisy = next((settings for _, settings in config.linear if config.linear_sigma > 0), None)
    if config.network is not None or noisy is not None:
        what = "a network learns from noised frames" if config.network is not None else "the fit is to noised frames"
        raise ValueError(
            f"frames have bias_forces, which are known at clean positions alone, but {what}: set sigma: 0 of what is "
            "fitted in closed form, and network: null"
        )
    if config.target != "denoise":
        raise ValueError(
            f"target is {config.target}, but frames have bias_forces: learn from positions alone (denoise)"
        )


def check_pressure(systems, config):
    """Refuse a pressure where frames have no volume, and where what is fitted is not at the clean positions alone."""
    if config.pressure is None:
        return
    if any(frames.box is None for frames in systems):
        raise ValueError("pressure is given, but frames have no box, and so no volume: leave it out")
    if config.target != "denoise" or config.linear_sigma > 0 or config.network is not None or not config.linear:
        raise ValueError(
            "pressure is given, which is a row of the fit in closed form to frames as they are: set sigma: 0 of what "
            "is fitted, network: null, and target: denoise"
        )
    if any(frames.bias_forces is not None for frames in systems):
        raise ValueError("pressure is given for frames with bias_forces, whose bias has a part in it that is not known")
    if len(systems) > 1:
        raise ValueError(
            f"pressure is given for {len(systems)} systems, each of its own volume: train on the one that it is of"
        )


def check_devices(validation, config):
    """Refuse more processes than there are GPUs, on a machine that has some, or frames for their held-out loss."""
    number, nodes = config.training.devices, config.training.nodes
    if config.network is None:
        return
    check_world(config)
    if number * nodes == 1:
        return
    if torch.cuda.is_available() and number > torch.cuda.device_count():
        raise ValueError(
            f"training.devices is {number}, but this machine has {torch.cuda.device_count()} GPUs: give no more "
            "than that, or hide them (CUDA_VISIBLE_DEVICES=) to train on the CPU"
        )
    # Force matching knows labelled frames only.
    n = sum(int(part.labelled.sum()) if config.target == "force" else len(part) for part in validation)
    if number * nodes > n:
        asked = f"training.devices is {number}" + (f" on each of {nodes} nodes" if nodes > 1 else "")
        raise ValueError(
            f"{asked}, but there are {n} validation frames to share: give fewer devices, or more "
            "frames (data.validation_fraction)"
        )


def check_internal(frames, config, name):
    """Refuse bonds and angles without a width, warn of those that the noise softens.

    Noise of variance sigma^2 widens a coordinate q of width w to w^2 + sigma^2 |grad q|^2, and so leaves
    1 / (1 + sigma^2 |grad q|^2 / w^2) of its stiffness.

    Parameters
    ----------
    frames : Frames
    config : Config
    name : str
        Key of the noise level, for the warning.
    """
    kinds = ordered(frames.types)
    species = torch.tensor([kinds.index(kind) for kind in frames.types])
    links = connectivity(frames.bonds, species, config.exclusions)
    some = frames[:: max(1, len(frames) // 500)]
    if links is not None:
        box = None if some.box is None else torch.as_tensor(some.boxes)
        batch = make_batch(torch.as_tensor(some.positions).double(), box, species, 0.0, None, links)
        for table, unit in (("bonds", "nm"), ("angles", "rad"), ("impropers", "rad")):
            for kind, spread in surveyed(table, [batch]).items() if getattr(config, table) else ():
                label = f"{table} {'-'.join(kinds[s] for s in kind)}"
                # Of an angle its cosine is known: d theta = d cos(theta) / sin(theta).
                sine = np.sqrt(max(1 - spread.mean**2, 1e-6)) if table == "angles" else 1.0
                width, slope = spread.width / sine, spread.slope / sine**2
                shown = len(some) >= FRAMES_THAT_SHOW
                _refuse_no_width(
                    label, width, unit, (NO_WIDTH if unit == "nm" else NO_WIDTH_OF_ANGLES) if shown else 1e-9
                )
                if config.sigma**2 * slope > SOFTENED * width**2:
                    log.warning(
                        "%s = %g nm leaves %s %.0f %% of their stiffness (width %.3g -> %.3g %s): give at most %.2g "
                        "nm, or fit to the frames as they are (sigma: 0)",
                        name, config.sigma, label, 100 / (1 + config.sigma**2 * slope / width**2), width,
                        np.sqrt(width**2 + config.sigma**2 * slope), unit, width * np.sqrt(SOFTENED / slope),
                    )  # fmt: skip
    _check_held(some, config)


def _refuse_no_width(label, width, unit, least):
    if width < least:
        raise ValueError(
            f"{label} have no width in the frames (standard deviation {width:.1g} {unit}, {least:g} is the least): "
            "what a constraint holds has no force that could be learnt; make one bead of what is rigid (data.map), or "
            "give frames without constraints"
        )


def _check_held(frames, config):
    """Refuse particles that are not bonded and yet stay at one distance: molecules whose bonds nobody told of."""
    if len(frames) < FRAMES_THAT_SHOW or len(frames.types) > 1000:
        return
    first, second = free_pairs(len(frames.types), frames.bonds, config.exclusions)
    total, square, n = 0.0, 0.0, 0
    boxes = [None] * 100 if frames.box is None else frames.boxes
    for x, box in zip(frames.positions[:100].astype(float), boxes):
        vectors = torch.as_tensor(x[second] - x[first])
        r = minimum_image(vectors, None if box is None else torch.as_tensor(box)).norm(dim=-1)
        total, square, n = total + r, square + r**2, n + 1
    mean = total / n
    width = torch.sqrt((square / n - mean**2).clamp(min=0))
    held = torch.nonzero((width < NO_WIDTH) & (mean < HELD_WITHIN)).flatten().tolist()
    if held and len(held) < len(first):
        i, j = int(first[held[0]]), int(second[held[0]])
        raise ValueError(
            f"particles {i} ({frames.types[i]}) and {j} ({frames.types[j]}) stay {float(mean[held[0]]):.4f} nm apart "
            f"in all frames, and so do {len(held) - 1} other pairs: what a constraint holds has no force that could be "
            "learnt; make one bead of what is rigid (data.map), or give frames without constraints, with their bonds"
        )


def warn_of_smoothing(frames, sigma, name="noise.sigma"):
    """Log a warning where the noise will change the g(r) of these frames by more than `SMOOTHING_WARNING`."""
    if frames.box is None:
        return
    half = 0.5 * float(np.diagonal(frames.boxes, axis1=1, axis2=2).min())
    rdf = compute_rdf(frames[:: max(1, len(frames) // 500)], r_range=(0.1, min(1.0, half)), bin_width=0.005)
    # Of few frames, g(r) is rough, and smoothing takes the roughness: no reason for a warning.
    rough = split_half_error(rdf)
    for pair, g in rdf.g.items():
        smoothed = smear(rdf.r, g, sigma)
        error = rmsd(g, smoothed)
        if error > SMOOTHING_WARNING and error > rough[pair]:
            log.warning(
                "%s = %g nm smooths g(r) of %s by %.3f (RMSD; highest peak %.2f -> %.2f): 0.005 nm is usual "
                "for ions in water; is the value meant in Angstrom?",
                name, sigma, pair, error, g.max(), smoothed.max(),
            )  # fmt: skip
