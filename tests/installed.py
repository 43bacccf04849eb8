"""What an installed package does in an empty folder: the lines of the README, a training, its page, a simulation.

    cd EMPTY && python installed.py README.md

Imported by nothing: `make release` runs it in an environment of its own, test_distribution.py beside the tests'.
"""

import re
import subprocess
import sys
from pathlib import Path

import openmm_diffusion
from openmm_diffusion import Denoiser, Frames, train

TRAINING = {
    "pair": {"start": 0.6, "spacing": 0.08},
    "network": {"cutoff": 0.45, "features": 2, "layers": 1, "radial_width": 8},
    "training": {"steps": 2, "batch": 2, "check_every": 1, "validation_draws": 1},
}


def command(*arguments):
    subprocess.run([sys.executable, "-m", "openmm_diffusion", *arguments], check=True)


def main(readme):
    lines = re.findall(r"```python\n(.*?)```", Path(readme).read_text(), re.DOTALL)[0]
    exec(compile(lines, readme, "exec"), {})
    for name in sorted(path.stem for path in (Path(openmm_diffusion.__file__).parent / "models").glob("*.safetensors")):
        print(name, Denoiser.load(name).cutoff, "nm")
    command("simulate", "licl", "--output", "md", "--duration", "6")
    frames = Frames.from_trajectory("md/trajectory.dcd", top="md/topology.pdb", temperature=300)
    train(frames, TRAINING, output="training", progress=False)
    command("report", "training")
    command("simulate", "training/pair.safetensors", "--output", "again", "--duration", "0.5")
    print(f"openmm_diffusion {openmm_diffusion.__version__} from {Path(openmm_diffusion.__file__).parent}")


if __name__ == "__main__":
    main(sys.argv[1])
