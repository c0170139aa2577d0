"""An estimate of a KL divergence: nats, where they are, and how far to trust them.

:mod:`KLIPCore.kl.estimate` adds it up node by node. All standard errors come from the spread over independent
posterior samples: of the total, of every node and pixel, and of the mean part by the jackknife.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from KLIPCore.kl.quadrature import NodeMeans, Nodes


@dataclass(frozen=True, eq=False)
class KLEstimate:
    """Nats, where they are, and how far to trust them.

    Attributes
    ----------
    nodes : the quadrature rule.
    per_sample : (n, K) nats of sample j at node k; their mean over j, summed over k, is the estimate.
    mean_per_node : (K,) nats of the mean push ‖E a‖², de-biased (U-statistic); the surprise.
    mean_part_error : jackknife standard error of the mean part; NaN with two samples.
    map : nats per pixel, of one sample's shape; sums to :attr:`nats`.
    map_error : standard error of every pixel of the map.
    mean_map : nats of the mean push per pixel; sums to :attr:`mean_part`.
    stein_residual, stein_error : mean of the control variate in nats and its standard error. Several errors
        away from 0 means that the samples do not come from the law ``denoise_posterior`` belongs to. NaN when
        it was not used.
    n_evaluations : images passed through the prior's denoiser.
    """

    nodes: Nodes
    per_sample: NDArray[np.float64]
    mean_per_node: NDArray[np.float64]
    mean_part_error: float
    map: Tensor
    map_error: Tensor
    mean_map: Tensor
    stein_residual: float
    stein_error: float
    n_evaluations: int

    @property
    def n_samples(self) -> int:
        """Independent samples behind the standard errors."""
        return len(self.per_sample)

    @property
    def per_node(self) -> NDArray[np.float64]:
        """(K,) nats of every node's σ bin."""
        return np.asarray(self.per_sample.mean(0))

    @property
    def per_node_error(self) -> NDArray[np.float64]:
        """(K,) standard errors of :attr:`per_node`."""
        return np.asarray(self.per_sample.std(0, ddof=1) / math.sqrt(self.n_samples))

    @property
    def nats(self) -> float:
        """KL in nats over the nodes' interval."""
        return float(self.per_node.sum())

    @property
    def standard_error(self) -> float:
        """Standard error of :attr:`nats` from the spread over samples."""
        return float(self.per_sample.sum(1).std(ddof=1) / math.sqrt(self.n_samples))

    @property
    def mean_part(self) -> float:
        """Nats of the mean push: what the prior did not expect."""
        return float(self.mean_per_node.sum())

    @property
    def variance_part(self) -> float:
        """The rest: what the measurement says whatever it shows."""
        return self.nats - self.mean_part

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of :attr:`nats`, by Student's t with n − 1 degrees of freedom."""
        reach = float(stats.t.ppf(0.5 * (1 + confidence), self.n_samples - 1)) * self.standard_error
        return self.nats - reach, self.nats + reach

    def window(self, lo: float, hi: float) -> tuple[float, float]:
        """Return nats of σ ∈ [lo, hi] and their standard error, from the nodes' bins.

        Bins that are cut count by their share in ln σ.

        Exact at the borders of :func:`KLIPCore.kl.quadrature.panel_nodes`' panels.
        """
        log_edges = np.log(self.nodes.edges)
        overlap = np.clip(np.minimum(log_edges[1:], math.log(hi)) - np.maximum(log_edges[:-1], math.log(lo)), 0, None)
        totals = self.per_sample @ (overlap / np.diff(log_edges))
        return float(totals.mean()), float(totals.std(ddof=1) / math.sqrt(self.n_samples))


class NodeSums:
    """What a :class:`KLEstimate` is made of, added up node by node."""

    def __init__(self, samples: Tensor, nodes: Nodes) -> None:
        n, shape = len(samples), samples.shape[1:]
        self.n, self.nodes, self.k, self.used = n, nodes, 0, False
        self.per_sample, self.residuals = np.zeros((n, len(nodes.sigma))), np.zeros((n, len(nodes.sigma)))
        self.mean_per_node, self.leave_one_out = np.zeros(len(nodes.sigma)), np.zeros(n)
        self.maps, self.mean_map = torch.zeros(n, *shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)

    def add(self, node: NodeMeans, zero: Tensor | None) -> None:
        """Add the next node's nats, less a control variate of mean 0 and shape (n, ...)."""
        n, weight = self.n, node.weight
        push = (node.posterior_mean - node.prior_mean) / node.sigma
        node_map = weight * per_sample(push.square(), n)
        if zero is not None:
            self.used = True
            node_map = node_map - weight * zero
            self.residuals[:, self.k] = weight * zero.flatten(1).sum(1).cpu().numpy()
        self.maps += node_map.cpu()
        self.per_sample[:, self.k] = node_map.flatten(1).sum(1).cpu().numpy()
        means = math.sqrt(weight) * per_sample(push, n)
        total, squares = means.sum(0), means.square()
        u_statistic = (total.square() - squares.sum(0)) / (n * (n - 1))
        self.mean_map += u_statistic.cpu()
        self.mean_per_node[self.k] = float(u_statistic.sum())
        if n > 2:  # the same U-statistic without sample j
            q = squares.flatten(1).sum(1)
            without = total.square().sum() - 2 * (means * total).flatten(1).sum(1) + 2 * q - q.sum()
            self.leave_one_out += (without / ((n - 1) * (n - 2))).cpu().numpy()
        self.k += 1

    def estimate(self, n_evaluations: int) -> KLEstimate:
        """Return the estimate of all nodes."""
        n, totals = self.n, self.residuals.sum(1)
        off = self.leave_one_out - self.leave_one_out.mean()
        return KLEstimate(
            nodes=self.nodes,
            per_sample=self.per_sample,
            mean_per_node=self.mean_per_node,
            mean_part_error=math.sqrt((n - 1) / n * float(np.square(off).sum())) if n > 2 else math.nan,
            map=self.maps.mean(0),
            map_error=self.maps.std(0) / math.sqrt(n),
            mean_map=self.mean_map,
            stein_residual=float(totals.mean()) if self.used else math.nan,
            stein_error=float(totals.std(ddof=1) / math.sqrt(n)) if self.used else math.nan,
            n_evaluations=n_evaluations,
        )


def per_sample(values: Tensor, n: int) -> Tensor:
    """Return the means over the noise of each sample.

    Parameters
    ----------
    values : (n · m, ...), m noise images of each sample side by side.
    n : samples.

    Returns
    -------
    (n, ...) float64.
    """
    return values.double().reshape(n, -1, *values.shape[1:]).mean(1)
