"""The command openmm-diffusion, and python -m openmm_diffusion: takes signals over before all that takes a second."""

import atexit
import os
import sys

from .rundirectory.interruptions import Interruption


def main():
    """Entry point; what comes of the command is said by `cli.main`."""
    interruption = Interruption()
    interruption.install()
    try:
        from .cli import main as run

        run(interruption)
    except BaseException:
        if interruption.number is None:
            raise
        if not interruption.ended:
            interruption.told()
        # Python would take a second to clear all imports away; what libraries have left to do at an exit is done.
        atexit._run_exitfuncs()
        for file in (sys.stdout, sys.stderr):
            file.flush()
        os._exit(interruption.status)
    finally:
        interruption.release()


if __name__ == "__main__":
    main()
