"""Requests in, answers out: what is quick is answered at once, what needs torch by a thread that loads it."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

from labpgt.config import Config
from labpgt.errors import LabpgtError
from labpgt.registry import device_class
from procedures.desk import forms

_SLOW = "estimate"


class Service:
    """Answers requests on a stream of text."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._writing = threading.Lock()
        self._importing = threading.Lock()
        """Held by whoever may import a device: modules that import each other must not be imported by two threads."""
        self._waiting: Mapping[str, Any] | None = None
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
            value = self._quickly(request)
        except Exception as error:
            self._refuse(number, error)
        else:
            self._say(id=number, ok=True, value=value)

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
                    return forms.check(_given(request, "config", dict))
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
        self._load()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                request, self._waiting = self._waiting, None
            assert request is not None
            self._refuse(request.get("id"), "this desk makes no estimates yet")

    def _load(self) -> None:
        began = time.perf_counter()
        self._say(state="loading kernels")
        first = Config().device.name
        for name in sorted(forms.devices(), key=lambda name: name != first):
            with self._importing, suppress(LabpgtError):  # whoever asks for it is told
                device_class(name)
            time.sleep(1e-3)  # or whoever waits for the lock may never get it
        self._say(state="loading torch")
        import_module("labpgt.training")
        self._say(state="ready", seconds=round(time.perf_counter() - began, 3))

    def _refuse(self, number: Any, error: Exception | str) -> None:
        text = str(error) if isinstance(error, LabpgtError | ValueError | str) else f"{type(error).__name__}: {error}"
        self._say(id=number, ok=False, error=text)

    def _say(self, **values: Any) -> None:
        with self._writing:
            self._answers.write(json.dumps(values, allow_nan=False) + "\n")
            self._answers.flush()


def _given(request: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = request.get(key)
    if not isinstance(value, kind):
        expected = {str: "a text", dict: "an object"}[kind]
        raise ValueError(f"{request['do']}: {key} = {json.dumps(value)}: expected {expected}")
    return value
