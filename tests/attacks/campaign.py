"""All attacks in one table, and how an outcome is judged."""

import re

from darwin_git.ports import Finished
from tests.attacks import dialogues, lasting, logs, network, outputs, privilege, resources
from tests.attacks.attack import CHECKPOINT, Attack, got, outcome, refused

ATTACKS: tuple[Attack, ...] = (
    *resources.ATTACKS,
    *logs.ATTACKS,
    *network.ATTACKS,
    *privilege.ATTACKS,
    *outputs.ATTACKS,
    *lasting.ATTACKS,
)
DIALOGUES: tuple[dialogues.Talk, ...] = dialogues.ATTACKS

ENGINE_TROUBLE = 30.0
"""Seconds beside its own deadline that an attack may hold up the tool."""


def judge(attack: Attack, finished: Finished, expect: str, *, walled: bool = True) -> list[str]:
    """What is wrong with an attack's end: empty where it got nothing."""
    faults = [f"it got {text}" for text in got(finished)] if walled else []
    if outcome(finished) not in expect.split(" or "):
        faults.append(f"it ended with {outcome(finished)}, not {expect}: {finished.errors[-500:]}")
    if not walled and not outcome(finished).startswith("exit"):
        return faults + _text(finished) + _outputs(attack, finished)  # it was killed on its way
    if missing := set(attack.refused) - refused(finished):
        faults.append(f"it never tried {sorted(missing)}: {finished.errors[-500:]}")
    texts = [line.text for line in finished.lines]
    for said in attack.says:
        if not any(re.fullmatch(said, text) for text in texts):
            faults.append(f"it did not say {said!r}, but {texts[-5:]} {finished.errors[-500:]}")
    if finished.seconds > attack.command().limits.wall_seconds + ENGINE_TROUBLE:
        faults.append(f"it held us up for {finished.seconds:.0f} s")
    return faults + _text(finished) + _outputs(attack, finished)


def _text(finished: Finished) -> list[str]:
    """Nothing of what is shown to people may drive a terminal, or be endless."""
    text = "\n".join(line.text for line in finished.lines) + finished.errors
    faults = [f"control characters reach us: {text[:200]!r}"] if _CONTROLS.search(text) else []
    if len(text) > 1 << 18:
        faults.append(f"{len(text)} characters of log")
    return faults


def _outputs(attack: Attack, finished: Finished) -> list[str]:
    artifact = finished.outputs.artifact(CHECKPOINT)
    if attack.kept is not None and (artifact is not None) != attack.kept:
        return [f"{CHECKPOINT} is {'kept' if artifact else 'lost'}"]
    limit = attack.command().limits.output_bytes
    if artifact and artifact.size > limit:
        return [f"{CHECKPOINT} has {artifact.size} bytes, more than {limit}"]
    return []


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]")
