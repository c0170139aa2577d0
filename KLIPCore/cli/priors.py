"""Commands on priors: train one, list the shipped, convert a published one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from KLIPCore.cli.options import DATA, DEVICE, OUT, PROGRESS, ProgressStyle, interval, reading


def train(
    config: Annotated[Path, typer.Argument(help="YAML file, e.g. configs/train_abdomen.yaml.", show_default=False)],
    data: DATA,
    out: OUT,
    init: Annotated[Path | None, typer.Option(help=".safetensors to start from.")] = None,
    backbone: Annotated[str | None, typer.Option(help="patch, whole or ddpm instead of the configuration's.")] = None,
    device: DEVICE = "auto",
    steps: Annotated[int | None, typer.Option(help="Training steps instead of the configuration's.")] = None,
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
    add_completion=False, help="List the shipped priors, or convert a published network into one."
)


@priors_app.callback(invoke_without_command=True)
def priors(context: typer.Context) -> None:
    """List the shipped priors and their purpose; [bold]convert[/bold] makes one of a published network."""
    if context.invoked_subcommand is not None:
        return
    from KLIPCore.priors.checkpoint import shipped_cards

    for card in shipped_cards():
        typer.echo(
            f"{card.name}\n  anatomy  {card.anatomy}\n  window   {card.window.lo_hu:g} to {card.window.hi_hu:g} HU"
        )
        typer.echo(f"  licence  {card.licence}\n  sha256   {card.sha256}\n  use      {card.intended_use}")


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
    typer.echo(f"{made.litres:.0f} litres of {len(train)} training patients")
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
