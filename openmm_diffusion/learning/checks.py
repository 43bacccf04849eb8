"""What a training is refused for before anything is written."""

import torch

#: Fewer labelled frames than this tell nothing of their noise, and so not how far to trust them.
MIN_LABELLED = 10


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


def check_devices(validation, config):
    """Refuse more processes than there are GPUs, on a machine that has some, or frames for their held-out loss."""
    number = config.training.devices
    if config.network is None or number == 1:
        return
    if torch.cuda.is_available() and number > torch.cuda.device_count():
        raise ValueError(
            f"training.devices is {number}, but this machine has {torch.cuda.device_count()} GPUs: give no more "
            "than that, or hide them (CUDA_VISIBLE_DEVICES=) to train on the CPU"
        )
    # Force matching knows labelled frames only.
    n = sum(int(part.labelled.sum()) if config.target == "force" else len(part) for part in validation)
    if number > n:
        raise ValueError(
            f"training.devices is {number}, but there are {n} validation frames to share: give fewer devices, or more "
            "frames (data.validation_fraction)"
        )
