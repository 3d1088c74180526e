"""`init --judge`: any repository adopted, to be measured by the person's own program."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darwin_git.commands.setup import (
    Device,
    Initialised,
    adopted,
    package_file,
    refuse_adopted,
    write_config,
)
from darwin_git.config import FILE_NAME, Config, Metric
from darwin_git.errors import DarwinError
from darwin_git.judging import program_path, refuse_tracked
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository
from darwin_git.trial.checkout import Broken, check_size
from darwin_git.trial.judge import pack

EXAMPLE = "darwin-git init --genome . --judge ../judge --primary seconds --direction min"


@dataclass(frozen=True)
class Asked:
    """What `init` was told of the judge.

    Attributes:
        judge: its file or folder, from where the command was started.
        primary: the number that counts.
        direction: what is better.
    """

    judge: Path
    primary: str
    direction: Literal["min", "max"] = "min"


def asked(
    contract: str | None, judge: Path | None, primary: str, direction: Literal["min", "max"] | None
) -> Asked | None:
    """The options together; None where a GPT is meant.

    Raises:
        DarwinError: only a part of them was given.
    """
    if contract == "nanogpt" or not (contract or judge or primary or direction):
        if judge or primary or direction:
            raise DarwinError(
                "--judge, --primary and --direction are for --contract command",
                hint=f"as in: {EXAMPLE}",
            )
        return None
    if judge is None or not primary:
        raise DarwinError(
            "a repository that is no GPT needs a judge, and the name of the number that counts",
            hint=f"as in: {EXAMPLE}",
        )
    return Asked(judge.expanduser(), primary, direction or "min")


def init(folder: Path | None, genome: str | None, chosen: Asked, device: Device) -> Initialised:
    """Adopt a repository; on failure everything is as it was.

    Args:
        folder: where a URL is cloned to.
        genome: path or URL; the present folder without one.
        chosen: the judge.
        device: what to configure for.
    """
    judge = chosen.judge.resolve()  # before anything depends on the folder
    if not judge.exists():
        raise DarwinError(
            f"the judge {judge} is not there", hint="--judge names your program, or its folder"
        )
    size = len(pack(judge))
    source = genome or str(folder or Path())
    return adopted(
        folder if genome else None, source, lambda place: _adopt(place, chosen, judge, size, device)
    )


def _adopt(folder: Path, chosen: Asked, judge: Path, size: int, device: Device) -> Initialised:
    """Add darwin.toml to the work tree, and nothing else."""
    with Repository.open(folder) as repository:
        root = refuse_adopted(repository)
        refuse_tracked(repository, judge)
        try:
            check_size(GitHistory(repository).checkout(repository.resolve("HEAD")))
        except Broken as broken:
            raise DarwinError(
                f"{root} is too large: {broken.reason}", hint="keep data and builds out of git"
            ) from None
        text = _text(chosen, _named(judge, root), _command(judge), device)
        _check(text, repository)
        write_config(root, text, device)
        branch = repository.git.run("rev-parse", "--abbrev-ref", "HEAD").decode().strip()
        return Initialised(root, True, size, branch)


def _named(judge: Path, root: Path) -> str:
    """As a sibling or from the inside by a relative path, so that both can move together."""
    relative = os.path.relpath(judge, root.resolve())
    return relative if relative.count("..") <= 1 else str(judge)


def _command(judge: Path) -> tuple[str, ...]:
    if judge.is_dir():
        if (judge / "judge.py").is_file():
            return Metric().command
        raise DarwinError(
            f"{judge} has no judge.py",
            hint="call the program judge.py, or give the program's own path",
        )
    if judge.suffix == ".py":
        return ("{python}", f"{{judge}}/{judge.name}")
    if not os.access(judge, os.X_OK):
        raise DarwinError(f"{judge} is not executable", hint=f"chmod +x {judge}")
    return (f"{{judge}}/{judge.name}",)


def _text(chosen: Asked, program: str, command: tuple[str, ...], device: Device) -> str:
    """The documented darwin.toml with the values of this repository."""
    words = ", ".join(_quoted(word) for word in command)
    values = {
        "contract": '"command"',
        "mutable": '["**"]',
        "protected": "[]",
        "device": _quoted(device),
        "program": _quoted(program),
        "command": f"[{words}]",
        "primary": _quoted(chosen.primary),
        "direction": _quoted(chosen.direction),
    }
    text = package_file(FILE_NAME).read_text(encoding="utf-8")
    for key, value in values.items():
        found = re.search(rf"(?m)^{key} = .*?[ \t]+(?=#)", text)
        assert found is not None, f"darwin.toml documents no {key}"
        text = text[: found.start()] + f"{f'{key} = {value}':<47} " + text[found.end() :]
    return text


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)  # TOML's basic strings are JSON's


def _check(text: str, repository: Repository) -> None:
    """The file must load before it is anybody's."""
    import tomli
    from pydantic import ValidationError

    try:
        config = Config(**tomli.loads(text))
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise DarwinError(
            f"this cannot be put into darwin.toml: {message}", hint=f"as in: {EXAMPLE}"
        ) from None
    refuse_tracked(repository, program_path(repository, config.metric.program))
