"""What the header of a model says before anything is learnt: particles, box, prior, and the data that it is of."""

import numpy as np

from ..cluster import mapped
from ..data import sets
from ..data.checks import checked_masses
from ..energies.base import DataSummary
from ..model.header import Header
from ..particles import atomic_number, ordered

#: Coordinates of the frames in which workers look for the shortest distances at once.
AT_ONCE = 3_000_000


def header_of(systems, training, validation, test, config, client=None):
    """The header of a model before anything is learnt; composition, box and bonds are those of the first system."""
    first = systems[0]
    species = ordered(kind for frames in systems for kind in frames.types)
    exclusions = config.exclusions if any(frames.bonds is not None for frames in systems) else 0
    shortest = [_shortest(part, exclusions, client) for part in training]
    distances = [
        [min((d for d in (s.get((a, b), s.get((b, a))) for s in shortest) if d is not None), default=None)
         for b in species]
        for a in species
    ]  # fmt: skip
    summary = DataSummary(species, distances, config.sigma, config.noise.sigmas is not None)
    parts = {"training": training, "validation": validation, "test": test}
    several = {}
    if len(systems) > 1:
        weights = config.data.system_weights(len(systems))
        several = {"systems": [_described(frames, weight) for frames, weight in zip(systems, weights)]}
    return Header(
        species=species,
        particles=first.types.tolist(),
        temperature=first.temperature,
        box=None if first.box is None else first.boxes.mean(0).tolist(),
        number_density=first.number_density,
        shortest_distances=distances,
        **_known_of(systems, species),
        bonds=None if first.bonds is None else first.bonds.tolist(),
        exclusions=exclusions,
        terms=config.prior.terms(summary),
        noised={"species": config.noise.species, "axes": config.noise.axes},
        data={
            "digest": sets.digest(systems),
            "n_frames": sum(map(len, systems)),
            **config.data.division,
            **{f"{k}_frames": sum(0 if part is None else len(part) for part in v) for k, v in parts.items()},
            "target": config.target,
            "labelled_training_frames": sum(int(part.labelled.sum()) for part in training),
            **several,
        },
    )


def _described(frames, weight):
    """What the header of a model says of one of several systems."""
    return {
        "digest": frames.digest(),
        "n_frames": len(frames),
        "weight": weight,
        "temperature": frames.temperature,
        "number_density": frames.number_density,
        "composition": {kind: int((frames.types == kind).sum()) for kind in ordered(frames.types)},
    }


def _known_of(systems, species):
    """Atomic number and mean mass (amu) of each type, as entries of a header: only what the types do not tell."""
    types, of_all, given = (
        np.concatenate([getattr(frames, name) for frames in systems]) for name in ("types", "species", "masses")
    )
    first = [int(np.argmax(types == kind)) for kind in species]
    numbers = of_all[first].tolist()
    masses = [float(given[types == kind].mean()) for kind in species]
    elements = checked_masses(None, of_all[first])
    told = [None if np.isnan(m) or np.isclose(m, own) else m for m, own in zip(masses, elements)]
    return {
        "numbers": None if numbers == [atomic_number(kind) for kind in species] else numbers,
        "masses": None if not any(told) else told,
    }


def _shortest(frames, exclusions, client):
    """Shortest distance (nm) of each pair of types over all frames, which workers look at piece by piece."""
    if client is None:
        return frames.shortest_distances(exclusions)
    step, found = max(1, AT_ONCE // (3 * len(frames.types))), {}
    pieces = ((frames[start : start + step], exclusions) for start in range(0, len(frames), step))
    for distances in mapped(client, _shortest_of, pieces):
        found |= {pair: min(distance, found.get(pair, distance)) for pair, distance in distances.items()}
    return found


def _shortest_of(frames, exclusions):
    return frames.shortest_distances(exclusions)
