"""Why a network that learns nothing learns nothing."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from labpgt.network import Network

PRIOR_BAND = 0.01
"""A loss within this share of the class prior, with a constant output, is a network that only predicts the prior."""
CONSTANT = 0.05
"""An output whose deviation between samples is below this does not depend on its input."""


def at_prior(loss: float, prior: float, outputs: NDArray[np.float32]) -> bool:
    """Say whether loss sits at the class prior while outputs (n, classes) hardly differ between samples."""
    return abs(loss - prior) <= PRIOR_BAND * prior and float(outputs.std(0).max()) < CONSTANT


def likely_cause(network: Network, x: torch.Tensor, responses: NDArray[np.float64]) -> str:
    """Name what most likely keeps the network at the class prior, and what to do.

    Features (n, features) of the training part and scaled responses (n, width) to them.
    """
    share = _saturated(network.pre, x)
    largest = float(x.abs().max())
    if share > 0.5:
        reason = (
            f"features reach {largest:.3g} and are not standardised: set task.standardize = true"
            if largest > 20
            else "lower training.learning_rate, or use the relu activation"
        )
        return f"{share:.0%} of the hidden units are saturated or dead, so their gradient is zero; {reason}"
    with torch.no_grad():
        drives = network.encode(x).numpy()
    low, high = network.drive_limits
    if float(drives.std(0).max()) < 0.01 * (high - low):
        return (
            "the drives hardly differ between samples, so the device has nothing to work on; raise network.drive_gain, "
            "or lower training.learning_rate if they differed at the start"
        )
    if float(responses.std(0).max()) < 0.05:
        return (
            "the responses hardly differ between samples although the drives do: the device is saturated, disconnected "
            "or buried in noise; look at labpgt doctor and at the device's gain"
        )
    return "the updates are too small or too noisy; raise training.learning_rate or use the jacobian-twin estimator"


def _saturated(pre: nn.Module, x: torch.Tensor) -> float:
    """Return the largest share, over the activation layers inside `pre`, of units that are flat for 9 of 10 samples.

    For most samples, not for some: a healthy ReLU is flat for half of them.
    """
    shares: list[float] = []

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        with torch.enable_grad():
            x = inputs[0].detach().clone().requires_grad_()
            # A copy of it, for an activation may work in place, which a leaf refuses.
            slope = torch.autograd.grad(module.forward(x.clone()).sum(), x)[0]
        flat = (slope.abs() < 0.05).float().mean(0) > 0.9
        shares.append(float(flat.float().mean()))

    activations = (nn.Tanh, nn.Sigmoid, nn.ReLU, nn.ELU, nn.GELU, nn.SiLU)
    hooks = [m.register_forward_pre_hook(look) for m in pre.modules() if isinstance(m, activations)]
    try:
        with torch.no_grad():
            pre(x)
    finally:
        for hook in hooks:
            hook.remove()
    return max(shares, default=0.0)
