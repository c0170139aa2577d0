"""A network that invents: the rule by which inventions are told, how it is taught, and honest counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from KLIPCore.lab.audit_cases import SIZE, Scanner, Slice, disc
from KLIPCore.lab.audit_inventions import HU, audited, blobs, inventions_and_structures, scanned
from KLIPCore.lab.audit_inventions_report import Found, picture, report
from KLIPCore.lab.audit_inventor import Inventor, Lessons, learn, with_lesions
from KLIPCore.lab.audit_unet import SmallUNet, reconstruct
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.volume.units import MU_WATER_PER_MM

PIXEL = 2.5
HERE, THERE = (50.0, 50.0, 2.0), (78.0, 70.0, 2.0)


def plain() -> Slice:
    """An even disc of water with room for lesions in its middle."""
    body = disc((63.5, 63.5, 50.0), SIZE)
    return Slice("plain", "water", MU_WATER_PER_MM * body, PIXEL, (disc((63.5, 63.5, 30.0), SIZE) > 0.5).numpy())


def with_spot(mu: Tensor, spot: tuple[float, float, float], hu: float) -> Tensor:
    """Attenuation with a round lesion added."""
    return mu + hu * HU * disc(spot, SIZE)


def test_blobs_hold_a_square_of_six_millimetres() -> None:
    image = np.zeros((40, 40))
    image[5:7, 5:30] = 1.0  # 5 mm wide and 62 long: as large as a disc of 20 mm
    image[12:15, 12:15] = 1.0
    image[20:23, 20:24] = -1.0
    image[30, 5:35] = 1.0  # a line
    found = blobs(image, 0.5, PIXEL, np.ones((40, 40), bool))
    assert sorted(int(mask.sum()) for mask in found) == [9, 12, 50]
    assert blobs(image, 0.5, 3.2, np.ones((40, 40), bool))[0].sum() == 9  # the long one is over 20 mm now


def test_an_invention_is_what_the_truth_does_not_have() -> None:
    own = plain()
    truth = with_spot(own.mu, THERE, -50.0)
    image = with_spot(truth, HERE, -50.0)
    found = inventions_and_structures(image, truth, PIXEL)
    assert {kind: len(masks) for kind, masks in found.items()} == {"invention": 1, "structure": 1}
    assert found["invention"][0][50, 50]
    assert found["structure"][0][78, 70]
    half = with_spot(with_spot(own.mu, THERE, -50.0), HERE, -20.0)  # two fifths are there: neither
    found = inventions_and_structures(image, half, PIXEL)
    assert {kind: len(masks) for kind, masks in found.items()} == {"invention": 0, "structure": 1}
    missed = inventions_and_structures(own.mu, truth, PIXEL)  # what is not shown is not invented
    assert missed == {"invention": [], "structure": []}


def test_the_audit_is_asked_about_the_picture() -> None:
    own = replace(plain(), mu=with_spot(plain().mu, THERE, -50.0))
    scanner = Scanner.of(own.grid, 24)
    subject = scanned(Inventor(SmallUNet(4, fold=2), None), own, scanner, 0)
    subject = replace(subject, image=with_spot(own.mu, HERE, -50.0))
    kinds = inventions_and_structures(subject.image, own.mu, PIXEL)
    found = list(audited(kinds, subject, own, own.mu, 0))
    assert [(f.kind, f.verdict) for f in found] == [("invention", "contradicted"), ("structure", "measured")]
    assert found[0].truth == pytest.approx(0.0, abs=0.05)
    assert (found[1].truth, found[1].truth_seen) == pytest.approx((1.0, 1.0), abs=0.05)
    assert all(-50.0 < f.contrast_hu < -20.0 and 0 < f.seen < 1 for f in found)
    drawn = picture(own.mu, subject.image, subject.image, [("invention", kinds["invention"][0], "contradicted")])
    assert drawn.mime == "image/jpeg"
    assert drawn.width > drawn.height


def test_what_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    own, lessons = plain(), Lessons(steps=3, batch=2, width=4)
    scanner = Scanner.of(own.grid, 6)
    said: list[str] = []
    whole = learn([own], scanner, lessons, None, said.append)
    learn([own], scanner, replace(lessons, steps=2), tmp_path)
    parts = learn([own], scanner, lessons, tmp_path)
    assert len(said) == 1
    assert said[0].startswith("step 3,")
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    two = learn([own], scanner, replace(lessons, steps=2))
    assert any(not torch.equal(a, b) for a, b in zip(whole.parameters(), two.parameters(), strict=True))


def test_lessons_have_dark_lesions_in_the_liver() -> None:
    own = plain()
    ill = with_lesions(own, Lessons(), np.random.default_rng(0))
    changed = (own.mu - ill.mu).numpy() / HU
    assert 30.0 <= changed.max() <= 80.5
    assert changed.min() >= 0
    assert not (changed > 1.0)[~own.room].any()


def test_the_prior_draws_anew_what_its_window_holds() -> None:
    own = replace(plain(), mu=plain().mu * (1 + 0.5 * disc(THERE, SIZE)))  # as bright as bone
    scanner, network = Scanner.of(own.grid, 6), SmallUNet(4, fold=2)
    inventor = Inventor(network, load_prior("abdomen-ct-256", "cpu"), n_steps=2)
    plainly = reconstruct(network, own, scanner, 0)
    drawn = inventor(own, scanner, 0)
    assert torch.equal(Inventor(network, None)(own, scanner, 0), plainly)
    assert torch.equal(drawn, inventor(own, scanner, 0))
    change = (drawn - plainly) / HU
    assert 5.0 < float(change.square().mean().sqrt()) < 400.0
    assert float(change.abs().max()) <= 400.1  # the window's width


def test_counts_are_those_of_the_verdicts() -> None:
    def row(kind: str, who: str, support: float, verdict: str) -> Found:
        return Found(kind, who, 0, 8.0, -30.0, 0.0, 0.0, 0.5, support, 5.0, 1.0, 0.1, 2.0, verdict)

    found = [
        row("invention", "A", -9.0, "contradicted"),
        row("invention", "A", 4.0, "measured"),
        row("lesion", "A", 9.0, "measured"),
        row("structure", "A", 0.0, "unprovable"),
    ]
    text = report(found, [{"inventions": 2, "lesions": 3, "shown": 1}])
    assert "2 inventions in 1 healthy slices" in text
    assert "of 3 lesions 1 are shown" in text
    assert "| A | 1 | 2 | 1 | 0 | 1 | 2 | 0 | 1 | 1 | 0.750 |" in text
    assert "| invention, not in the seen part | 2 | 1 | 0 | 1 |" in text
    assert "| support | 0.750 (n = 1) | 0.750 (n = 1) |" in text
