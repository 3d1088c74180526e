"""What the commands of cli.py and cli_image.py share: the options before them, and printing."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass
class Where:
    """The options before the command."""

    quiet: bool = False
    wait: float = 0.0


where = Where()

Json = Annotated[bool, typer.Option("--json", help="Print JSON with a schema and its version.")]


def print_data(
    data: Mapping[str, Any], as_json: bool, render: Callable[[Mapping[str, Any]], str]
) -> None:
    """On stdout: as JSON, or as text."""
    from darwin_git.report.terminal import printable

    print(json.dumps(data, indent=1, default=str) if as_json else printable(render(data)))
