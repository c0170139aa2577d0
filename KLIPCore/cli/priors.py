"""Commands on priors: train one, list and show them, check and adapt one, convert a published one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from KLIPCore.cli.options import DATA, DEVICE, OUT, PROGRESS, ProgressStyle, interval, reading
from KLIPCore.config import Config


def train(
    config: Annotated[Path, typer.Argument(help="YAML file, e.g. configs/train_abdomen.yaml.", show_default=False)],
    data: DATA,
    out: OUT,
    init: Annotated[Path | None, typer.Option(help=".safetensors to start from.")] = None,
    backbone: Annotated[str | None, typer.Option(help="patch, whole or ddpm instead of the configuration's.")] = None,
    device: DEVICE = "auto",
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps instead of the configuration's.")] = None,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Train a prior; continues where a stopped run left off. Of several GPUs each started process gets its own."""
    from KLIPCore.detection.devices import choose_device, configure_process
    from KLIPCore.lab.training.config import TrainingConfig, with_backbone, with_steps
    from KLIPCore.lab.training.devices import is_first_process
    from KLIPCore.lab.training.loop import train as run_training
    from KLIPCore.progress import show_progress

    configure_process()
    chosen = with_steps(with_backbone(TrainingConfig.load(config), backbone), steps)
    with show_progress(progress.value) as tell:
        path = run_training(
            chosen,
            data,
            out,
            init,
            lambda step, n, loss: tell("train", step / n, f"step {step}, loss {loss:.4f}"),
            choose_device(device),
        )
    if is_first_process():
        typer.echo(f"Best weights: {path}")


priors_app = typer.Typer(
    add_completion=False, help="List, show, check, adapt and convert priors, and make their reference of health."
)

DEFAULT_PRIOR = Config().prior
PRIOR = Annotated[str, typer.Argument(help="Shipped name, or .safetensors file.")]


@priors_app.callback(invoke_without_command=True)
def priors(context: typer.Context) -> None:
    """List the shipped priors and their purpose; the commands below do more."""
    if context.invoked_subcommand is None:
        priors_list()


@priors_app.command("list")
def priors_list() -> None:
    """List the shipped priors and their purpose, as [bold]klip priors[/bold] alone does."""
    from KLIPCore.priors.checkpoint import shipped_cards

    for card in shipped_cards():
        typer.echo(
            f"{card.name}\n  anatomy  {card.anatomy}\n  window   {card.window.lo_hu:g} to {card.window.hi_hu:g} HU"
        )
        typer.echo(f"  licence  {card.licence}\n  sha256   {card.sha256}\n  use      {card.intended_use}")


@priors_app.command("show")
def priors_show(prior: PRIOR = DEFAULT_PRIOR) -> None:
    """Show the card of a prior, and what its reference of health was made of."""
    from KLIPCore.lab.training.card import model_card
    from KLIPCore.priors.checkpoint import load_prior
    from KLIPCore.runs.health import reference_file

    card = load_prior(prior).card
    typer.echo(model_card(card, Path()))
    file = reference_file(prior)
    if not file.is_file():
        typer.echo("Reference of health: none. Make one with klip priors reference.")
        return
    from KLIPCore.maps.reference import Reference

    reference = Reference.load(file)
    typer.echo(reference.text())
    if reference.prior_sha256 != card.sha256:
        typer.echo("It belongs to other weights and is not used: make it again with klip priors reference.")


@priors_app.command("check")
def priors_check(
    study: Annotated[Path, typer.Argument(help="DICOM folder, NIfTI, NRRD or MHA file in HU.", show_default=False)],
    prior: Annotated[str, typer.Option("--prior", help="Shipped name, or .safetensors file.")] = DEFAULT_PRIOR,
) -> None:
    """Say whether a prior fits a study, and why not, as [bold]klip guard[/bold] does.

    Exit code 0: fits; 20: look first; 21: does not fit.
    """
    from KLIPCore.runs.guard import klip_guard

    verdict = klip_guard(study, prior)
    typer.echo(verdict.text())
    raise typer.Exit(verdict.exit_code)


@priors_app.command("adapt")
def priors_adapt(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Holds one scan (file or DICOM folder) of each healthy patient: look at every one.",
            show_default=False,
        ),
    ],
    out: OUT,
    prior: Annotated[str, typer.Option("--prior", help="Shipped name, or .safetensors file.")] = DEFAULT_PRIOR,
    name: Annotated[str, typer.Option(help="Name of the adapted prior; that of the prior with -adapted.")] = "",
    steps: Annotated[int, typer.Option(min=4, max=100_000, help="Training steps; 300 take minutes on a CPU.")] = 300,
    device: DEVICE = "auto",
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Fine-tune a prior on a site's own healthy scans; every fourth is held back to judge by."""
    from KLIPCore.detection.devices import choose_device, configure_process
    from KLIPCore.lab.training.adapt import adapt
    from KLIPCore.progress import show_progress

    configure_process()
    with show_progress(progress.value) as tell:
        done = adapt(
            folder,
            out,
            prior=prior,
            name=name,
            steps=steps,
            device=choose_device(device),
            progress=lambda step, n, loss: tell("train", step / n, f"step {step}, loss {loss:.4f}"),
        )
    for note in done.notes:
        typer.echo(f"note: {note}")
    typer.echo(
        f"Denoising error of {done.held_back} scans held back, {done.learned} learned from:\n\n{done.table()}\n"
    )
    if done.path is None:
        typer.echo("Not kept: the error fell by less than a hundredth on average. The prior knows such scans already.")
        return
    typer.echo(f"Adapted prior: {done.path}")
    typer.echo("It has no reference of health yet: klip priors reference makes one of runs on the site's scans.")


@priors_app.command("reference")
def priors_reference(
    train: Annotated[
        list[Path],
        typer.Option("--train", help="Run folder of a training patient; may be repeated.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="NAME.reference.npz, beside the prior's weights.", show_default=False)
    ],
    unseen: Annotated[
        list[Path] | None,
        typer.Option("--unseen", help="Run folder of a healthy patient outside training; may be repeated."),
    ] = None,
) -> None:
    """Make a prior's reference of health from runs of klip detect on its training patients."""
    from KLIPCore.lab.reference import fit_reference

    made = fit_reference(train, unseen or [], tell=typer.echo)
    digest = made.save(out)
    for law in made.laws:
        told = [f"{' '.join(kind)} widened by {factor:.2f}" for kind, factor in law.widening.items()]
        typer.echo(f"blocks of {law.block_mm:g} mm: {', '.join(told)}")
    for name, own in made.averages.items():
        typer.echo(f"{name}: {own.factors() or 'added to blocks'}")
    typer.echo(f"{made.litres:.0f} litres of {len(made.patients['train'])} training patients")
    typer.echo(f"Reference: {out} (sha256 {digest[:12]})")


@dataclass(frozen=True)
class Published:
    """What is known of a published network and not written in it."""

    name: Annotated[str, typer.Option(help="Name of the prior.", show_default=False)]
    hu: Annotated[
        str, typer.Option(help="HU interval that is intensity 0..1, LO:HI, e.g. -160:240.", show_default=False)
    ]
    size: Annotated[
        int | None, typer.Option(help="Side of its images in pixels, where the checkpoint does not say.")
    ] = None
    anatomy: Annotated[str, typer.Option(help="What it was trained on, for the card.")] = "not stated"
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = (
        "that of the checkpoint; not stated"
    )
    sigma: Annotated[str | None, typer.Option(help="Noise levels it was trained on, LO:HI in intensity units.")] = None
    patch: Annotated[int, typer.Option(help="PaDIS: side of its patches in pixels; 0 shows it whole images.")] = 0
    pad: Annotated[int, typer.Option(help="PaDIS: margin of zeros around the image in pixels.")] = 0
    attention_level: Annotated[
        list[int] | None, typer.Option(help="Flax: a level whose blocks attend, 0 the finest; may be repeated.")
    ] = None


@priors_app.command("convert")
@reading
def priors_convert(
    source: Annotated[
        Path,
        typer.Argument(help="EDM or PaDIS .pkl, diffusers UNet2DModel folder, Flax checkpoint.", show_default=False),
    ],
    out: OUT,
    published: Published,
    kind: Annotated[
        str | None, typer.Option("--format", help="diffusers, edm or flax; detected when not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prior of that name in OUT.")] = False,
) -> None:
    """Convert a published network to safetensors with a model card; nothing in the file is run."""
    from KLIPCore.priors.convert.publish import Wanted, convert
    from KLIPCore.volume.units import Window

    bounds = interval(published.hu, "an HU interval", "--hu=LO:HI, e.g. --hu=-160:240")
    assert bounds is not None
    wanted = Wanted(
        published.name,
        Window(*bounds),
        published.size,
        published.anatomy,
        published.licence,
        sigma=interval(published.sigma, "a noise interval", "--sigma LO:HI, e.g. 0.01:80"),
        patch=published.patch,
        pad=published.pad,
        attention_levels=tuple(published.attention_level or ()),
    )
    typer.echo(f"Prior: {convert(source, out, wanted, kind, overwrite)}")
