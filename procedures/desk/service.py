"""Requests in, answers out: what is quick is answered at once, what needs torch by a thread that loads it."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from pydantic_core import to_json

from labpgt.config import Config
from labpgt.errors import LabpgtError
from labpgt.registry import device_class
from procedures.desk import forms

if TYPE_CHECKING:
    from procedures.desk.estimate import Estimator

_SLOW = "estimate"


class Service:
    """Answers requests on a stream of text."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._writing = threading.Lock()
        self._importing = threading.Lock()
        """Held by whoever may import a device: modules that import each other must not be imported by two threads."""
        self._refusals: forms.Refusals | None = None
        """There once torch is."""
        self._waiting: Mapping[str, Any] | None = None
        """The newest request for an estimate, until it is its turn."""
        self._changed = threading.Condition()

    def serve(self, lines: Iterable[bytes]) -> None:
        """Answer requests, one a line, until there are no more."""
        threading.Thread(target=self._estimate, name="estimates", daemon=True).start()
        for line in lines:
            if line.strip():
                self._take(line)

    def _take(self, line: bytes) -> None:
        number = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("expected a JSON object")
            number = request.get("id")
            if request.get("do") == _SLOW:
                self._put(request)
                return
            self._say(id=number, ok=True, value=self._quickly(request))
        except Exception as error:
            self._refuse(number, error)

    def _quickly(self, request: Mapping[str, Any]) -> Any:
        match request.get("do"):
            case "devices":
                return forms.devices()
            case "presets":
                return forms.presets()
            case "device":
                with self._importing:
                    return forms.device(_given(request, "name", str))
            case "check":
                with self._importing:
                    return forms.check(_given(request, "config", dict), self._refusals)
        raise ValueError(f"do = {json.dumps(request.get('do'))}: expected devices, device, presets, check or estimate")

    def _put(self, request: Mapping[str, Any]) -> None:
        """Have a request answered by the other thread, in the place of one that still waits."""
        with self._changed:
            before, self._waiting = self._waiting, request
            self._changed.notify()
        if before is not None:
            self._refuse(before.get("id"), "superseded")

    def _estimate(self) -> None:
        """Load what estimates need, and make them."""
        try:
            estimate = self._loaded().estimate
        except Exception as error:
            text = f"cannot load what estimates need: {type(error).__name__}: {error}. Try labpgt doctor"
            self._say(state="failed", error=text)

            def estimate(config: Config) -> dict[str, Any]:
                raise LabpgtError(text)

        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                request, self._waiting = self._waiting, None
            assert request is not None
            try:
                value = estimate(forms.checked(_given(request, "config", dict)))
                self._say(id=request.get("id"), ok=True, value=value)
            except Exception as error:
                self._refuse(request.get("id"), error)

    def _loaded(self) -> "Estimator":
        """Load devices, then torch and what goes with it."""
        began = time.perf_counter()
        self._say(state="loading kernels")
        first = Config().device.name
        for name in sorted(forms.devices(), key=lambda name: name != first):
            with self._importing, suppress(LabpgtError):  # whoever asks for it is told
                device_class(name)
            time.sleep(1e-3)  # or whoever waits for the lock may never get it
        self._say(state="loading torch")
        from procedures.desk.beginnings import dataset_of, refusals
        from procedures.desk.estimate import Estimator

        dataset_of(Config())  # loads scikit-learn
        self._refusals = refusals
        self._say(state="ready", seconds=round(time.perf_counter() - began, 3))
        return Estimator()

    def _refuse(self, number: Any, error: Exception | str) -> None:
        text = str(error) if isinstance(error, LabpgtError | ValueError | str) else f"{type(error).__name__}: {error}"
        self._say(id=number, ok=False, error=text)

    def _say(self, **values: Any) -> None:
        line = to_json(values, inf_nan_mode="null").decode() + "\n"
        # When nobody reads answers any more, standard input ends as well.
        with self._writing, suppress(OSError):
            self._answers.write(line)
            self._answers.flush()


def _given(request: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = request.get(key)
    if not isinstance(value, kind):
        expected = {str: "a text", dict: "an object"}[kind]
        raise ValueError(f"{request['do']}: {key} = {json.dumps(value)}: expected {expected}")
    return value
