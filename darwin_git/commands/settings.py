"""`config`: darwin.toml as it is in effect."""

import json
from pathlib import Path
from typing import Any

from darwin_git.commands.setup import package_file
from darwin_git.config import FILE_NAME, load


def effective(folder: Path, defaults: bool) -> dict[str, Any]:
    """The file and the environment together, or the documented defaults as they stand."""
    if defaults:
        text = package_file(FILE_NAME).read_text(encoding="utf-8")
        config = load(package_file(FILE_NAME).parent)
    else:
        config = load(root_of(folder))
        text = "\n".join(_lines(config.model_dump(mode="json")))
    return {
        "schema": "darwin-git/config/1",
        "config": config.model_dump(mode="json"),
        "text": text,
    }


def root_of(folder: Path) -> Path:
    """The folder with darwin.toml, the nearest upwards."""
    for place in (folder.resolve(), *folder.resolve().parents):
        if (place / FILE_NAME).exists():
            return place
        if (place / ".git").exists():
            break
    return folder


def _lines(table: dict[str, Any], place: str = "") -> list[str]:
    """TOML of nested tables of scalars and lists."""
    scalars = [
        f"{key} = {json.dumps(value)}"
        for key, value in table.items()
        if not isinstance(value, dict) and value is not None
    ]
    lines = ([f"[{place}]"] if place and scalars else []) + scalars + ([""] if scalars else [])
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{place}.{key}" if place else key)
    return lines
