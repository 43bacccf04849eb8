"""A branched molecule with every kind of internal coordinate, and models of its bonded energies."""

import numpy as np
import torch

from openmm_diffusion.energies import REGISTRY
from openmm_diffusion.energies.linear import Sample
from openmm_diffusion.model.denoiser import Denoiser
from openmm_diffusion.model.header import Header
from openmm_diffusion.space.batch import make_batch
from openmm_diffusion.space.connectivity import connectivity

KINDS = ("bonds", "angles", "onethree", "impropers", "dihedrals", "onefour", "maps")
SPECIES = ["A", "B", "C"]
#: A chain of six with a branch at 2, whose three partners differ, and one at 6 with two alike.
BONDS = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6), (6, 7), (6, 8)]
TYPES = ["A", "B", "A", "C", "A", "B", "A", "B", "A"]
INDEX = torch.tensor([SPECIES.index(kind) for kind in TYPES])
_PLACES = [
    [0, 0, 0], [0.15, 0, 0], [0.22, 0.13, 0], [0.37, 0.14, 0.03], [0.44, 0.2, 0.15], [0.59, 0.18, 0.16],
    [0.15, 0.24, 0.08], [0.02, 0.29, 0.04], [0.2, 0.29, 0.21],
]  # fmt: skip
PLACES = np.array(_PLACES)


def positions(n_frames, width=0.012, seed=0):
    """Positions (n_frames, 9, 3), nm, each coordinate Gaussian around its place."""
    return PLACES + width * np.random.default_rng(seed).normal(size=(n_frames, *PLACES.shape))


def links(exclusions=3):
    """Who is bonded to whom."""
    return connectivity(BONDS, INDEX, exclusions)


def batch(x, box=None):
    """A `Batch` of the molecule without pairs."""
    return make_batch(torch.as_tensor(x), box, INDEX, 0.0, None, links())


def header(terms=(), **changes):
    """Header of a model of the molecule."""
    given = {
        "species": SPECIES, "particles": TYPES, "temperature": 300.0, "box": None, "number_density": None,
        "shortest_distances": [[0.3] * 3] * 3, "numbers": [0, 0, 0], "masses": [72.0, 60.0, 48.0], "bonds": BONDS,
        "exclusions": 3, "terms": list(terms),
    }  # fmt: skip
    return Header(**given | changes)


def term(kind, **settings):
    """The term of a kind for the range that 400 frames have."""
    one = REGISTRY[kind]
    sample = Sample(SPECIES, lambda: [batch(positions(400, seed=1))])
    damped = settings.pop("damped", None)
    found = one.blank(one.Settings(**settings), 0.0, None, sample)
    return found if damped is None else found.model_copy(update={"damped": damped})


def denoiser(kinds=KINDS, seed=2, more=(), **changes):
    """A model with random coefficients of some bonded energies, and more terms."""
    terms = [*more, *(term(kind) if isinstance(kind, str) else kind for kind in kinds)]
    model = Denoiser(header(terms, **changes))
    generator = torch.Generator().manual_seed(seed)
    for one, module in zip(model.header.terms, model.modules()):
        if one.linear:
            values = torch.randn(module.coefficients.shape, generator=generator, dtype=torch.float64)
            module.assign(values.flatten() * module.free())
    return model
