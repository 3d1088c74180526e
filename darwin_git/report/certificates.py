"""Certificates as text for people: what one came to, and what all of them proved together."""

from darwin_git.report.table import Data, joined, percent, table

_INDENT = " " * 13


def certified(data: Data) -> list[str]:
    """The block of `report`: the total over all moves of the champion, and a line for each."""
    found = data["certified"]
    if not found:
        tried = len(data["certificate_log"])
        return [f"CERTIFIED    nothing ({tried} certificate{'s' * (tried != 1)} so far)"]
    moves = found["moves"]
    total = f", the sum over {moves} moves of the champion" if moves > 1 else ""
    head = ["generation", "ideas", "fresh seeds (95 %)", "race's seeds", "final split"]
    rows = [
        [
            str(one["generation"]),
            _ideas(one),
            f"{percent(one['gain'])} ({percent(one['high'])} to {percent(one['low'])})",
            percent(one["race"]),
            _final(one["final_perplexities"], one["final"]),
        ]
        for one in found["certificates"]
    ]
    return [
        f"CERTIFIED    {percent(found['gain'])} perplexity: "
        f"{joined(found['ideas'], 'the baseline')}{total}",
        *(_INDENT + line for line in table(rows, head).splitlines()),
        f"{_INDENT}the race's seeds flatter, since the tip was selected on them; the final split "
        "decides nothing",
    ]


def _ideas(one: Data) -> str:
    text = joined(one["added"], "no new idea")
    return text + (f", without {joined(one['dropped'], '')}" if one["dropped"] else "")


def _final(perplexities: tuple[float, float] | None, gain: float | None) -> str:
    if perplexities is None:
        return "-"
    before, after = perplexities
    return f"{before:.3f} -> {after:.3f} ({percent(gain)})"


def claim(data: Data) -> str:
    """`certify`."""
    if data["decision"] is None:
        return "no certificate: the best tip is the champion already"
    lines = [data["decision"]["sentence"]]
    if data["final_perplexities"] is not None:
        final = _final(data["final_perplexities"], data["final"])
        lines.append(f"final split, never used to decide: perplexity {final}")
    return "\n".join(lines)


def run(data: Data) -> str:
    """`run`."""
    count = len(data["generations"])
    lines = [
        f"{count} generation{'s' * (count != 1)}" + (f"; {data['ended']}" * bool(data["ended"]))
    ]
    if data["certificate"] is not None:
        lines.append(claim(data["certificate"]))
    return "\n".join(lines)
