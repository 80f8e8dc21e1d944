"""The desk: a process that answers a window's questions about devices and configurations.

`python -m procedures.desk` reads requests from standard input, one JSON object a line, and answers on standard output:

    {"id": 1, "do": "check", "config": {"training": {"epochs": 0}}}
    {"id": 1, "ok": true, "value": {"problems": {"training.epochs": "must be at least 1"}, ...}}

- `devices`: registered names
- `device` (`name`): schema, defaults and units of its settings
- `presets`: configurations to start from
- `check` (`config`): what is wrong with it, by key; else the whole of it as TOML, and where its session would go. Until
  torch is loaded only values are checked (`"complete": false`), then all that a run is refused for when it begins.
- `estimate` (`config`): the shots and the time that a run takes

A request that cannot be answered gets `{"id": ..., "ok": false, "error": text}`. Of several estimates
that wait, the newest is made. Unasked it says how far it is with loading torch: `{"state": text}`, at last `{"state":
"ready", "seconds": s}` or `{"state": "failed", "error": text}`. Only `estimate` waits for that. It leaves when standard
input ends. It never opens an instrument, and imports no code that a configuration names but registered
devices: a configuration may come from anybody.
"""
