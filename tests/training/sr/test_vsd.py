"""Variational score distillation against cases worked out by hand."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from chainzoom.training.sr.vsd import Diffusion, Flow, vsd_loss
from tests.training.sr.tiny_training import GOLDEN


def test_gradient_by_hand() -> None:
    """Two samples of two numbers; the spread is each sample's own.

    sample 0: z (1, 3), frozen (0, 1): mean|z - frozen| = 1.5; reg (3, 1): g = (3, 0) / 1.5 = (2, 0)
    sample 1: z (0, 0), frozen (1, -1): 1; reg (1, 1): g = (0, 2)
    loss = mean(g^2) = (4 + 0 + 0 + 4) / 4 = 2; gradient = 2 g / 4 = g / 2
    """
    z = torch.tensor([[1.0, 3.0], [0.0, 0.0]]).view(2, 1, 1, 2).requires_grad_()
    frozen = torch.tensor([[0.0, 1.0], [1.0, -1.0]]).view(2, 1, 1, 2).requires_grad_()
    regulariser = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).view(2, 1, 1, 2).requires_grad_()
    loss = vsd_loss(z, regulariser, frozen)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2)
    assert torch.allclose(z.grad.view(2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert frozen.grad is None
    assert regulariser.grad is None


def test_agreement_pulls_nowhere() -> None:
    z = torch.randn(1, 4, 3, 3).requires_grad_()
    same = torch.randn(1, 4, 3, 3)
    vsd_loss(z, same, same).backward()
    assert float(z.grad.abs().max()) == 0
    assert torch.isfinite(vsd_loss(z, same, z.detach()))


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow(json.loads((GOLDEN / "scheduler" / "scheduler_config.json").read_text()))


def test_the_schedule_is_shifted(flow: Flow) -> None:
    """Shift 3: s' = 3 s / (1 + 2 s), so half of the steps lie above t = 750."""
    assert len(flow) == 1000
    assert float(flow.timesteps[0]) == pytest.approx(1000)
    assert float(flow.timesteps[500]) == pytest.approx(750, abs=2)
    assert bool((flow.timesteps.diff() < 0).all())


@pytest.mark.parametrize("index", [0, 500, 999])
def test_the_true_velocity_gives_the_clean_latent(flow: Flow, index: int) -> None:
    z, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    noised, timestep = flow.noised(z, noise, index)
    assert timestep.shape == (2,)
    assert torch.allclose(flow.clean(noised, noise - z, index), z, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_diffusion_and_its_target(prediction: str) -> None:
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": prediction}
    diffusion = Diffusion(schedule)
    z, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    noised, timestep = diffusion.noised(z, noise, 480)
    assert timestep.tolist() == [500, 500]
    assert torch.allclose(diffusion.clean(noised, diffusion.target(z, noise, 500), 500), z, atol=1e-4)
    assert (diffusion.timestep(0), diffusion.timestep(len(diffusion) - 1)) == (20, 979)
