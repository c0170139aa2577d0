"""Distances of the network's features against SciPy's, and patches that are restored from their surroundings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from torch import Tensor, nn

from KLIPCore.errors import ConfigError, PriorError
from KLIPCore.lab.evaluation.baselines import diffusion
from KLIPCore.lab.evaluation.baselines.features import (
    RIDGE,
    Health,
    PatchGaussian,
    bottleneck_features,
    middle_of,
    shrunk,
)
from KLIPCore.lab.evaluation.baselines.registry import baseline
from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.priors.gaussian import exact_card
from KLIPCore.priors.prior import Denoiser, denoiser
from KLIPCore.priors.unet import EDMUNet, UNetConfig, UNetPrior

SIZE = 128


@pytest.fixture(scope="module")
def prior() -> UNetPrior:
    """Return an untrained network: features of an image, whatever they mean."""
    torch.manual_seed(0)
    return UNetPrior(EDMUNet(UNetConfig(channels=(8, 16), positions=False)), exact_card("small", SIZE))


def view(image: NDArray[np.floating], denoise: Denoiser, health: Health | None = None) -> SliceView:
    body = np.ones(image.shape, bool)
    return SliceView(SliceTrace(0, {}, image.astype(np.float32), {}), denoise, body, body, 1.5, 7, health=health)


def test_distances_are_scipys() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 5)) @ (np.eye(5) + 0.3 * rng.normal(size=(5, 5)))
    gaussian = PatchGaussian.fit(vectors)
    features = rng.normal(size=(5, 3, 4))
    inverse = np.linalg.inv(gaussian.covariance)
    expected = [
        [scipy_mahalanobis(features[:, r, c], gaussian.mean, inverse) ** 2 for c in range(4)] for r in range(3)
    ]
    assert gaussian.distance(features) == pytest.approx(np.array(expected), rel=1e-6)
    assert gaussian.covariance == pytest.approx(np.cov(vectors.T), rel=0.01, abs=0.02)
    own = gaussian.distance(vectors.T[:, :, None])
    assert own.mean() == pytest.approx(5, rel=0.02)  # of the vectors themselves: as many as there are features
    with pytest.raises(ConfigError, match="too few"):
        PatchGaussian.fit(vectors[:5])


def test_features_are_those_of_the_middle(prior: UNetPrior) -> None:
    """A known input of the network reaches the hook, once, and the hook is gone afterwards."""
    image = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    features = bottleneck_features(prior, denoiser(prior), image)
    assert features.shape == (16, SIZE // 4, SIZE // 4)
    assert not middle_of(prior)._forward_pre_hooks
    other = bottleneck_features(prior, denoiser(prior), image.roll(SIZE // 2, 0))
    assert other[:, 8] != pytest.approx(features[:, 8])
    with pytest.raises(PriorError, match="bottleneck"):
        middle_of(type("Plain", (), {"card": prior.card, "network": nn.Identity()})())


def test_a_patch_of_another_kind_is_far_from_health(prior: UNetPrior) -> None:
    rng = np.random.default_rng(3)
    body = np.ones((SIZE, SIZE), bool)
    healthy = [torch.from_numpy(0.5 + 0.05 * rng.standard_normal((SIZE, SIZE)).astype(np.float32)) for _ in range(2)]
    health = Health.of(prior, [(image, body) for image in healthy])
    image = 0.5 + 0.05 * rng.standard_normal((SIZE, SIZE))
    usual = diffusion.mahalanobis(view(image, denoiser(prior), health))
    assert usual.shape == (SIZE, SIZE)
    covariance = health.gaussian.covariance
    ridge = RIDGE / (1 + RIDGE) * np.trace(covariance) / len(covariance)
    assert usual.mean() == pytest.approx(16 - ridge * np.trace(np.linalg.inv(covariance)), rel=0.3)
    image[40:72, 40:72] += 0.2
    found = diffusion.mahalanobis(view(image, denoiser(prior), health))
    assert found[40:72, 40:72].mean() > 1.5 * found[96:, 96:].mean()
    assert Health.of(prior, [(healthy[0], body)]).mark != health.mark
    assert baseline("mahalanobis").needs_health


def test_half_a_patch_decides() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:, :3] = True
    assert shrunk(mask, (2, 2)).tolist() == [[True, False], [True, False]]
    mask[:, 4:6] = True
    assert shrunk(mask, (2, 2)).tolist() == [[True, False], [True, False]]  # exactly half is not inside


def test_patches_cover_every_pixel() -> None:
    for edge, stride, n in ((96, 80, 256), (96, 80, 64), (48, 40, 100)):
        count = np.zeros((n, n), int)
        for box in diffusion.patches((n, n), edge, stride):
            count[box] += 1
        assert (count > 0).all()
    assert len(diffusion.patches((256, 256), diffusion.PATCH_PX, diffusion.STRIDE_PX)) == 9


def test_patches_that_the_prior_knows_leave_no_error() -> None:
    """A prior that knows one image restores it: no error on that image, and the square of the change on another."""
    truth = np.random.default_rng(0).uniform(size=(SIZE, SIZE)).astype(np.float32)

    def knows(x: Tensor, sigma: float) -> Tensor:
        return torch.from_numpy(truth).expand_as(x)

    assert diffusion.pddpm(view(truth, knows)).max() < 1e-10
    changed = truth.copy()
    changed[50:60, 50:60] += 0.2
    assert diffusion.pddpm(view(changed, knows))[0] == pytest.approx((changed - truth) ** 2, abs=1e-6)


def test_a_patch_is_restored_from_its_surroundings() -> None:
    """The surroundings that the prior is shown are the image's own at the level's noise, the patch is not.

    A prior that takes the brightness of everything from the left rim restores the right patches from there.
    """
    image = np.full((SIZE, SIZE), 0.5)
    image[:, 100:] = 0.9

    def like_the_rim(x: Tensor, sigma: float) -> Tensor:
        return x[..., :, :16].mean((-2, -1), keepdim=True).expand_as(x)

    error = diffusion.pddpm(view(image, like_the_rim))[0]
    assert error[:, 112:].mean() == pytest.approx(0.16, rel=0.1)
    shown: list[Tensor] = []

    def watched(x: Tensor, sigma: float) -> Tensor:
        shown.append((x - torch.from_numpy(image).float()) / sigma)
        return torch.zeros_like(x)

    diffusion.pddpm(view(image, watched))
    assert len(shown) == diffusion.PDDPM_STEPS + 1
    for state in shown:  # far from the first patch the state is the image and noise of that level
        assert state[0, 100:, 100:].std() == pytest.approx(1.0, rel=0.1)
        assert abs(state[0, 100:, 100:].mean()) < 0.1
    assert abs(shown[-1][0, :90, :90].mean()) > 3  # the patch has gone to what the prior said, 0
