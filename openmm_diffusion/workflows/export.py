"""A model as files that others use without this package: System XML, topology and curves, or tables of LAMMPS."""

import logging
from pathlib import Path

import openmm
import torch
from openmm import app, unit

from ..engines.lammps import check_lammps, write_lammps
from ..figures import bonded_figure
from ..forces.native import native_obstacle
from ..model.combination import merged
from ..model.curves import bonded_curves, pair_curves
from ..model.denoiser import Denoiser
from ..model.pressure import known_pressure
from ..particles import check_topology
from ..rundirectory import made, named, whole, write_table, write_whole
from ..simulation.trajectories import write_topology
from ..systems.system import create_system
from ..systems.topologies import random_positions, training_topology
from ..units import array

log = logging.getLogger(__name__)

FORMATS = ("native", "torchscript", "lammps")

#: The script that comes with the files: it says what they are, and runs them with OpenMM alone.
_SCRIPT = '''\
"""{composition} at {temperature:g} K{noise}: written by openmm_diffusion from model {digest}.

{files}
Lengths are nm, energies kJ/mol, times ps.  The forces are those of {temperature:g} K at any thermostat.
{warning}"""

import math
from pathlib import Path

{imports}
from openmm import app, unit

here = Path(__file__).parent
pdb = app.{reader}(str(here / "{topology}"))
system = openmm.XmlSerializer.deserialize((here / "system.xml").read_text())
integrator = openmm.LangevinMiddleIntegrator({temperature:g}, 2.0, {timestep})  # K, 1/ps, ps
simulation = app.Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.step(100)
state = simulation.context.getState(positions=True, energy=True)
kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
temperature = kinetic / (1.5 * system.getNumParticles() * 0.00831446)  # kJ/mol/K
if not math.isfinite(kinetic):
    raise SystemExit("it did not work: positions became NaN; start from others, or take a shorter time step")
platform = simulation.context.getPlatform().getName()
print(f"It worked: 100 steps of {timestep} ps of {composition} on the platform {{platform}}.")
print(f"The kinetic energy is that of {{temperature:.0f}} K, the thermostat's {temperature:g} K; it began {place}.")
'''

_FILES = {
    "native": """\
system.xml    openmm.System of {terms}, as OpenMM's own forces: it needs no torch
{topology}  the particles in the order of the System{place}
{curves}""",
    "torchscript": """\
system.xml    openmm.System of {terms}; the learnt part is a TorchForce (openmm-torch)
{topology}  the particles in the order of the System{place}
learnt.pt     the TorchScript module of that TorchForce, without the prior: from positions and box (nm) to
              energy (kJ/mol) and forces (kJ/mol/nm); TorchForce("learnt.pt") needs setOutputsForces(True)
""",
}

_CURVES = {
    "pair.csv": "pair.csv      u(r) and -du/dr of every pair of species: the pair potential alone",
    "bonded.csv": "bonded.csv    energies of bonds, angles and dihedrals, each with its least value at zero",
    "bonded.png": "bonded.png    the same as pictures",
}

_IMPORTS = {
    "native": "import openmm",
    "torchscript": "import torch  # first: it brings the libraries of openmm-torch\nimport openmmtorch\nimport openmm",
}


def export(model, topology, output, *, format="native", positions=None, ewald_error_tolerance=5e-4):
    """Write a model as files that OpenMM, or LAMMPS, reads without this package.

    The System is that of `create_system`: Coulomb by PME, the wall, and the learnt part.
    "native" makes the learnt part custom forces, tabulated, which need no torch at
    run time and run on every platform; "torchscript" makes it a TorchForce, which takes
    every model.  Either differs from `Denoiser.forces` by the error of PME; the tabulated
    potential goes through the knots of the spline and is the same function, the TorchForce
    computes in single precision.

    "lammps" writes an input script of Langevin dynamics in units real, a data file and tables of pairs,
    bonds, angles and dihedrals, with Coulomb by PPPM: see `openmm_diffusion.engines.lammps`.

    Parameters
    ----------
    model : path or Denoiser
    topology : openmm.app.Topology or None
        With elements and box; None: composition and box of the training data.
    output : path
        Directory that receives system.xml, topology.pdb (or .cif), curves (native: pair.csv, bonded.csv and
        bonded.png) or learnt.pt (torchscript), and run.py, which says what they are and runs them;
        lammps: in.lammps, system.data and tables.
    format : "native", "torchscript" or "lammps"
    positions : array or Quantity, shape (n_particles, 3), nm, optional
        For topology.pdb or system.data; None: random places.
    ewald_error_tolerance : float
        Of PME, as in `create_system`, or of PPPM.

    Returns
    -------
    openmm.System or None
        None for "lammps".

    Raises
    ------
    ValueError, FileExistsError
        For a model that the format cannot hold, unknown species, an output that is a file.
    ImportError
        For "torchscript" where TorchForce does not work.
    """
    denoiser = model if isinstance(model, Denoiser) else Denoiser.load(model)
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}: choose one of {', '.join(FORMATS)}")
    if format == "lammps":
        check_lammps(denoiser)
    else:
        _check_terms(denoiser, format)
    output = named(output)
    topology = training_topology(denoiser) if topology is None else topology
    check_topology(topology)
    if topology.getPeriodicBoxVectors() is None and denoiser.header.box is not None:
        log.warning(
            "the topology has no box (a PDB file names it in CRYST1), but the model was trained in one: what is "
            "written is not periodic"
        )
    system = None
    if format != "lammps":
        # On whatever platform it will be used: nothing is evaluated here.
        options = dict(backend=format, ewald_error_tolerance=ewald_error_tolerance, platform="Reference")
        system = create_system(denoiser, topology, **options)
    random = positions is None
    if random:
        positions = random_positions(denoiser, topology)
    positions = array(positions, unit.nanometer, "positions")
    if positions.shape != (topology.getNumAtoms(), 3):
        raise ValueError(f"positions have shape {positions.shape}: give ({topology.getNumAtoms()}, 3), in nm")
    if format == "lammps":
        write_lammps(denoiser, topology, positions, output, ewald_error_tolerance)
        return None
    output = made(output)
    write_whole(output / "system.xml", openmm.XmlSerializer.serialize(system))
    path, written = write_topology(output, topology, positions, keep_ids=True), []
    if format == "native":
        written = _write_curves(denoiser, output)
    else:
        import openmmtorch

        force = next(force for force in system.getForces() if openmmtorch.TorchForce.isinstance(force))
        with whole(output / "learnt.pt") as file:
            torch.jit.save(openmmtorch.TorchForce.cast(force).getModule(), file)
    write_whole(output / "run.py", _script(denoiser, topology, format, path.name, written, random))
    return system


def _write_curves(denoiser, output):
    """pair.csv, bonded.csv and bonded.png, where there is something to draw; their names."""
    written, bonded = [], bonded_curves(denoiser)
    if any(term.learnt and term.joins for term in denoiser.header.terms):
        write_table(output / "pair.csv", pair_curves(denoiser), float_format="%.8g")
        written.append("pair.csv")
    if len(bonded):
        write_table(output / "bonded.csv", bonded, float_format="%.8g")
        bonded_figure(bonded, output / "bonded.png")
        written += ["bonded.csv", "bonded.png"]
    return written


def read_pdb(path):
    """Topology and positions (Quantity) of a PDB file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no topology file {path}: give a PDB file")
    try:
        pdb = app.PDBFile(str(path))
    except (ValueError, LookupError) as error:
        raise ValueError(f"{path} cannot be read as a PDB file: give one with the atoms of the System") from error
    return pdb.topology, pdb.positions


def _check_terms(denoiser, format):
    """Refuse what a format cannot hold."""
    whole = merged(denoiser)
    if not whole.header.learnt:
        raise ValueError("the model has no learnt terms, only a prior: give one that `train` or `distil` wrote")
    obstacle = native_obstacle(whole)
    if format == "native" and obstacle:
        raise ValueError(
            f"format is native, which holds one pair potential beside the prior, but the model {obstacle}: fit a pair "
            "potential alone to its forces first (openmm-diffusion distil), or choose format torchscript"
        )


def _script(denoiser, topology, format, path, written, random):
    """run.py: what the files are, and a run of them."""
    header, names = denoiser.header, denoiser.types_of(topology)
    kinds = list(dict.fromkeys(term.kind for term in header.terms))
    periodic = topology.getPeriodicBoxVectors() is not None
    warning = ""
    if not denoiser.conservative:
        warning = "There is no energy: no barostat, minimiser, energy report or NVE.\n"
    elif periodic and not known_pressure(header).fitted:
        warning = "Fitted at constant volume, without a pressure: OpenMM makes no Context of it beside a barostat.\n"
    return _SCRIPT.format(
        composition=" and ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)),
        temperature=header.temperature,
        noise=f", noise of {denoiser.sigma:g} nm" if denoiser.sigma else "",
        digest=denoiser.digest(),
        files=_FILES[format].format(
            terms=" + ".join(kinds),
            topology=path,
            place=", in the box" if periodic else "",
            curves="".join(_CURVES[name] + "\n" for name in written),
        ),
        reader="PDBFile" if path.endswith(".pdb") else "PDBxFile",
        topology=path,
        timestep=0.004 if next(topology.bonds(), None) is None else 0.002,
        warning=warning,
        place="at random places" if random else "from the positions given",
        imports=_IMPORTS[format],
    )
