"""Whether molecular dynamics went well: temperature and energy over time, and where an ensemble disagrees."""

import numpy as np
from matplotlib.figure import Figure

from .drawing import save

#: Stretches whose means are drawn over what single steps have.
STRETCHES = 40


def health_figure(table, path, temperature=None, settled=0.0, limit=None):
    """Temperature, potential energy and spread of a run over time, as far as there are such.

    Parameters
    ----------
    table : DataFrame
        Columns time_ps, and some of temperature_K, energy_kJ/mol and spread_kJ/mol/nm.
    path : path
        PNG to write.
    temperature : float, K, optional
        Of the thermostat.
    settled : float, ps
        What lies before is left out of means, and grey.
    limit : float, kJ/mol/nm, optional
        From which spread on the run warns.
    """
    names = {
        "temperature_K": "temperature / K", "energy_kJ/mol": "potential energy / (kJ/mol)",
        "spread_kJ/mol/nm": "largest spread / (kJ/mol/nm)",
    }  # fmt: skip
    columns = [column for column in names if column in table and table[column].notna().any()]
    figure = Figure(figsize=(4.2 * max(2, len(columns)), 3.2), layout="constrained")
    for ax, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns):
        own = table[["time_ps", column]].dropna()
        time, values = own["time_ps"].to_numpy(), own[column].to_numpy()
        ax.plot(time, values, color="0.75", lw=0.7, label="every saved frame")
        parts = [part for part in np.array_split(np.arange(len(time)), STRETCHES) if len(part)]
        if len(time) > 2 * STRETCHES:
            ax.plot([time[p].mean() for p in parts], [values[p].mean() for p in parts], color="tab:blue", lw=1.4,
                    label=f"means of {len(parts)} stretches")  # fmt: skip
        if column == "temperature_K" and temperature:
            ax.axhline(temperature, color="tab:red", lw=1, ls="--", label="thermostat")
        if column == "spread_kJ/mol/nm" and limit is not None and np.isfinite(limit):
            ax.axhline(limit, color="tab:red", lw=1, ls="--", label="largest in the training")
        if settled > time[0]:
            ax.axvspan(time[0], settled, color="0.93", lw=0, zorder=0)
        low, high = np.quantile(values, [0.002, 0.998])
        ends = [end for end in (low, high, temperature if column == "temperature_K" else None) if end is not None]
        room = 0.15 * (max(ends) - min(ends)) + 1e-9 * (1 + abs(max(ends)))
        ax.set(xlabel="time / ps", ylabel=names[column], ylim=(min(ends) - room, max(ends) + 2.5 * room))
        ax.legend(frameon=False, fontsize=8, loc="upper right")
    save(figure, path, 130)
