"""Vector source Keysight (Agilent) N5182B MXG, N5172B EXG, N5182A MXG: waveform memory played on a carrier."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from instruments.properties import choice_control, real_control, refusing, switch_control
from instruments.scpi import Identity, InstrumentFault, LabInstrument, SettingRefused, definite_block


class KeysightN5182B(LabInstrument):
    """The source of the envelope use of a ring: a whole batch of shots in one waveform, played once a trigger.

    Its automatic level control (ALC) keeps the average power of what is played, so that the power of a pulse would
    depend on how many there are, and on the gaps between. A marker can hold the ALC for 100 ms at most, and a waveform
    waits longer for its trigger. So `alc_enabled` is to be False for pulses: then `power` is that of a full code,
    found by the source's power search, which runs when a waveform is armed for the first time after a change of
    frequency or power or after RF on: for some milliseconds the carrier of that power leaves the connector then, before
    the trigger (User's Guide, "ALC Off Mode" and "Power Search"; "Using Waveform Markers").
    """

    MODELS: ClassVar[tuple[str, ...]] = ("N5182B", "N5172B", "N5182A")
    GUIDE: ClassVar[str] = (
        "X-Series Signal Generators, SCPI Command Reference and User's Guide, and N518xA, E8663B, E44x8C and E82x7D "
        'Signal Generators, Programming Guide, "Creating and Downloading Waveform Files"'
    )
    SHORTEST: ClassVar[int] = 60
    """Fewest samples of a waveform."""
    MEMORY: ClassVar[Mapping[str, int]] = {"N5182B": 32_000_000, "N5172B": 32_000_000, "N5182A": 8_000_000}
    """Samples that the memory of each model holds, without an option for more."""
    LONGEST: int = min(MEMORY.values())
    """Most samples of a waveform; of the model, once its identity was asked."""
    FASTEST: ClassVar[Mapping[str, float]] = {
        "651": 30e6,
        "652": 60e6,
        "654": 125e6,
        "653": 75e6,
        "655": 150e6,
        "656": 100e6,
        "657": 200e6,
    }
    """Highest sample rate in samples/s that an option of the baseband generator gives."""
    LIVE: ClassVar[Mapping[str, tuple[str, str]]] = {
        "output": ("output_enabled", ""),
        "frequency": ("frequency", "Hz"),
        "power": ("power", "dBm"),
        "modulation": ("modulation_enabled", ""),
        "levelling": ("alc_enabled", ""),
        "waveform": ("waveform", ""),
    }
    MARKED: ClassVar[int] = 32
    """Samples at the beginning of each waveform on which marker 1 is set, to trigger the analyser."""

    def __init__(self, adapter: Any, name: str = "Keysight N5182B vector source", **kwargs: Any) -> None:
        super().__init__(adapter, name, **kwargs)
        self._unlevelled = self._level_found = False

    def check_identity(self) -> Identity:
        """Return who answers, and know from then on how much memory it has, or raise `InstrumentFault`."""
        identity = super().check_identity()
        self.LONGEST = self.MEMORY[identity.model]
        return identity

    def was_set(self, name: str, value: Any) -> None:
        """Remember whether the level has to be found anew."""
        if name in ("alc_enabled", "frequency", "power", "output_enabled"):
            self._level_found = False
        if name == "alc_enabled":
            self._unlevelled = not value

    frequency = real_control(
        ":FREQ", "Control the carrier frequency in Hz (float strictly from 9e3 to 6e9).", (9e3, 6e9), unit="Hz"
    )
    power = real_control(
        ":POW", "Control the output power in dBm (float strictly from -144 to 30).", (-144, 30), unit="dBm"
    )
    alc_enabled = switch_control(
        ":POW:ALC", "Control whether the average power of what is played is levelled (bool); False for pulses."
    )
    output_enabled = switch_control(":OUTP", "Control whether RF leaves the output connector (bool).")
    modulation_enabled = switch_control(":OUTP:MOD", "Control whether the waveform reaches the carrier (bool).")

    sample_rate = real_control(
        ":RAD:ARB:SCL:RATE", "Control the sample rate of waveforms in Hz (float strictly from 1 to 200e6).", (1, 200e6)
    )
    arb_scaling = real_control(
        ":RAD:ARB:RSC", "Control the scaling of waveforms while playing in % (float strictly from 1 to 100).", (1, 100)
    )
    arb_enabled = switch_control(":RAD:ARB", "Control whether the waveform player is on (bool).")
    arb_trigger_type = choice_control(
        ":RAD:ARB:TRIG:TYPE",
        "Control what a trigger does ('continuous', 'single', 'gate' or 'segment').",
        {"continuous": "CONT", "single": "SING", "gate": "GATE", "segment": "SADV"},
    )
    arb_trigger_source = choice_control(
        ":RAD:ARB:TRIG",
        "Control where triggers come from ('bus', 'external' or 'key').",
        {"bus": "BUS", "external": "EXT", "key": "KEY"},
    )

    @property
    def waveform(self) -> str:
        """Control the waveform in volatile memory that is played (up to 22 letters, digits and _; "" for none)."""
        reply = self.ask(":RAD:ARB:WAV?").strip()
        if reply == '""':
            return ""
        found = re.fullmatch(r'"WFM1:(\w{1,22})"', reply)
        if not found:
            raise InstrumentFault(f'{self.name}: expected "WFM1:NAME" as the answer to :RAD:ARB:WAV?, got {reply!r}')
        return found[1]

    @waveform.setter
    def waveform(self, name: str) -> None:
        with refusing(f"{self.name}: waveform"):
            checked_name(name)
        self.write(f':RAD:ARB:WAV "WFM1:{name}"')

    def fastest(self) -> float:
        """Highest sample rate of the installed options in samples/s; `InstrumentFault` without a baseband generator."""
        installed = self.installed_options()
        rates = [rate for option, rate in self.FASTEST.items() if option in installed]
        if not rates:
            raise InstrumentFault(
                f"{self.name}: playing a waveform needs one of the options {', '.join(self.FASTEST)}, none is installed"
            )
        return max(rates)

    def rf_off(self) -> None:
        """RF off: one write, from any state, nothing is asked."""
        self.write(":OUTP OFF")

    def rf_on(self) -> None:
        """RF on."""
        self.write(":OUTP ON")
        self._level_found = False

    def load_waveform(self, name: str, codes: NDArray[np.int16], shots: Sequence[int] = ()) -> None:
        """Load I and Q codes `(samples, 2)`, int16, as `name`, with its markers.

        Marker 1 is set on the first `MARKED` samples, to trigger the analyser; marker 2 on the samples `shots`, each
        the first of a shot: no instrument here needs it, an oscilloscope can trigger on it, and the virtual bench cuts
        by it. The RMS voltage in the waveform's header, which the power search goes by, is set to that of a full code.
        The player is switched off first: a waveform in use cannot be written over. `SettingRefused` before anything is
        sent.
        """
        checked_name(name)
        codes = np.asarray(codes)
        if codes.dtype != np.int16 or codes.ndim != 2 or codes.shape[1] != 2:
            raise SettingRefused(
                f"{self.name}: expected codes of shape (samples, 2) and type int16, got {codes.shape} and {codes.dtype}"
            )
        if not self.SHORTEST <= len(codes) <= self.LONGEST:
            raise SettingRefused(f"{self.name}: expected {self.SHORTEST} to {self.LONGEST} samples, got {len(codes)}")
        markers = np.zeros(len(codes), np.uint8)
        markers[: self.MARKED] = 1
        starts = np.asarray(shots, dtype=np.int64)
        if starts.size and not (starts.min() >= 0 and starts.max() < len(codes)):
            raise SettingRefused(
                f"{self.name}: expected shots to begin at samples 0 to {len(codes) - 1}, got "
                f"{starts.min()} to {starts.max()}"
            )
        markers[starts] |= 2
        with self.group(f"loading waveform {name} of {len(codes)} samples"):
            self.write(":RAD:ARB OFF")
            # The waveform first: writing it clears the markers of its name.
            self._write_file("WFM1", name, codes.astype(">i2").tobytes())
            self._write_file("MKR1", name, markers.tobytes())
            self.write(f':RAD:ARB:HEADER:RMS "WFM1:{name}",1')

    def _write_file(self, folder: str, name: str, content: bytes) -> None:
        self.write_bytes(f':MMEM:DATA "{folder}:{name}",'.encode() + definite_block(content) + b"\n")

    def arm_waveform(self, name: str) -> None:
        """Get ready to play the waveform once at the next `trigger`; triggers while it plays are ignored."""
        with self.group(f"arming waveform {name}"):
            self.waveform = name
            self.arb_trigger_type = "single"
            self.write(":RAD:ARB:RETR OFF")
            self.arb_trigger_source = "bus"
            self.arb_enabled = True
            if self._unlevelled and not self._level_found:
                # The search by itself would come with every switching of the player, and each finds a little other.
                self.write(":POW:ALC:SEAR 0")
                self.write(":POW:ALC:SEAR:REF RMS")
                self.write(":POW:ALC:SEAR ONCE;*WAI")
                self._level_found = True

    def trigger(self) -> None:
        """Play the armed waveform."""
        self.write("*TRG")

    def delete_waveform(self, name: str) -> None:
        """Delete a waveform, with its markers, from volatile memory: without this, that would fill up for good."""
        with self.group(f"deleting waveform {name}"):
            self.write(f':MMEM:DEL "WFM1:{checked_name(name)}"')

    def shutdown(self) -> None:
        """RF off."""
        self.rf_off()
        super().shutdown()


def checked_name(name: str) -> str:
    """Return the name of a waveform, or raise `SettingRefused`."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,22}", name):
        raise SettingRefused(f"expected a waveform's name of 1 to 22 letters, digits and _, got {name!r}")
    return name
