"""Training a prior: `klip train CONFIG --data FOLDER -o OUT`.

One loop for all backbones (:mod:`KLIPCore.lab.training.config`), on one device or many
(:mod:`KLIPCore.lab.training.devices`). Resumable: every ``save_every`` steps the whole state is written to
``OUT/state.safetensors``, and a rerun goes on from there; stopping it (Ctrl-C,
SIGTERM) finishes the step and writes the state first. The learning rate warms up, stays, and falls linearly
over the last ``decay_steps``: training can be lengthened or cut short by changing ``steps`` alone, without
having planned it.

OUT also gets the best weights so far with their card (``NAME.safetensors``, ``NAME.json``, ``NAME.md``), and
pictures: ``curve.png``, held-out slices ``denoised.png``, slices ``drawn.png`` from pure noise.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from KLIPCore import __version__
from KLIPCore.errors import Cancelled, ConfigError, OutputError, PriorError
from KLIPCore.lab.training.augment import sample_patches
from KLIPCore.lab.training.card import model_card
from KLIPCore.lab.training.checks import judge_set, refuse_shared_patients
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.data import load_training_set
from KLIPCore.lab.training.devices import OneProcess, processes
from KLIPCore.lab.training.distil import Teacher, taught
from KLIPCore.lab.training.halfway import halfway_fields
from KLIPCore.lab.training.loss import Objective, draw_noise, training_layout, validation_rmse
from KLIPCore.lab.training.muon import BETAS, Muon
from KLIPCore.lab.training.pictures import denoised_grid, drawn_grid, save_curve, save_picture
from KLIPCore.lab.training.start import start_from
from KLIPCore.lab.training.state import TrainingState, has_state
from KLIPCore.priors.checkpoint import load_prior, save_prior
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetPrior, position_channels
from KLIPCore.volume.model_card import ModelCard

log = logging.getLogger(__name__)

N_PICTURED = 4
"""Held-out slices in the picture."""


def train(
    config: TrainingConfig,
    data: Path,
    out: Path,
    init: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    device: torch.device | str = "cpu",
) -> Path:
    """Train until ``config.steps`` and return the path of the best weights.

    Parameters
    ----------
    config : what to train.
    data : folder below which the sources lie.
    out : folder for state, the best prior, its card and pictures; resumed when it holds a state.
    init : weights to start from, when there is no state to resume.
    progress : called with (step, steps, mean loss) every ten steps, in the first process.
    device : where to train; processes that a launcher started are given theirs by it.

    Raises
    ------
    ConfigError, EmptyInputError : the configuration or the data cannot be used.
    PriorError : ``init`` or the state does not fit the network.
    OutputError : the folder cannot be written to, or the disk is full; the last state stays.
    Cancelled : it was stopped; the state is written.
    """
    teacher = taught(config, out, torch.device(device), lambda c, o: train(c, data, o, None, progress, device))
    team = processes(torch.device(device))
    try:
        run = _Run(config, data, out, init, team, teacher)
        try:
            out.mkdir(parents=True, exist_ok=True)
            _steps(run, progress)
        except OSError as error:
            raise OutputError(
                f"The training cannot write to {out.name} ({error.strerror or type(error).__name__}).",
                "Make room on the disk, then run the same command again: it goes on from the last state.",
            ) from error
    finally:
        team.part()
    return out / f"{config.name}.safetensors"


def _steps(run: _Run, progress: Callable[[int, int, float], None] | None) -> None:
    """Take the steps that are left of ``run``."""
    team, config, state = run.team, run.config, run.state
    objective, optimiser = team.prepare(Objective(state.network), state.optimiser)
    losses: list[float] = []
    started, before = time.monotonic(), state.seconds
    with _stopping() as stop:
        if state.step >= config.steps and state.best == float("inf"):  # finished, and its weights are gone
            run.checkpoint(float(state.history[-1]["loss"]) if state.history else 0.0)
        while state.step < config.steps:
            for group in optimiser.param_groups:
                group["lr"] = config.rate(state.step)
            loss = objective(*run.batch())
            optimiser.zero_grad()
            team.backward(loss)
            torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
            optimiser.step()
            run.update_average()
            losses.append(float(loss.detach()))
            state.step += 1
            state.seconds = before + time.monotonic() - started
            if progress and team.is_main and state.step % 10 == 0:
                progress(state.step, config.steps, float(np.mean(losses[-100:])))
            if state.step % config.save_every == 0 or state.step == config.steps:
                run.checkpoint(team.mean(float(np.mean(losses[-config.save_every :]))))
            if team.any(stop.is_set()):
                if team.is_main:
                    state.save(run.out)
                team.wait()
                raise Cancelled(f"Stopped at step {state.step}.", "Run the same command again to continue.")


class _Run:
    """Data, networks and what is written of one run, in one process."""

    def __init__(
        self,
        config: TrainingConfig,
        data: Path,
        out: Path,
        init: Path | None,
        team: OneProcess,
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.out, self.team, self.teacher = config, out, team, teacher
        shape = (config.window, config.size, config.body_fraction)
        learned = load_training_set(data, config.sources, *shape)
        judged = load_training_set(data, config.validation, *shape)
        refuse_shared_patients(data, (config.sources, learned), (config.validation, judged))
        self.notes = judge_set(learned, config.mixed)
        for note in self.notes if team.is_main else ():
            log.warning("note: %s.", note)
        slices, self.entries, self.organs = learned
        held_out, self.held_out_entries, _ = judged
        self.stack, self.fields = torch.from_numpy(slices), None
        if config.augmentation.halfway_probability > 0:
            self.fields = halfway_fields(slices, [e["n_slices"] for e in self.entries], out if team.is_main else None)
        pick = np.linspace(0, len(held_out) - 1, config.n_validation).round().astype(int)
        self.held_out = torch.from_numpy(held_out[pick]).float().div(255)[:, None].to(team.device)
        self.position = position_channels(config.size)
        torch.manual_seed(config.seed)
        network: Any = build_network(config.network)
        too_odd = {side for side, _ in config.patches if side % network.multiple or side > config.size}
        if too_odd:
            raise ConfigError(
                f"Patches of {sorted(too_odd)} pixels do not fit.",
                f"Take sides up to {config.size} that {network.multiple} divides.",
            )
        resuming = has_state(out)
        started_from = start_from(network, init) if init is not None and not resuming else ""
        network = network.to(device=team.device, memory_format=training_layout(team.device))
        average = build_network(config.network).to(team.device)
        average.load_state_dict(network.state_dict())
        optimiser = (
            Muon(network, config.learning_rate)
            if config.optimiser == "muon"
            else torch.optim.AdamW(network.parameters(), config.learning_rate, betas=BETAS)
        )
        self.state = TrainingState(
            network, average, optimiser, torch.Generator().manual_seed(config.seed), started_from=started_from
        )
        self.state.identity = _identity(config, self.entries, self.held_out_entries)
        if resuming:
            self.state.restore(out)
            log.info("resumed at step %d", self.state.step)
            if not self.kept():  # lost, or interrupted between weights and card: written anew
                self.state.best = float("inf")
        if team.rank:  # the others draw other patches, now and after every resumption
            self.state.generator.manual_seed(config.seed + 1_000_003 * team.rank + self.state.step)

    def kept(self) -> bool:
        """Whether the best weights lie in the folder, whole, with their card."""
        try:
            load_prior(self.out / f"{self.config.name}.safetensors")
        except PriorError:
            return False
        return True

    def batch(self) -> tuple[Tensor, ...]:
        """Patches, positions, levels and noise of the next step, on the device; what to learn, if a teacher says."""
        c, generator = self.config, self.state.generator
        side, n = c.patch(self.state.step)
        patches, where = sample_patches(
            self.stack, self.position, n, side, c.augmentation, generator, self.organs, self.fields
        )
        level = Objective(self.state.network).draw(
            n, c.sigma_log_mean, c.sigma_log_std, c.sigma_min, c.sigma_max, generator
        )
        noise = draw_noise(patches.shape, c.temperature_probability, c.temperature, generator)
        patches, where, level, noise = (t.to(self.team.device) for t in (patches, where, level, noise))
        batch = (patches, where, level, noise)
        return batch if self.teacher is None else (*batch, self.teacher.target(*batch))

    def update_average(self) -> None:
        """Exponential running average of the weights, quicker at the beginning."""
        decay = min(self.config.ema, (1 + self.state.step) / (10 + self.state.step))
        with torch.no_grad():
            for mean, weight in zip(self.state.average.parameters(), self.state.network.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)

    def checkpoint(self, loss: float) -> None:
        """Validate, keep the best, write the state; in the first process, while the others wait."""
        if self.team.is_main:
            state, c = self.state, self.config
            rmse = validation_rmse(state.average, self.held_out, self.position.to(self.team.device))
            figure = float(np.mean([error / s for s, error in rmse.items()]))
            told = {f"{s:g}": round(e, 5) for s, e in rmse.items()}
            state.history = [entry for entry in state.history if entry["step"] != state.step]
            state.history.append(
                {"step": state.step, "loss": round(loss, 5), "validation": round(figure, 5), "rmse": told}
            )
            log.info("step %d loss %.5f validation %s", state.step, loss, told)
            if figure < state.best:
                state.best = figure
                save_prior(state.average, self.card(told), self.out)
            last = state.step >= c.steps
            if last or (c.pictures_every and state.step % c.pictures_every < c.save_every):
                self.pictures()
            state.save(self.out)
        self.team.wait()

    def pictures(self) -> None:
        """Draw what the best weights make of noise, the curve, and the card that shows them."""
        best = load_prior(self.out / f"{self.config.name}.safetensors", self.team.device)
        assert isinstance(best, UNetPrior)
        pick = np.linspace(0, len(self.held_out) - 1, N_PICTURED).round().astype(int)
        save_picture(denoised_grid(best, self.held_out[pick]), self.out / "denoised.png")
        save_picture(drawn_grid(best), self.out / "drawn.png")
        save_curve(self.state.history, self.out / "curve.png")
        part = self.out / f"{self.config.name}.md.part"
        part.write_text(model_card(best.card, self.out), encoding="utf-8")
        part.replace(self.out / f"{self.config.name}.md")

    def card(self, rmse: dict[str, float]) -> ModelCard:
        """The card of the running average as it is now."""
        c, state = self.config, self.state
        pixels = [e["pixel_mm"] for e in self.entries if e["pixel_mm"]]
        cuda = self.team.device.type == "cuda"
        training = {
            "command": "klip train",
            "version": __version__,
            "backbone": c.backbone,
            "config": {k: v for k, v in asdict(c).items() if k not in ("sources", "validation", "network", "teacher")},
            "data": self.entries,
            "validation_data": self.held_out_entries,
            "steps": state.step,
            "seconds": round(state.seconds),
            "device": torch.cuda.get_device_name(self.team.device)
            if cuda
            else f"a CPU, {torch.get_num_threads()} thread(s)",
            "processes": self.team.n,
            "initialised_from": state.started_from,
            "validation_rmse": rmse,
            "history": state.history,
            "notes": self.notes,
            **({"teacher": self.teacher.to_dict()} if self.teacher is not None else {}),
        }
        seen = (
            (min(pixels), max(pixels)) if len(pixels) == len(self.entries) else ModelCard.pixel_mm_range
        )  # nominal where a file does not say
        return ModelCard(
            name=c.name,
            anatomy=c.anatomy,
            window=c.window,
            size=c.size,
            body_fraction=c.body_fraction,
            pixel_mm_range=seen,
            position_channels=c.network.positions,
            sigma_min=c.sigma_min,
            sigma_max=c.sigma_max,
            network=network_fields(c.network),
            training=training,
            licence=c.licence,
            intended_use=c.intended_use,
        )


def _identity(config: TrainingConfig, learned: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a run learns from; JSON-ready."""

    def names(entries: list[dict[str, Any]]) -> list[str]:
        return [f"{entry['source']}: {entry['file']}, {entry['n_slices']} slices" for entry in entries]

    return {
        "set of scans": names(learned),
        "set of scans held out": names(held_out),
        "window": [config.window.lo_hu, config.window.hi_hu],
        "frame": [config.size, config.body_fraction],
    }


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a step is finished first; a second Ctrl-C stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(signum: int, frame: object) -> None:
        event.set()
        signal.signal(signum, before[signal.Signals(signum)])

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, ask)
    try:
        yield event
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
