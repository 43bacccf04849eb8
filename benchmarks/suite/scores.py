"""What is measured of a model: its forces on frames kept apart, and the structure of molecular dynamics under it.

Rows are (quantity, of, unit, value, error); errors are standard errors over runs, by bootstrap, within one split.
"""

from dataclasses import replace

import dynamics
import numpy as np

from openmm_diffusion import compute_rdf
from openmm_diffusion.analysis.molecules.comparison import compare_molecules
from openmm_diffusion.analysis.rdf import rmsd
from openmm_diffusion.analysis.resampling import rmsd_error
from openmm_diffusion.analysis.structure import rdf_range
from openmm_diffusion.evaluation.forces import ForceComparison, force_rows, species_groups

COLUMNS = ("quantity", "of", "unit", "value", "error")
#: By what the structure of the frames that were learnt from differs from that of those kept apart: less is luck.
FLOOR = "structure, training frames"


def forces(model, apart):
    """Rows of the force error per Cartesian component, of all particles and of each type, beside the labels' rms.

    Parameters
    ----------
    model : object
        With `forces`, as `learners` says.
    apart : Frames
        Frames that it was not learnt from; those without labels play no part.
    """
    if not apart.labelled.any():
        return []
    part = apart[apart.labelled]
    found = np.asarray(model.forces(part.positions.astype(float), part.boxes))
    everything = np.ones(part.positions.shape[:2], dtype=bool)
    groups = {name: everything & mask for name, mask in species_groups(part).items()}
    rows = force_rows(ForceComparison(part.forces, found, groups, part.replica))
    return [(quantity, of, unit, value, error) for quantity, of, _, unit, value, error in rows]


def structure(quantity, reference, frames):
    """Rows of how far the structure of frames is from that of others, and one of the worst of these, of "worst".

    In a box it is the RMSD of the g(r) of each pair of types (bins of 0.01 nm, up to 1 nm or half the box).  Of
    molecules it is the Jensen-Shannon divergence (bit) of each kind of bond, angle, dihedral, improper and map of two
    dihedrals, from as many frames of both.
    """
    rows = []
    if reference.box is not None:
        there, own = (compute_rdf(part, rdf_range(reference)) for part in (reference, frames))
        for pair in there.g:
            rows.append((quantity, pair, "1", rmsd(own.g[pair], there.g[pair]), rmsd_error(own, there, pair)))
    compared = compare_molecules(reference, frames)
    if compared is not None:
        table = compared.table[compared.table["quantity"].str.endswith(", divergence")]
        for row in table.itertuples():
            kind = f"{row.quantity.removesuffix(', divergence')} {row.of}"
            rows.append((quantity, kind, "bit", row.value, row.error))
    # Divergences and RMSD do not compare: where there are both, those of molecules decide.
    last = [row for row in rows if row[2] == rows[-1][2]]
    return rows + [(quantity, "worst", *max(last, key=lambda row: row[3])[2:])] if rows else []


def molecular_dynamics(model, training, apart, folder, settings, runs, title):
    """Rows of runs under a model: how long each lives, the share that live, and the structure of these.

    Parameters
    ----------
    model : object
    training, apart : Frames
        Runs begin from the first; structure is compared with the second.
    folder : Path
        Where runs are kept.
    settings : System
    runs : int
    title : str
        Of the line of progress.
    """
    positions = dynamics.sampled(model, training, folder, settings, runs, title)
    lives = [dynamics.life(x, training, settings.interval) for x in positions]
    whole = [life > settings.duration - 0.5 * settings.interval for life in lives]
    nan = float("nan")
    rows = [("life", f"run {k}", "ps", life, nan) for k, life in enumerate(lives)]
    rows.append(("share of runs that live", "", "1", float(np.mean(whole)), nan))
    rows += structure(FLOOR, apart, training)
    if not any(whole):
        # Of runs that die there is no structure: it is as bad as can be.
        return rows + [("structure", "worst", "1", float("inf"), nan)]
    skipped = round(settings.discard / settings.interval)
    kept = [x[skipped:] for x, lived in zip(positions, whole) if lived]
    replica = np.repeat(np.arange(len(kept)), [len(x) for x in kept])
    box = None if training.box is None else training.boxes[0]
    own = replace(training, positions=np.concatenate(kept), box=box, replica=replica, bias_forces=None)
    return rows + structure("structure", apart, own)
