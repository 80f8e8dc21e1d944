"""The network around the device: pre-layers, drive encoding, and readout.

    x -> pre -> drives in the device's limits -> [device] -> scaled responses -> readout -> outputs

Only the part in brackets is physics; the rest is torch.
"""

import hashlib
import importlib
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labpgt.config import NetworkConfig
from labpgt.errors import InputError
from labpgt.rng import Draw, generator

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


class Network:
    """Pre-layers and readout with their parameters in one flat vector.

    One vector makes a perturbation of all parameters one addition and a checkpoint one array; each parameter of the
    modules is a view into it, so any `torch.optim` optimiser over `[network.flat]` trains the modules. The modules run
    in evaluation mode: both halves of a ± pair must see the same network, so dropout layers and batch statistics of
    one's own are off.
    """

    def __init__(self, pre: nn.Module, readout: nn.Module, drive_limits: tuple[float, float], deviation: float) -> None:
        self.pre = pre.eval()
        self.readout = readout.eval()
        self.drive_limits = drive_limits
        self.offset = 0.0
        self.scale = 1.0
        self.deviation = deviation
        parameters = [p for p in nn.ModuleList([pre, readout]).parameters() if p.requires_grad]
        if not parameters:
            raise InputError("network: no trainable parameters in pre-layers and readout; there is nothing to learn")
        if any(p.dtype != torch.float32 for p in parameters):
            raise InputError("network: every trainable parameter must be float32, the precision of the session file")
        readout_ids = {id(p) for p in readout.parameters()}
        self.flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
        self.flat.grad = torch.zeros_like(self.flat)
        self.readout_mask = np.zeros(self.flat.numel(), dtype=bool)
        start = 0
        for p in parameters:
            end = start + p.numel()
            p.data = self.flat.data[start:end].view(p.shape)
            p.grad = self.flat.grad[start:end].view(p.shape)
            self.readout_mask[start:end] = id(p) in readout_ids
            start = end
        self.values: NDArray[np.float32] = self.flat.data.numpy()
        """All trainable parameters, flat; writing here changes the modules."""
        self.gradient: NDArray[np.float32] = self.flat.grad.numpy()
        """dL/d(parameters), flat; estimators fill it."""

    def encode(self, x: Tensor) -> Tensor:
        """Features (n, features) to drives (n, symbols) inside the device's limits; differentiable."""
        low, high = self.drive_limits
        drives = torch.sigmoid(self.pre(x))
        return drives if (low, high) == (0.0, 1.0) else drives * (high - low) + low

    def read(self, responses: Tensor) -> Tensor:
        """Responses (n, symbols * nodes), as recorded, to outputs (n, outputs); differentiable."""
        return self.readout((responses - self.offset) * (self.deviation / self.scale))  # type: ignore[no-any-return]

    def sha256(self) -> str:
        """Hash of all trainable parameters: two runs that agree in it learned the same network."""
        return hashlib.sha256(self.values.tobytes()).hexdigest()


def build_network(
    config: NetworkConfig, features: int, nodes: int, outputs: int, drive_limits: tuple[float, float], seed: int
) -> Network:
    """Build the configured network; initial weights depend on `seed` alone.

    Layers start as torch initialises them. The last pre-layer's weights are scaled by `config.drive_gain`, for drives
    that hardly differ between samples leave the device nothing to work on.
    """
    # torch's own initialisers draw from one global generator: fork it, so that a run does not disturb its caller.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, 0, Draw.WEIGHTS).integers(2**63)))
        pre = _made(config.pre, features, config.symbols, "network.pre") if config.pre else _layers(config, features)
        width = config.symbols * nodes
        readout = (
            _made(config.readout, width, outputs, "network.readout") if config.readout else nn.Linear(width, outputs)
        )
    _check_shape(pre, features, config.symbols, "network.pre")
    _check_shape(readout, width, outputs, "network.readout")
    return Network(pre, readout, drive_limits, config.readout_deviation)


def parameter_count(config: NetworkConfig, features: int, nodes: int, outputs: int) -> int | None:
    """Return how many parameters the network has, without making it; None where it has layers of one's own."""
    if config.pre or config.readout:
        return None
    widths = [features, *config.hidden, config.symbols]
    before = sum((width + 1) * following for width, following in pairwise(widths))
    return before + (config.symbols * nodes + 1) * outputs


def _layers(config: NetworkConfig, features: int) -> nn.Module:
    layers: list[nn.Module] = []
    width = features
    for hidden in config.hidden:
        layers += [nn.Linear(width, hidden), ACTIVATIONS[config.activation]()]
        width = hidden
    last = nn.Linear(width, config.symbols)
    last.weight.data *= config.drive_gain
    return nn.Sequential(*layers, last)


def _made(spec: str, inputs: int, outputs: int, key: str) -> nn.Module:
    """Call a person's `module:factory` with the number of inputs and outputs."""
    module_name, _, attribute = spec.partition(":")
    try:
        factory: Any = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise InputError(
            f'{key} = "{spec}": cannot be imported ({error}). Expected "module:factory" with the module on PYTHONPATH'
        ) from error
    try:
        made = factory(inputs, outputs)
    except Exception as error:
        raise InputError(
            f'{key} = "{spec}": {attribute}({inputs}, {outputs}) failed: {type(error).__name__}: {error}. Expected a '
            "function of the numbers of inputs and outputs that returns a torch.nn.Module"
        ) from error
    if not isinstance(made, nn.Module):
        raise InputError(f'{key} = "{spec}": expected a torch.nn.Module, got {type(made).__name__}')
    return made


def _check_shape(module: nn.Module, inputs: int, outputs: int, key: str) -> None:
    try:
        with torch.no_grad():
            out = module.eval()(torch.zeros(2, inputs))
    except Exception as error:
        raise InputError(f"{key}: fails on an input of shape (2, {inputs}): {error}") from error
    got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if got != (2, outputs):
        raise InputError(f"{key}: expected an output of shape (2, {outputs}) from (2, {inputs}), got {got}")
