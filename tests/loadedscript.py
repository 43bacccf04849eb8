"""What torch scripts, as TorchForce runs it: saved, and loaded."""

import io

import torch


def loaded_script(given):
    """A module or function, scripted, saved and loaded.

    Torch keeps for ever what `torch.jit.script` makes, and what it is specialised to when it runs: 140 MB for a small
    denoiser.  What is loaded goes when nobody uses it.
    """
    buffer = io.BytesIO()
    torch.jit.save(given if isinstance(given, torch.jit.ScriptModule) else torch.jit.script(given), buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)
