"""`darwin-git memory …`: options of the memory's commands."""

from pathlib import Path
from typing import Annotated

import typer

from darwin_git.cli_common import Json, print_data, where

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="An id, or its first four letters or more.")
]
KIND = "safeguard, workflow, recipe or dead_end."


@app.command("list")
def memory_list(
    kind: Annotated[str | None, typer.Option(metavar="KIND", help=f"Only one: {KIND}")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Retired lessons, too.")] = False,
    as_json: Json = False,
) -> None:
    """What the run has learned, the lessons that served best first."""
    from darwin_git.commands.memory import listing
    from darwin_git.report import memory

    print_data(listing(Path.cwd(), kind, everything), as_json, memory.listing)


@app.command("show")
def memory_show(
    lesson: Annotated[
        str, typer.Argument(metavar="ID", help="An id, or its first four letters or more.")
    ],
    as_json: Json = False,
) -> None:
    """One lesson: its evidence with the commits, and whom it was shown to."""
    from darwin_git.commands.memory import show
    from darwin_git.report import memory

    print_data(show(Path.cwd(), lesson), as_json, memory.shown)


@app.command("retire")
def memory_retire(
    ids: Ids,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, kept with it.")],
    as_json: Json = False,
) -> None:
    """Show lessons to nobody any more; nothing is deleted.

    Example: darwin-git memory retire 3fa2 --why "only true of the old tokenizer"
    """
    from darwin_git.commands.memory import retire
    from darwin_git.report import memory

    print_data(retire(Path.cwd(), ids, why, where.wait), as_json, memory.retired)


@app.command("revive")
def memory_revive(ids: Ids, as_json: Json = False) -> None:
    """Show retired lessons again, whoever retired them."""
    from darwin_git.commands.memory import revive
    from darwin_git.report import memory

    print_data(revive(Path.cwd(), ids, where.wait), as_json, memory.revived)


@app.command("add")
def memory_add(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="At most 600 characters.")],
    kind: Annotated[str, typer.Option(metavar="KIND", help=KIND)],
    scope: Annotated[
        str,
        typer.Option(metavar="WORDS", help="Where it holds: ideas, files, failure classes."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Tell the mutators what you know; no rule and no model retires it.

    Example: darwin-git memory add --kind dead_end --scope dropout "Dropout costs more than it
    gives at one epoch."
    """
    from darwin_git.commands.memory import add
    from darwin_git.report import memory

    print_data(add(Path.cwd(), kind, scope, text, where.wait), as_json, memory.added)
