"""What every device can do, and what a reservoir can do besides.

These protocols are the seam between training and physics: a driver on the bench, a simulated ring and a recorded
session are the same thing to the code above them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Setting(NamedTuple):
    """One setting that affects a response, for the session file."""

    value: float | int | bool | str
    unit: str = ""
    """SI symbol ("Hz", "T", "s", "A/m") or a named logarithmic unit ("dBm"); empty for a pure number or a text."""


@runtime_checkable
class Device(Protocol):
    """What every driver and every simulator can do."""

    @property
    def name(self) -> str:
        """Short name for messages and files."""

    def open(self) -> None:
        """Connect, check the identity and get ready to take shots. Opening an open device does nothing."""

    def close(self) -> None:
        """Make safe and release. Closing a closed device does nothing."""

    def make_safe(self) -> None:
        """RF off, gain down. May be called at any time, from any state, twice."""

    def settings(self) -> Mapping[str, Setting]:
        """Value and unit of everything that affects a response."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Reservoir(Device, Protocol):
    """A device that answers a drive with a response: the physical layer of a network.

    Memory lives inside a shot: a sample of 30 features is one shot of 30 symbols. Shots are independent of each
    other, for the device is quiet between them.
    """

    @property
    def n_nodes(self) -> int:
        """Response values per drive symbol: virtual nodes in time, or spectral bins."""

    @property
    def max_symbols(self) -> int:
        """Longest shot the device can take, in symbols."""

    @property
    def drive_limits(self) -> tuple[float, float]:
        """Lowest and highest drive value the device accepts (dimensionless)."""

    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take shots: drives `(shots, symbols)` to responses `(shots, symbols, n_nodes)`, both float64.

        A batch is the device's to pipeline; its result equals shot by shot within the device's noise.
        Raises `ValueError` for a drive of the wrong shape, beyond `drive_limits` or not finite, before anything is
        sent, and `DeviceFault` when the device cannot answer.
        """


@runtime_checkable
class Flagging(Protocol):
    """A reservoir that says what each shot suffered from: every device on a bench."""

    def flags(self) -> NDArray[np.uint32]:
        """Bits of `labpgt.events.Flag` for each shot of the last `forward`, (shots,)."""


@runtime_checkable
class Recoverable(Protocol):
    """A device that can be brought back after a fault."""

    def recover(self) -> None:
        """Try once: connect again what was lost, set it as it was, check its health.

        Raises `DeviceFault` while it is still ill.
        """


@runtime_checkable
class Seekable(Protocol):
    """A reservoir whose noise can be repeated: every simulator.

    Noise is drawn from a counter-based generator keyed by the number of the shot, so a shot has the same noise
    whatever batch it travels in and however often the run was interrupted.
    """

    def seek(self, shot: int) -> None:
        """Say which number the next shot has; each shot of a batch counts one."""


@runtime_checkable
class Tunable(Protocol):
    """A reservoir with settings that can differ from shot to shot, for characterisation and sweeps."""

    @property
    def tunable(self) -> Mapping[str, tuple[float, float]]:
        """Lowest and highest value of each such setting, by its name in `settings()`.

        Names with a meaning agreed on: `attenuation_db` (attenuator in the loop: more is less gain), `carrier_hz`.
        """

    def forward_tuned(
        self, drives: NDArray[np.float64], tuning: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Like `forward`, each shot with its own value `(shots,)` of the named settings, for this call only.

        Unlike `forward`, it answers also where the ring oscillates by itself: it is there to find that out.
        """


@runtime_checkable
class Foreseeing(Protocol):
    """A device that can say before it is opened what opening it would be refused for."""

    def refusals(self) -> Mapping[str, str]:
        """Return what is wrong, a sentence by the setting's name; nothing is sent to any instrument."""


@runtime_checkable
class Differentiable(Protocol):
    """A reservoir that can be differentiated, for the `backprop` reference only."""

    def vjp(self, drives: NDArray[np.float64], cotangents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vector-Jacobian product of the noiseless response.

        Drives `(shots, symbols)` and cotangents dL/dr `(shots, symbols, n_nodes)` to dL/du `(shots, symbols)`.
        """


class DeviceBase(ABC):
    """What is the same for every device: a `with` block opens it and closes it."""

    @abstractmethod
    def open(self) -> None:
        """As `Device.open`."""

    @abstractmethod
    def close(self) -> None:
        """As `Device.close`."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReservoirWrapper(DeviceBase):
    """Stands before a reservoir and is like it, but for what a subclass changes."""

    def __init__(self, inner: Reservoir) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """The inner one's."""
        return self.inner.name

    @property
    def n_nodes(self) -> int:
        """The inner one's."""
        return self.inner.n_nodes

    @property
    def max_symbols(self) -> int:
        """The inner one's."""
        return self.inner.max_symbols

    @property
    def drive_limits(self) -> tuple[float, float]:
        """The inner one's."""
        return self.inner.drive_limits

    def open(self) -> None:
        """Open the inner one."""
        self.inner.open()

    def close(self) -> None:
        """Close the inner one."""
        self.inner.close()

    def make_safe(self) -> None:
        """Make the inner one safe."""
        self.inner.make_safe()

    def settings(self) -> Mapping[str, Setting]:
        """The inner one's."""
        return self.inner.settings()

    @abstractmethod
    def forward(self, drives: NDArray[np.float64]) -> NDArray[np.float64]:
        """As `Reservoir.forward`."""


def checked_drives(reservoir: Reservoir, drives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return drives as a contiguous float64 array, or raise `ValueError` saying what the reservoir expected.

    Every reservoir calls this first, so that a wrong drive reads the same wherever it is met.
    """
    array = np.ascontiguousarray(drives, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"{reservoir.name}: expected drives of shape (shots, symbols), got shape {array.shape}")
    if not 1 <= array.shape[1] <= reservoir.max_symbols:
        raise ValueError(
            f"{reservoir.name}: expected 1 to {reservoir.max_symbols} symbols a shot, got {array.shape[1]}"
        )
    low, high = reservoir.drive_limits
    # The comparison is written so that NaN fails it.
    inside = (array >= low) & (array <= high)
    if not inside.all():
        shot, symbol = np.argwhere(~inside)[0]
        raise ValueError(
            f"{reservoir.name}: drive {array[shot, symbol]:g} of shot {shot}, symbol {symbol} is outside the limits "
            f"{low:g} to {high:g}"
        )
    return array
