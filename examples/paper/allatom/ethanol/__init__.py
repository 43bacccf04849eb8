"""Ethanol in the gas phase with forces of GFN2-xTB: its frames, conformers, claims and picture."""
