"""A tanh delay ring: the smallest reservoir with the ring's structure, fast and differentiable.

For method work and as the reference that `backprop` needs. One nonlinear node with a delayed feedback line is the
time-multiplexed reservoir of Appeltant et al., Nature Communications 2, 468 (2011).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from labpgt.device import DeviceBase, Setting, checked_drives
from labpgt.errors import DeviceFault
from labpgt.rng import Draw, generator
from labpgt.validation import validated


class EchoStateRingConfig(BaseModel):
    """Settings of the tanh delay ring; all dimensionless."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_nodes: int = Field(10, ge=1, le=4096, description="virtual nodes (response values) per drive symbol")
    ring_nodes: int = Field(10, ge=2, le=4096, description="round trip of the ring, in virtual nodes")
    input_gain: float = Field(1.0, gt=0, le=100, description="factor on the masked drive")
    feedback: float = Field(0.5, ge=0, lt=1, description="gain of the round trip; below 1 the ring forgets")
    coupling: float = Field(0.3, ge=0, lt=1, description="coupling to the node just before (the ring's inertia)")
    noise: float = Field(0.0, ge=0, le=1, description="standard deviation of the readout noise")
    noise_seed: int = Field(0, ge=0, lt=2**63, description="key of the readout noise")
    mask_seed: int = Field(0, ge=0, lt=2**63, description="key of the input mask and the node biases")


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _respond(drives, mask, bias, ring, feedback, coupling, out):  # type: ignore[no-untyped-def]
    """x[n] = tanh(mask[v] u[k] + bias[v] + feedback x[n - ring] + coupling x[n - 1]), n = k * nodes + v."""
    shots, symbols = drives.shape
    nodes = mask.size
    for shot in range(shots):
        x = out[shot]
        for n in range(symbols * nodes):
            v = n % nodes
            y = mask[v] * drives[shot, n // nodes] + bias[v]
            if n >= ring:
                y += feedback * x[n - ring]
            if n >= 1:
                y += coupling * x[n - 1]
            x[n] = np.tanh(y)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _pull_back(responses, cotangents, mask, ring, feedback, coupling, out):  # type: ignore[no-untyped-def]
    """Reverse-mode derivative of `_respond`: dL/dx to dL/du, running the recursion backwards."""
    shots, length = responses.shape
    nodes = mask.size
    for shot in range(shots):
        x = responses[shot]
        g = cotangents[shot].copy()
        for n in range(length - 1, -1, -1):
            slope = g[n] * (1.0 - x[n] * x[n])
            out[shot, n // nodes] += mask[n % nodes] * slope
            if n >= ring:
                g[n - ring] += feedback * slope
            if n >= 1:
                g[n - 1] += coupling * slope


class EchoStateRing(DeviceBase):
    """Delay ring with a tanh nonlinearity; a `Reservoir` that is also `Seekable` and `Differentiable`."""

    Config = EchoStateRingConfig
    name = "echo-state-ring"

    def __init__(self, **settings: Any) -> None:
        self.config = validated(EchoStateRingConfig, settings, "device")
        draw = generator(self.config.mask_seed, 0, Draw.DEVICE)
        nodes = self.config.n_nodes
        self._mask = self.config.input_gain * draw.choice([-1.0, 1.0], nodes) * draw.uniform(0.5, 1.0, nodes)
        # A bias puts the nodes on different parts of tanh, so that even powers of the drive reach the readout too.
        self._bias = draw.uniform(-0.5, 0.5, nodes)
        self._open = False
        self._shot = 0

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol."""
        return self.config.n_nodes

    @property
    def max_symbols(self) -> int:
        """Longest shot, in symbols."""
        return 65_536

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Drive values accepted."""
        return (-1.0, 1.0)

    def open(self) -> None:
        """Get ready; nothing to connect to."""
        self._open = True

    def close(self) -> None:
        """Refuse shots from now on."""
        self._open = False

    def make_safe(self) -> None:
        """Nothing radiates here."""

    def settings(self) -> Mapping[str, Setting]:
        """Every setting; all are pure numbers."""
        return {key: Setting(value) for key, value in self.config.model_dump().items()}

    def seek(self, shot: int) -> None:
        """Set the number of the next shot, which keys its noise."""
        self._shot = shot

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Drives (shots, symbols) in [-1, 1] to responses (shots, symbols, n_nodes) in (-1, 1) plus noise."""
        if not self._open:
            raise DeviceFault(f"{self.name}: a shot was asked of a closed device; call open() first")
        drives = checked_drives(self, drives)
        responses = self._noiseless(drives)
        if self.config.noise:
            for i, response in enumerate(responses):
                draw = generator(self.config.noise_seed, self._shot + i, Draw.NOISE)
                response += self.config.noise * draw.standard_normal(response.size)
        self._shot += len(drives)
        return responses.reshape(*drives.shape, self.config.n_nodes)

    def vjp(self, drives: NDArray[np.float64], cotangents: NDArray[np.float64]) -> NDArray[np.float64]:
        """dL/dr (shots, symbols, n_nodes) at these drives to dL/du (shots, symbols)."""
        drives = checked_drives(self, drives)
        out = np.zeros_like(drives)
        flat = np.ascontiguousarray(cotangents, dtype=np.float64).reshape(len(drives), -1)
        config = self.config
        _pull_back(self._noiseless(drives), flat, self._mask, config.ring_nodes, config.feedback, config.coupling, out)
        return out

    def _noiseless(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        config = self.config
        out = np.empty((drives.shape[0], drives.shape[1] * config.n_nodes))
        _respond(drives, self._mask, self._bias, config.ring_nodes, config.feedback, config.coupling, out)
        return out
