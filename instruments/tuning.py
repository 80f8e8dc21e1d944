"""What a ring may be set to, shot by shot and as a whole, within the limits of its bench."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from instruments.bench import Bench
from instruments.magnonic_ring_config import MagnonicRingConfig
from instruments.rack import Rack


def beyond_limits(config: MagnonicRingConfig, bench: Bench) -> list[str]:
    """Say which settings the bench does not allow, a line each."""
    limits, found = bench.limits, []
    if config.power_dbm > limits.power_dbm:
        found.append(f"power_dbm = {config.power_dbm:g}: the bench's limit is {limits.power_dbm:g} dBm")
    low, high = limits.frequency_hz
    if not low <= config.carrier_hz <= high:
        found.append(f"carrier_hz = {config.carrier_hz:.12g}: the bench's limits are {low:.12g} to {high:.12g} Hz")
    low, high = limits.attenuation_db
    if bench.attenuator is not None and not low <= config.attenuation_db <= high:
        found.append(f"attenuation_db = {config.attenuation_db:g}: the bench's limits are {low:g} to {high:g} dB")
    return found


def beyond_attenuator(config: MagnonicRingConfig, rack: Rack) -> list[str]:
    """Say whether the attenuator cannot be set as asked for."""
    attenuator = rack.drivers.get("attenuator")
    if attenuator is None:
        return []
    used, limit = rack.on_steps(config.attenuation_db), rack.bench.limits.attenuation_db[1]
    asked = f"attenuation_db = {config.attenuation_db:g}: "
    if used > attenuator.maximum:
        return [f"{asked}the {rack.identities['attenuator'].model} goes up to {attenuator.maximum:g} dB"]
    if config.attenuation_db <= limit < used:
        return [f"{asked}on the attenuator's steps of {attenuator.step:g} dB that is {used:g}, above {limit:g} dB"]
    return []


def groups_of(
    name: str, limits: Mapping[str, tuple[float, float]], shots: int, tuning: Mapping[str, NDArray[np.float64]]
) -> list[tuple[dict[str, float], NDArray[np.intp]]]:
    """Return the shots (numbers) of each combination of tuned values (shots,), in the order of their first shots.

    `ValueError` for a setting that is not in `limits`, or a value beyond them.
    """
    if not tuning:
        return [({}, np.arange(shots))]
    columns = []
    for key, values in tuning.items():
        if key not in limits:
            raise ValueError(f"{name}: {key!r} cannot differ from shot to shot; these can: {', '.join(limits)}")
        low, high = limits[key]
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (shots,) or not ((array >= low) & (array <= high)).all():
            raise ValueError(
                f"{name}: expected {key} of shape ({shots},) from {low:g} to {high:g}, got shape {array.shape}, {array}"
            )
        columns.append(array)
    table, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return [
        (dict(zip(tuning, table[kind].tolist(), strict=True)), np.flatnonzero(inverse.reshape(-1) == kind))
        for kind in np.argsort(first)
    ]
