"""Reservoirs whose memory, capacities, threshold and transmission are known on paper."""

import cmath
import math
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labpgt.device import DeviceBase, Setting, checked_drives
from labpgt.errors import DeviceFault
from labpgt.rng import Draw, generator


class Paper(DeviceBase):
    """What the reservoirs here have in common: limits, noise keyed by the shot, an end."""

    name = "paper"
    n_nodes = 1

    def __init__(
        self, *, noise: float = 0.0, low: float = 0.0, high: float = 1.0, max_symbols: int = 4096, pause_s: float = 0.0
    ) -> None:
        self.noise = noise
        self.drive_limits = (low, high)
        self.max_symbols = max_symbols
        self.pause_s = pause_s
        self.is_open = False
        self.calls: list[tuple[int, int]] = []
        """Shots and symbols of every call."""
        self._shot = 0

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def make_safe(self) -> None:
        pass

    def settings(self) -> Mapping[str, Setting]:
        return {"noise": Setting(self.noise)}

    def seek(self, shot: int) -> None:
        self._shot = shot

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.noisy(self.answer(self.checked(drives)))

    def checked(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.is_open:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        drives = checked_drives(self, drives)
        self.calls.append((drives.shape[0], drives.shape[1]))
        time.sleep(self.pause_s * len(drives))
        return drives

    def answer(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        raise NotImplementedError

    def noisy(self, responses: NDArray[np.float64]) -> NDArray[np.float64]:
        for i, response in enumerate(responses):
            response += self.noise * generator(7, self._shot + i, Draw.NOISE).standard_normal(response.shape)
        self._shot += len(responses)
        return responses


class DelayLine(Paper):
    """Node k answers u(n-k), k = 0 to taps-1: remembers taps-1 symbols besides the present one, and nothing else."""

    name = "delay-line"

    def __init__(self, taps: int = 5, **settings: float) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.n_nodes = taps

    def answer(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros((*drives.shape, self.n_nodes))
        for k in range(self.n_nodes):
            out[:, k:, k] = drives[:, : drives.shape[1] - k]
        return out


class ParityLine(Paper):
    """Node D-1 answers the parity of u(n-D) to u(n), D = 1 to `longest`, for drives at 0 and 1: nonlinear, no more."""

    name = "parity-line"

    def __init__(self, longest: int = 3, **settings: float) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.n_nodes = longest

    def answer(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        sign = 1 - 2 * drives
        out = np.ones((*drives.shape, self.n_nodes))
        for longest in range(1, self.n_nodes + 1):
            for k in range(longest + 1):
                out[:, k:, longest - 1] *= sign[:, : drives.shape[1] - k]
        return out


class Memoryless(Paper):
    """Answers saturation * tanh(u / saturation)."""

    name = "memoryless"

    def __init__(self, saturation: float = 1.0, **settings: float) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.saturation = saturation

    def answer(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        return (self.saturation * np.tanh(drives / self.saturation))[..., None]


class TunableRing(Paper):
    """z(n) = u(n) + g A exp(i phi) s(z(n - trip)), read out as Re z and Im z, or as |z|; `labpgt.Tunable`.

    A = 10^(-attenuation_db / 20) and phi = 2 pi carrier_hz trip symbol_s. s is the identity, or with `saturation` the
    amplifier z / sqrt(1 + |z / saturation|²). Linear, it oscillates from g A = 1 on, its response decays by g A in
    every `trip` symbols, and its transmission is 1 / |1 - g A exp(i phi)|.
    """

    name = "tunable-ring"

    def __init__(
        self,
        *,
        gain: float = 2.0,
        attenuation_db: float = 12.0,
        carrier_hz: float = 3.2e9,
        symbol_s: float = 6.25e-9,
        trip: int = 1,
        saturation: float | None = None,
        envelope: bool = False,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        **settings: float,
    ) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.gain, self.trip, self.symbol_s = gain, trip, symbol_s
        self.attenuation_db, self.carrier_hz = attenuation_db, carrier_hz
        self.saturation, self.envelope = saturation, envelope
        self.n_nodes = 1 if envelope else 2
        self.tunable = ranges or {"attenuation_db": (0.0, 40.0), "carrier_hz": (3.0e9, 3.16e9)}

    def settings(self) -> Mapping[str, Setting]:
        return {
            "gain": Setting(self.gain),
            "attenuation_db": Setting(self.attenuation_db, "dB"),
            "carrier_hz": Setting(self.carrier_hz, "Hz"),
            "symbol_s": Setting(self.symbol_s, "s"),
            "noise": Setting(self.noise),
        }

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        drives = self.checked(drives)
        for name, values in tuning.items():
            low, high = self.tunable[name]
            assert values.shape == (len(drives),)
            assert ((values >= low) & (values <= high)).all()
        return self.noisy(self.answer(drives, **tuning))

    def loop(self, attenuation_db: float, carrier_hz: float) -> complex:
        """What a round trip multiplies a weak signal by."""
        phase = 2 * math.pi * carrier_hz * self.trip * self.symbol_s
        return self.gain * 10 ** (-attenuation_db / 20) * cmath.exp(1j * phase)

    def answer(
        self,
        drives: NDArray[np.float64],
        attenuation_db: NDArray[np.float64] | None = None,
        carrier_hz: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        shots, symbols = drives.shape
        attenuation = np.full(shots, self.attenuation_db) if attenuation_db is None else attenuation_db
        carrier = np.full(shots, self.carrier_hz) if carrier_hz is None else carrier_hz
        loop = np.array([self.loop(*setting) for setting in zip(attenuation, carrier, strict=True)])
        z = np.zeros((shots, symbols), complex)
        for n in range(symbols):
            z[:, n] = drives[:, n]
            if n >= self.trip:
                back = z[:, n - self.trip]
                if self.saturation is not None:
                    back = back / np.sqrt(1 + np.abs(back / self.saturation) ** 2)
                z[:, n] += loop * back
        return np.abs(z)[..., None] if self.envelope else np.stack([z.real, z.imag], axis=-1)
