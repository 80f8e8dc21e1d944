"""Vector source with waveform memory."""

import asyncio
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simulators.virtual_bench import scpi
from simulators.virtual_bench.instrument import unquoted
from simulators.virtual_bench.scpi import ScpiError, block
from simulators.virtual_bench.setup import Setup
from simulators.virtual_bench.source import Source
from simulators.virtual_bench.tree import Call
from simulators.virtual_bench.world import SourceOutput

SHORTEST = 60
"""Samples that a waveform has at least."""
_FULL_CODE = 32767
_UNFOUND = 10 ** (-1 / 20)
_FELT = ("frequency", "power", "alc", "output", "modulation", "arb", "waveform", "search", "reference")
"""Settings that a power search comes after, while it is automatic."""
MEMORY = 1 << 29
"""Samples of baseband memory (option 022)."""


class N5182B(Source):
    """Keysight N5182B, MXG X-Series: plays a waveform once for each trigger.

    A waveform is two files: `WFM1:NAME`, big-endian 16 bit I and Q by turns, and `MKR1:NAME`, one byte a sample whose
    bit 0 is marker 1, wired to the analyser, and bit 1 marker 2. Loading a waveform clears its markers: they never rise
    until they are loaded too; it clears its header as well.

    While level control (ALC) is on, the average over the waveform has the power that is set. While it is off, the power
    that is set is that of a code as strong as the reference of the last power search, and 1 dB less until there was
    one.
    """

    FIRMWARE = "B.01.95"
    OPTIONS = ("022", "506", "657", "1EA", "UNV")
    GUIDE = "Keysight X-Series Signal Generators Programming Guide, chapter Creating and Downloading Waveform Files"
    FREQUENCY = (9e3, 6e9)
    POWER = (-144.0, 30.0)

    def __init__(self, serial: str, setup: Setup, model: str) -> None:
        self.codes: dict[str, NDArray[np.int16]] = {}
        self.markers: dict[str, NDArray[np.uint8]] = {}
        self.rms_v: dict[str, float] = {}
        """RMS voltage in the headers of waveforms, where one was given."""
        self._reference_v: float | None = None
        """Of the last power search, as a share of a full code; None: none since frequency or power was set."""
        self._shots: dict[str, NDArray[np.intp]] = {}
        """Samples at which marker 2 rises, of the waveforms that have markers."""
        self._ignored = ""
        """Waveform whose download was not taken, until its markers have come, which are not taken either."""
        self.played = 0
        """Waveforms that triggers have started."""
        super().__init__(serial, setup, model)

    def build(self) -> None:
        """Add the arbitrary waveform player and its files."""
        super().build()
        arb = "[:SOURce]:RADio#:ARB"
        self.boolean("arb", f"{arb}[:STATe]")
        self.number("rate_hz", f"{arb}:SCLock:RATE", 1.0, 200e6, "HZ", default=200e6)
        self.number("scaling", f"{arb}:RSCaling", 1.0, 100.0, "PCT", default=70.0)
        self.choice("trigger_type", f"{arb}:TRIGger:TYPE", "CONTinuous|SINGle|GATE|SADVance", default="CONT")
        self.choice("trigger_source", f"{arb}:TRIGger[:SOURce]", "KEY|EXTernal|BUS", default="EXT")
        self.choice("retrigger", f"{arb}:RETRigger", "ON|OFF|IMMediate|1|0", default="ON")
        self._defaults["waveform"] = ""
        self.tree.add(
            f"{arb}:WAVeform",
            command=lambda call: self.assign("waveform", self._stored(unquoted(call.one()))),
            query=lambda call: f'"WFM1:{self.values["waveform"]}"' if self.values["waveform"] else '""',
        )
        for memory in (":MMEMory", ":MEMory"):
            self.tree.add(f"{memory}:DATA", command=self._load, query=self._read_back)
            self.tree.add(f"{memory}:DELete[:NAME]", command=self._delete)
            self.tree.add(f"{memory}:CATalog", query=self._catalogue)
        self.tree.add(f"{arb}:HEADer:RMS", command=self._set_rms, query=self._show_rms)
        self.boolean("alc", "[:SOURce]:POWer:ALC[:STATe]", default=True)
        self._defaults["search"] = True
        self.tree.add(
            "[:SOURce]:POWer:ALC:SEARch", command=self._set_search, query=lambda call: str(int(self.values["search"]))
        )
        self.choice("reference", "[:SOURce]:POWer:ALC:SEARch:REFerence", "FIXed|RMS|MODulated", default="FIX")
        self.tree.add(":MMEMory:DELete:WFM#", command=lambda call: self._forget(*self.codes))
        self.tree.add(":TRIGger[:SEQuence][:IMMediate]", command=lambda call: self.trigger())

    def reset(self) -> None:
        """Set everything as after `*RST`."""
        self._reference_v = None
        super().reset()

    def changed(self, name: str) -> None:
        """Refuse to play without a waveform."""
        if name in ("arb", "waveform") and self.values["arb"] and self.values["waveform"] not in self.codes:
            raise ScpiError(-221, "select a waveform before the ARB is turned on")
        if name in ("frequency", "power", "alc"):
            self._reference_v = None
        if self.values["search"] and self._can_search and name in _FELT:
            self._search()
        super().changed(name)

    # --- files ---

    @staticmethod
    def _split(path: str) -> tuple[str, str]:
        """Return folder ("WFM1" or "MKR1") and name of a file, given in one of the guide's two ways."""
        name, at, folder = path.partition("@")
        if not at:
            folder, _, name = path.partition(":")
        if folder.upper() not in ("WFM1", "MKR1") or not 0 < len(name) <= 23 or not name.isprintable():
            raise ScpiError(-256, path[:60])
        return folder.upper(), name

    def _stored(self, path: str) -> str:
        _, name = self._split(path)
        if name not in self.codes:
            raise ScpiError(-256, path[:60])
        return name

    def _load(self, call: Call) -> None:
        path, data = call.only(2)
        folder, name = self._split(unquoted(path))
        if not isinstance(data, bytes):
            raise ScpiError(-104, "expected a binary block")
        if self._ignores(folder, name):
            return
        if folder == "MKR1":
            markers = np.frombuffer(data, dtype=np.uint8)
            if name in self.codes and len(markers) != len(self.codes[name]):
                raise ScpiError(-221, f"{len(markers)} markers for {len(self.codes[name])} samples")
            self.markers[name] = markers
            self._shots[name] = np.flatnonzero(np.diff((markers >> 1) & 1, prepend=0) == 1)
        else:
            if len(data) % 4 or len(data) < 4 * SHORTEST:
                raise ScpiError(-161, f"a waveform has at least {SHORTEST} samples of 4 bytes, got {len(data)} bytes")
            if len(data) // 4 + sum(len(c) for n, c in self.codes.items() if n != name) > MEMORY:
                raise ScpiError(-223, "baseband memory is full")
            self.codes[name] = np.frombuffer(data, dtype=">i2").astype(np.int16).reshape(-1, 2)
            self._unmark(name)
        self.changed("")

    def _ignores(self, folder: str, name: str) -> bool:
        """Whether this file is silently not taken (fault `ignored`)."""
        if folder == "WFM1":
            self._ignored = name if self.setup.faults.doing(self.ROLE, "ignored") else ""
            return bool(self._ignored)
        ignored, self._ignored = self._ignored == name, ""
        return ignored

    def _read_back(self, call: Call) -> bytes:
        folder, name = self._split(unquoted(call.one()))
        self._stored(f"WFM1:{name}")
        if folder == "WFM1":
            return block(self.codes[name].astype(">i2").tobytes())
        return block(self._markers(name).tobytes())

    def _markers(self, name: str) -> NDArray[np.uint8]:
        markers = self.markers.get(name)
        return np.zeros(len(self.codes[name]), dtype=np.uint8) if markers is None else markers

    def _delete(self, call: Call) -> None:
        self._forget(self._stored(unquoted(call.one())))

    def _forget(self, *names: str) -> None:
        if self.values["arb"] and self.values["waveform"] in names:
            raise ScpiError(-221, f"{self.values['waveform']} is being played")
        for name in names:
            del self.codes[name]
            self._unmark(name)
        if self.values["waveform"] in names:
            self.assign("waveform", "")

    def _unmark(self, name: str) -> None:
        self.rms_v.pop(name, None)
        self.markers.pop(name, None)
        self._shots.pop(name, None)

    def _catalogue(self, call: Call) -> str:
        folder = call.only(0, 1)[0] if call.arguments else "WFM1:"
        if str(folder).upper().rstrip(":") not in ("WFM1", "MKR1"):
            raise ScpiError(-256, str(folder)[:60])
        sizes = {name: 4 * len(codes) for name, codes in self.codes.items()}
        if str(folder).upper().startswith("MKR1"):
            sizes = {name: len(markers) for name, markers in self.markers.items()}
        files = "".join(f',"{name},{str(folder)[:4].upper()},{size}"' for name, size in sorted(sizes.items()))
        return f"{sum(sizes.values())},{4 * MEMORY - sum(sizes.values())}{files}"

    # --- level ---

    def _set_rms(self, call: Call) -> None:
        path, value = call.only(2)
        name = self._stored(unquoted(path))
        if isinstance(value, str) and scpi.matches(value, "UNSPecified"):
            self.rms_v.pop(name, None)
        else:
            self.rms_v[name] = self.limited(value, 0.0, 1.414, "V")

    def _show_rms(self, call: Call) -> str:
        name = self._stored(unquoted(call.one()))
        return self.shown(self.rms_v[name]) if name in self.rms_v else "UNSP"

    def _set_search(self, call: Call) -> None:
        argument = call.one()
        if not (isinstance(argument, str) and scpi.matches(argument, "ONCE")):
            self.assign("search", scpi.boolean(argument))
        elif self._can_search:
            self._search()
            self.changed("search")
        else:
            raise ScpiError(-221, "a power search needs RF on and ALC off")

    @property
    def _can_search(self) -> bool:
        return self.rf_on and not self.values["alc"]

    def _search(self) -> None:
        """Find the level at which a code as strong as the reference has the power that is set."""
        name, kind = self.values["waveform"], self.values["reference"]
        if kind == "FIX" or not self.values["arb"]:
            self._reference_v = 0.5
            return
        size = np.sqrt(np.square(self.codes[name] / _FULL_CODE).sum(axis=1))
        if kind == "RMS":
            # As the guide has it, silence does not count.
            size = size[size > 0]
        found = float(np.sqrt(np.square(size).mean())) if size.size else 1.0
        self._reference_v = (self.rms_v.get(name, found) if kind == "RMS" else found) or 1.0

    def _level(self, name: str) -> float:
        """Return the amplitude of a full code, as a share of that of the power that is set."""
        if not self.values["alc"]:
            return 1 / self._reference_v if self._reference_v else _UNFOUND
        mean = float(np.square(self.codes[name] / _FULL_CODE).sum(axis=1).mean())
        # What is silent all over cannot be levelled.
        return 1 / (np.sqrt(mean) * self.values["scaling"] / 100) if mean else 1.0

    # --- playing ---

    def output(self) -> SourceOutput:
        """Return the settings, with the waveform while the player is on."""
        output = super().output()
        if not self.values["arb"] or not output.modulation_on:
            return output
        name = self.values["waveform"]
        return replace(
            output,
            codes=self.codes[name],
            rate_hz=self.values["rate_hz"],
            scaling=self.values["scaling"] / 100 * self._level(name),
            marks=self._shots.get(name),
        )

    def emission(self) -> SourceOutput:
        """Return what leaves the connector now: nothing while a waveform waits for its trigger."""
        waits = self.values["arb"] and self.values["modulation"] and self.values["trigger_type"] != "CONT"
        return self.silent() if waits else self.output()

    def trigger(self) -> None:
        """Play the waveform once; marker 1 triggers the analyser where it rises."""
        if not self.values["arb"] or self.values["trigger_source"] != "BUS" or self.values["trigger_type"] == "CONT":
            raise ScpiError(-211)
        self.played += 1
        markers = self.markers.get(self.values["waveform"])
        if markers is not None and markers[0] & 1:
            self.setup.wire.pulse(self.output(), asyncio.get_running_loop().time())
