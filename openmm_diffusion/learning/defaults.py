"""What a configuration means for the frames at hand: what it does not say follows from whether particles are bonded."""

import logging

from ..energies.base import REGISTRY
from ..space.connectivity import connectivity

log = logging.getLogger(__name__)


def for_systems(config, systems):
    """The configuration with what it leaves open decided for these frames.

    Energies of bonds, angles and dihedrals are left out where there are none.  Where there are bonds, and
    neither noise nor network are asked for, everything is fitted to the frames as they are (sigma: 0) and there is no
    network: noise of 0.005 nm would leave a C-C bond 15 % of its stiffness.

    Parameters
    ----------
    config : Config
    systems : list of Frames

    Returns
    -------
    Config
        A copy.
    """
    tables = [connectivity(frames.bonds, [0] * len(frames.types)) for frames in systems]
    changes = {}
    for kind, term in REGISTRY.items():
        table = getattr(term, "table", None)
        empty = table is not None and not any(t is not None and len(getattr(t, table)) for t in tables)
        if empty and getattr(config, kind, None) is not None:
            changes[kind] = None
    if any(table is not None for table in tables):
        said = config.model_fields_set
        if "network" not in said and config.network is not None:
            log.info("particles are bonded: no network, unless the configuration asks for one")
            changes["network"] = None
        given = "sigma" in config.noise.model_fields_set or any(one.sigma is not None for _, one in config.linear)
        if not given and config.target != "force":
            log.info("particles are bonded: fitted to the frames as they are (sigma: 0)")
            for term, settings in config.linear:
                kind = term.model_fields["kind"].default
                if kind not in changes:
                    changes[kind] = settings.model_copy(update={"sigma": 0.0})
    return config.model_copy(update=changes)
