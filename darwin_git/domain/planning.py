"""Who mutates whom: the plan of a generation, a pure function of the state and a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from darwin_git.domain.names import slug
from darwin_git.domain.population import Parked, State

SCHEMA = "darwin-git/plan/1"
MAX_REPLAYS = 2

How = Literal["mutate", "crossover", "replay", "mix", "person"]


@dataclass(frozen=True)
class Planned:
    """One variant to be made and tried.

    Attributes:
        slug: the variant's name in its generation, ``a2-on-a1``.
        how: mutate; crossover (with `other`, the mutator's own tip); replay (of `other`, a parked
            variant's commit, on the target's tip); mix (union of winners); person.
        mutator, target: agents; differ but for a mix.
        parent: the commit that the variant starts from: the target's tip.
        other: see `how`; empty for mutate.
        replays: name of the parked variant, for replay.
        seed: of the proposer's own draws.
    """

    slug: str
    how: How
    mutator: str
    target: str
    parent: str
    seed: int
    other: str = ""
    replays: str = ""


@dataclass(frozen=True)
class Plan:
    """The ledger's plans/0003.json."""

    generation: int
    trials: tuple[Planned, ...]
    control: str = ""
    """"random" where ideas and targets are drawn without regard to what was learned."""

    def to_json(self) -> dict[str, Any]:
        """The JSON object that `from_json` reads."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan that `to_json` wrote."""
        trials = tuple(Planned(**one) for one in data["trials"])
        return cls(data["generation"], trials, data["control"])


def draw_targets(
    mutators: Sequence[str],
    weights: Mapping[str, float],
    exploration: float,
    rng: random.Random,
) -> dict[str, str]:
    """A target for each mutator, never itself, at most ceil(N/2) times the same.

    With equal weights it is a derangement: everybody is mutated once. Otherwise a target is drawn
    with probability exploration / N + (1 - exploration) times its share of the weights.
    """
    names = list(mutators)
    if len(set(weights.values())) == 1:
        shift = rng.randrange(1, len(names))
        rng.shuffle(names)
        return {name: names[(i + shift) % len(names)] for i, name in enumerate(names)}
    total = sum(weights.values())
    floor = exploration / len(names)
    chance = {n: floor + (1 - exploration) * weights[n] / total for n in names}
    cap = -(-len(names) // 2)
    used = dict.fromkeys(names, 0)
    targets = {}
    for mutator in names:
        open_ = [n for n in names if n != mutator and used[n] < cap]
        choice = rng.choices(open_, [chance[n] + 1e-9 for n in open_])[0]
        targets[mutator] = choice
        used[choice] += 1
    return targets


def plan(
    state: State,
    *,
    seed: int,
    crossover: float,
    replay: float,
    exploration: float,
    control: str = "",
) -> Plan:
    """The next generation's plan.

    Args:
        seed: the run's; with the generation's number it fixes every draw.
        crossover, replay: shares of proposals, see darwin.toml.
        exploration: share of targets drawn uniformly.
        control: "random" draws targets uniformly.
    """
    generation = state.generation + 1
    rng = random.Random(f"{seed}/{generation}")
    worst = min(lineage.gain for lineage in state.agents.values())
    # Squared, so that what is clearly behind is mostly left to the exploration floor.
    weights = {
        name: 1.0 if control else (lineage.gain - worst) ** 2
        for name, lineage in state.agents.items()
    }
    targets = draw_targets(sorted(state.agents), weights, exploration, rng)
    taken: dict[tuple[str, str], int] = {}
    stones = replayable(state)
    trials = []
    for mutator in sorted(targets):
        target, draw = targets[mutator], rng.random()
        how: How = "mutate"
        other = replays = ""
        if draw < replay and stones:
            best = state.best
            name, stone = stones.pop(0)
            if best != mutator:
                target = best
            if stone.idea not in state.agents[target].ideas:
                how, other, replays = "replay", stone.commit, name
        elif draw > 1 - crossover and _may_cross(state, mutator, target):
            how, other = "crossover", state.agents[mutator].tip
        taken[mutator, target] = taken.get((mutator, target), 0) + 1
        trials.append(
            Planned(
                slug=slug(mutator, target, taken[mutator, target]),
                how=how,
                mutator=mutator,
                target=target,
                parent=state.agents[target].tip,
                other=other,
                replays=replays,
                seed=rng.randrange(1 << 31),
            )
        )
    return Plan(generation, tuple(trials), control)


def replayable(state: State) -> list[tuple[str, Parked]]:
    """Parked variants worth another chance on the best tip, the most promising first."""
    best = state.agents[state.best]
    stones = [
        (name, stone)
        for name, stone in state.parked.items()
        if stone.replays < MAX_REPLAYS
        and stone.idea not in best.ideas
        and stone.idea not in best.tried
    ]
    return sorted(stones, key=lambda item: (item[1].replays, -item[1].gain, item[0]))


def _may_cross(state: State, mutator: str, target: str) -> bool:
    """Each of the two brings something that the other lacks: else one's tree comes out again."""
    mine, theirs = set(state.agents[mutator].ideas), set(state.agents[target].ideas)
    return bool(mine - theirs) and bool(theirs - mine)


def replacement(state: State) -> tuple[str, str] | None:
    """(lineage, survivor) where a lineage has been behind for two generations, at most one.

    Never so that more than half of the lineages share a tree.
    """
    best = state.best
    sharing = sum(
        lineage.measured == state.agents[best].measured for lineage in state.agents.values()
    )
    if sharing + 1 > len(state.agents) / 2:
        return None
    behind = [name for name, lineage in state.agents.items() if lineage.behind >= 2]
    if not behind:
        return None
    return min(behind, key=lambda name: (state.agents[name].gain, name)), best
