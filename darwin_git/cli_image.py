"""`darwin-git image …`: options of the training image's commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from darwin_git.cli_common import Json, print_data, where
from darwin_git.errors import FIXABLE

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


def _told() -> Callable[[str], None]:
    from darwin_git.report.live import Lines

    lines = Lines(quiet=where.quiet)
    return lambda text: lines("note", text=text)


@app.command("build")
def image_build(
    base: Annotated[
        str,
        typer.Option(
            metavar="IMAGE_OR_TAR",
            help="A local image, a registry's, or a root filesystem; python:X.Y-slim by default.",
        ),
    ] = "",
    package: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further package, as pip takes it; repeatable."),
    ] = None,
    torch_index: Annotated[
        str, typer.Option(metavar="URL", help="Wheels of torch: cpu, cu126 …, or a URL.")
    ] = "",
    cuda: Annotated[bool, typer.Option("--cuda", help="Wheels of torch for CUDA.")] = False,
    wheels: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of wheels; repeatable.")
    ] = None,
    python: Annotated[
        str, typer.Option(metavar="PATH", help="The interpreter in the base.")
    ] = "python3",
    tag: Annotated[
        str, typer.Option(metavar="NAME", help="Of the image; sandbox.image by default.")
    ] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Also where the inputs are the same.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the training image from any base with Python; nothing is built inside it.

    Needs the engine's API only: no Dockerfile, no builder, no registry.

    Example: darwin-git image build --torch-index cpu --package einops
    """
    from darwin_git.commands.image import build
    from darwin_git.report import images

    data = build(
        Path.cwd(),
        base=base,
        packages=package or [],
        torch_index=torch_index,
        cuda=cuda,
        wheel_folders=wheels or [],
        python=python,
        name=tag,
        again=again,
        tell=_told(),
    )
    print_data(data, as_json, images.built)


@app.command("list")
def image_list(as_json: Json = False) -> None:
    """Our images on the engine, and our cache volumes with their sizes."""
    from darwin_git.commands.image import listing
    from darwin_git.report import images

    print_data(listing(Path.cwd()), as_json, images.listing)


@app.command("check")
def image_check(as_json: Json = False) -> None:
    """Train one step inside, behind all limits; say what is missing."""
    from darwin_git.commands.image_check import check
    from darwin_git.report import images

    data = check(Path.cwd())
    print_data(data, as_json, images.checked)
    if not data["healthy"]:
        raise typer.Exit(FIXABLE)


@app.command("clean")
def image_clean(
    images: Annotated[
        bool,
        typer.Option(
            "--images",
            help="Also images that image build made, but for darwin.toml's and the baseline's.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove this clone's caches on the engine; nothing measured, nothing of others."""
    from darwin_git.commands.image import clean
    from darwin_git.report import images as texts

    print_data(clean(Path.cwd(), images=images, wait=where.wait), as_json, texts.cleaned)


@app.command("rootfs")
def image_rootfs() -> None:
    """Print a script that makes a base without a registry.

    Example: darwin-git image rootfs | sudo sh -s base.tar
    """
    from darwin_git.commands.setup import package_file

    print(package_file("scripts/base-rootfs.sh").read_text(encoding="utf-8"), end="")
