"""Ways to a gradient from forward passes: each takes shots and fills `network.gradient`."""

from labpgt.estimators.base import Batch, Estimator, PairEstimator, StepReport
from labpgt.estimators.exact import Backprop, Readout
from labpgt.estimators.jacobian_twin import JacobianTwin
from labpgt.estimators.node import Node
from labpgt.estimators.pgt import Pgt

ESTIMATORS: dict[str, type[Estimator]] = {e.name: e for e in (Pgt, Node, JacobianTwin, Readout, Backprop)}

__all__ = ["ESTIMATORS", "Batch", "Estimator", "PairEstimator", "StepReport"]
