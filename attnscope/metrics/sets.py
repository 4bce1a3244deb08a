"""How far apart two sets of images are, by torchmetrics."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from attnscope.errors import InputError
from attnscope.metrics.feature_sets import FeatureSet, Statistics, comparable


def fid(images: FeatureSet, reference: FeatureSet | Statistics) -> float:
    """Fréchet distance between two sets of features (Heusel et al. 2017).

    It is biased upward, the more the fewer images there are: compare values of equal counts only
    (:func:`attnscope.metrics.feature_sets.comparable`), and use :func:`kid` where images are few.

    Args:
        images: of the images to judge.
        reference: of the images to compare with, or their statistics.

    Raises:
        InputError: the sets have other features or another resizing, or one holds fewer than two
            images.
    """
    comparable([images.provenance, reference.provenance])
    _refuse_fewer(2, images, reference)
    known = reference if isinstance(reference, Statistics) else Statistics.of(reference)
    mean, covariance = torch.from_numpy(known.mean), torch.from_numpy(known.covariance)
    metric = FrechetInceptionDistance(feature=_Given(len(mean)))
    metric.update(torch.from_numpy(images.values).double(), real=False)
    metric.real_features_num_samples = torch.tensor(known.n)
    metric.real_features_sum = known.n * mean
    metric.real_features_cov_sum = (known.n - 1) * covariance + known.n * mean.outer(mean)
    return float(metric.compute())


def kid(images: FeatureSet, reference: FeatureSet, *, subsets: int = 100) -> tuple[float, float]:
    """Kernel distance between two sets of features (Bińkowski et al. 2018).

    The squared maximum mean discrepancy with the kernel (x·y / width + 1)^3. Unbiased, whatever
    the number of images; so it may be below zero where sets are alike.

    Args:
        images: of the images to judge.
        reference: of the images to compare with.
        subsets: how many random subsets, of half the smaller set but at most 1,000 images each.

    Returns:
        Mean and standard deviation over the subsets. They overlap: for an interval use
        :func:`attnscope.metrics.intervals.of_parts`.

    Raises:
        InputError: the sets have other features or another resizing, or one holds fewer than four
            images.
    """
    comparable([images.provenance, reference.provenance])
    _refuse_fewer(4, images, reference)
    size = min(1000, len(images) // 2, len(reference) // 2)
    with warnings.catch_warnings():
        # It keeps all features in memory, where ours are already.
        warnings.filterwarnings("ignore", ".*will save all extracted features", UserWarning)
        metric = KernelInceptionDistance(
            feature=_Given(images.values.shape[1]), subsets=subsets, subset_size=size
        )
    metric.update(torch.from_numpy(reference.values).double(), real=True)
    metric.update(torch.from_numpy(images.values).double(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


class _Given(nn.Module):
    """Stands for a network whose features were taken before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _refuse_fewer(least: int, *sets: FeatureSet | Statistics) -> None:
    count = min(each.provenance.n for each in sets)
    if count < least:
        raise InputError(f"this distance needs {least} images or more on each side, not {count}")
