"""How simulate_deciding.py imitates a run: trees with seed noise, lineages, a merge train.

Noise. The loss of a tree under a seed is its true loss plus a deviation of sd s0 / sqrt(2). A child
keeps a part of its parent's deviation under the same seed: e_child = r e_parent + sqrt(1 - r^2)
s0 / sqrt(2) * xi, with r such that the paired difference has the mutation's own sd:
sd = s0 sqrt(1 - r). So a lucky parent is harder to beat (the winner's curse), every tree has the
same spread as was measured, and r = 0 is a mutation that breaks the random stream. xi is drawn from
the 70 standardised paired residuals of noise.jsonl, or from heavier tails.

At 4 times the steps a certified tip is checked on 2 seeds, with the same true effects and a paired
sd that is World.growth times as large: 2 to 13 were measured, with real trainings. Where no gain is
left the champion stays; the certificate counts as one that a person may accept.

Effects add up, but one in six (6 of 35 measured pairs) turns against what is there already, and an
idea helps a tree once.
"""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from darwin_git.domain.minimise import SEEDS, GroupTest, groups_allowed
from darwin_git.domain.statistics import (
    CertificateRule,
    CertificateStatus,
    RaceDecision,
    RaceRule,
    certify,
    expendable,
    next_look,
    noise,
    race,
)

AGENTS = 4
CHECK = 2 * 2 * 4
"""Price of the check: both sides, two seeds, four times the budget."""
FRESH = 1000
"""Fresh seeds start here; race and baseline seeds start at 0."""

CATALOGUE = (
    0.21, -0.007, 0.011, 0.005, -0.013, 0.071, 0.21, 0.037, -0.057, -0.003, 0.061, 0.105, -0.107,
    -0.02, 0.01, 0.0, 0.024, 0.003, 0.0, -0.039, 0.005, -0.001, -0.026, 0.002, -0.077, 0.058,
    -0.028, 0.113, -0.004, -0.178, -0.006, -0.125, -0.054, -0.001, 0.047, -0.106, -0.016, -0.006,
    0.004, 0.009, -0.088, 0.135, 0.0, 0.0,
)  # fmt: skip
"""Gains in nats of 44 single edits of nanoGPT, measured on one or two seeds (their mean)."""


class Noise:
    """The measured residuals: paired sds by setting, standardised deviations from their mean."""

    def __init__(self, path: Path) -> None:
        losses: dict[str, dict[int, float]] = {}
        for line in path.read_text().splitlines():
            record = json.loads(line)
            losses.setdefault(record["setting"], {})[record["seed"]] = record["loss"]
        base = losses.pop("base")
        self.s0 = noise(list(base.values()))
        self.sds: list[float] = []
        self.ratios: list[float] = []
        """Paired sd over the size of the effect, where there is an effect."""
        self.residuals: list[float] = []
        for other in losses.values():
            x = [base[seed] - other[seed] for seed in sorted(other)]
            mean = sum(x) / len(x)
            sd = noise(x) / math.sqrt(2)
            self.sds.append(sd)
            if abs(mean) > 0.0005:
                self.ratios.append(sd / abs(mean))
            self.residuals += [(v - mean) / sd for v in x]
        # Residuals from an own mean have the variance (n - 1) / n.
        scale = math.sqrt(len(self.residuals) / sum(r * r for r in self.residuals))
        self.residuals = [r * scale for r in self.residuals]

    def innovation(self, shape: str, rng: random.Random) -> float:
        """One deviation of mean 0 and variance 1."""
        if shape == "measured":
            return self.residuals[int(rng.random() * len(self.residuals))]
        # Student's t with 3 degrees of freedom has the variance 3.
        chi2 = sum(rng.gauss(0, 1) ** 2 for _ in range(3))
        return rng.gauss(0, 1) / math.sqrt(chi2)


NOISE = Noise(Path(__file__).parent / "data" / "noise.jsonl")
S0 = NOISE.s0


@dataclass(frozen=True)
class World:
    """What mutations do.

    `sds` are drawn from; `understated` divides the s0 that the rules see; `growth` is what the
    paired sd grows by at 4 times the steps.
    """

    name: str
    sds: Sequence[float] = tuple(NOISE.sds)
    shape: str = "measured"
    understated: float = 1.0
    effects: str = "none"
    scale: float = 1.0
    planted: float = 0.0
    planted_sd: float = 0.0
    growth: float = 2.0


@dataclass(frozen=True)
class Policy:
    """How a run decides."""

    name: str
    race: RaceRule
    certificate: CertificateRule = field(default_factory=CertificateRule)
    each_generation: bool = False
    certifies: bool = True
    baseline_seeds: int = 8
    fresh_minimiser: bool = True
    """Minimise on two seeds that no race has used; else on the race's own."""


RACE_4 = Policy("(1, 2, 4)", RaceRule())
RACE_1 = Policy("(1,)", RaceRule(seeds=(1,)))
DEMO = Policy(
    "demo: (1,), 4 baseline and 4 fresh seeds",
    RaceRule(seeds=(1,)),
    CertificateRule(seeds=(4,), shares=(1.0,)),
    baseline_seeds=4,
)
ONE_SEED = Policy("keep if lower on one seed", RaceRule(seeds=(1,), single=0.0), certifies=False)
ALWAYS_8 = Policy(
    "always 8 seeds",
    RaceRule(seeds=(8,), p=0.05),
    CertificateRule(seeds=(8,), shares=(1.0,), late_seeds=(8,), late_shares=(1.0,)),
)


@dataclass(frozen=True)
class Mutation:
    idea: int
    effect: float
    sd: float


@dataclass(eq=False)
class Tree:
    """A measured tree. `gain` is true, `seen` what races have shown, both over the start."""

    parent: "Tree | None"
    mutations: tuple[tuple[Mutation, float], ...] = ()
    """Each with the gain that its race showed."""
    gain: float = 0.0
    seen: float = 0.0
    kept: float = 1.0
    """r: how much of the parent's deviation stays."""
    deviations: dict[int, float] = field(default_factory=dict)
    trained: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. Gains in nats over the start; trainings at the budget's length.

    Without a certificate the best tip is what is claimed: `moved` where there is one. `certified`
    counts what the check at 4 times the budget kept from moving, too.
    """

    moved: bool
    gain: float
    tip_gain: float
    claimed: float
    trainings: int
    merges: int
    false_merges: int
    certified: bool = False
    minimising: int = 0


def simulate(
    policy: Policy, world: World, rng: random.Random, generations: int = 5, trainings: int = 0
) -> Outcome:
    """One run: `generations`, or as many as leave the certificate's price of `trainings`.

    Minimising the tip counts among the trainings; the check at 4 times the budget, 2 x 2 trainings
    of fourfold length after a certificate, comes on top.
    """
    run = Run(policy, world, rng)
    reserve = 2 * policy.certificate.seeds[-1] + 4 if policy.certifies else 0
    generation = 0
    while (run.trainings + reserve < trainings) if trainings else (generation < generations):
        run.generation(generation, limit=trainings - reserve if trainings else 0)
        generation += 1
        if policy.each_generation:
            run.certify()
    tip = run.best()
    if not policy.certifies:
        moved, gain = tip is not run.start, 0.0
    else:
        if not policy.each_generation:
            run.certify()
        moved, gain = run.champion is not run.start, run.champion.gain
    return Outcome(
        moved, gain, tip.gain, tip.seen, run.trainings, run.merges, run.false_merges,
        run.certified or (moved and not policy.certifies), run.minimising,
    )  # fmt: skip


class Run:
    """A run in progress."""

    def __init__(self, policy: Policy, world: World, rng: random.Random) -> None:
        self.policy, self.world, self.rng = policy, world, rng
        self.trainings = self.merges = self.false_merges = self.ideas = 0
        self.start = self.champion = Tree(None)
        self.tips = [self.start] * AGENTS
        self.behind = [0] * AGENTS
        self.certificates, self.fresh = 0, FRESH
        self.certified, self.minimising, self.bound = False, 0, set[int]()
        self.s0 = noise([self.loss(self.start, s) for s in range(policy.baseline_seeds)])
        self.s0 /= world.understated

    # What a training would show.

    def deviation(self, tree: Tree, seed: int) -> float:
        known = tree.deviations.get(seed)
        if known is None:
            new = NOISE.innovation(self.world.shape, self.rng) * S0 / math.sqrt(2)
            if tree.parent is None:
                known = new
            else:
                old = self.deviation(tree.parent, seed)
                known = tree.kept * old + math.sqrt(1 - tree.kept**2) * new
            tree.deviations[seed] = known
        return known

    def loss(self, tree: Tree, seed: int) -> float:
        """Over the start's true loss; trained once."""
        if seed not in tree.trained:
            tree.trained.add(seed)
            self.trainings += 1
        return self.deviation(tree, seed) - tree.gain

    def effects(self, parent: Tree, child: Tree, seeds: Sequence[int]) -> list[float]:
        return [self.loss(parent, s) - self.loss(child, s) for s in seeds]

    # Search.

    def draw(self, number: int) -> Mutation:
        """The next proposal; `number` counts the variants of the run."""
        world, rng = self.world, self.rng
        self.ideas += 1
        idea, effect = self.ideas, 0.0
        if world.planted and number == 2 * AGENTS:
            return Mutation(idea, world.planted, world.planted_sd)
        if world.effects == "none":
            return Mutation(idea, 0.0, rng.choice(world.sds))
        if world.effects == "catalogue":
            idea = -rng.randrange(len(CATALOGUE)) - 1
            effect = CATALOGUE[-idea - 1] * world.scale
        else:  # sparse: one in ten gains, 0.015 nats on average, most do harm
            kind = rng.random()
            if kind < 0.1:
                effect = rng.expovariate(1 / 0.015)
            elif kind > 0.4:
                effect = -rng.expovariate(1 / 0.03)
        sd = rng.choice(NOISE.ratios) * abs(effect) if effect else rng.choice(world.sds)
        return Mutation(idea, effect, min(S0, sd))

    def child(self, parent: Tree, mutations: Sequence[tuple[Mutation, float]]) -> Tree:
        """The parent with more mutations; of ideas it has already, nothing changes but the path."""
        have = {m.idea for m, _ in parent.mutations}
        gain, kept, added = parent.gain, 1.0, []
        for mutation, raced in mutations:
            kept *= 1 - (mutation.sd / S0) ** 2
            effect = 0.0 if mutation.idea in have else mutation.effect
            if have and self.world.effects != "none" and self.rng.random() < 6 / 35:
                effect = -abs(effect) * self.rng.random()
            gain += effect
            added.append((replace(mutation, effect=effect), raced))
        return Tree(parent, parent.mutations + tuple(added), gain, parent.seen, kept)

    def generation(self, number: int, limit: int) -> None:
        """One variant for each lineage, then the merge train, then replacement."""
        winners = []
        for lineage, tip in enumerate(self.tips):
            if limit and self.trainings >= limit:
                break
            mutation = self.draw(number * AGENTS + lineage)
            tree = self.child(tip, [(mutation, 0.0)])
            x: list[float] = []
            decision = RaceDecision.MORE
            while decision is RaceDecision.MORE:
                look = next_look(len(x), self.policy.race)
                assert look is not None
                x = self.effects(tip, tree, range(look))
                decision = race(x, self.s0, self.policy.race)
            if decision is RaceDecision.MERGE:
                gain = sum(x) / len(x)
                tree.seen += gain
                tree.mutations = (*tip.mutations, (tree.mutations[-1][0], gain))
                self.tips[lineage] = tree
                self.merges += 1
                self.false_merges += tree.gain <= tip.gain
                winners.append((lineage, mutation, gain))
        self.merge_train(winners, limit)
        self.replacement()

    def best(self) -> Tree:
        return max(self.tips, key=lambda t: t.seen)

    def merge_train(self, winners: list[tuple[int, Mutation, float]], limit: int) -> None:
        """The best tip with the other lineages' winners, raced on two seeds, weakest dropped."""
        tip = self.best()
        home = self.tips.index(tip)
        have = {m.idea for m, _ in tip.mutations}
        others = [(m, g) for lineage, m, g in winners if lineage != home and m.idea not in have]
        others.sort(key=lambda pair: -pair[1])
        for _ in range(3):
            if not others or (limit and self.trainings + 2 > limit):
                return
            union = self.child(tip, others)
            x = self.effects(tip, union, range(2))
            if (gain := sum(x) / 2) > 0:
                union.seen += gain
                self.tips[home] = union
                return
            others.pop()

    def replacement(self) -> None:
        """A lineage behind by more than s0 for two generations takes the best tree, one at most."""
        tip, replaced = self.best(), False
        for lineage, own in enumerate(self.tips):
            self.behind[lineage] = self.behind[lineage] + 1 if tip.seen - own.seen > self.s0 else 0
            if self.behind[lineage] >= 2 and not replaced and self.tips.count(tip) < AGENTS // 2:
                self.tips[lineage], self.behind[lineage], replaced = tip, 0, True

    # The claim.

    def certify(self) -> None:
        tip = self.minimised(self.best())
        if tip is self.champion or not tip.mutations or id(tip) in self.bound:
            return
        self.certificates += 1
        rule, seeds = self.policy.certificate, list[int]()
        for n, _ in rule.looks(self.certificates):
            seeds += range(self.fresh, self.fresh + n - len(seeds))
            self.fresh = seeds[-1] + 1
            x = self.effects(self.champion, tip, seeds)
            decision = certify(x, self.s0, rule, self.certificates)
            if decision.status is not CertificateStatus.MORE:
                break
        if decision.status is CertificateStatus.CERTIFIED:
            self.certified = True
            self.trainings += CHECK
            if self.checked(tip):
                self.champion, self.certificates = tip, 0
            else:
                self.bound.add(id(tip))

    def checked(self, tip: Tree) -> bool:
        """Whether a gain is left at 4 times the budget, on two seeds."""
        kept, tree = 1.0, tip
        while tree is not self.champion and tree.parent is not None:
            kept, tree = kept * tree.kept, tree.parent
        sd = S0 * math.sqrt(1.0 - (kept if tree is self.champion else 0.0)) * self.world.growth
        gain = tip.gain - self.champion.gain
        noises = [NOISE.innovation(self.world.shape, self.rng) for _ in range(2)]
        return gain + sd * sum(noises) / 2 > 0.0

    def minimised(self, tip: Tree) -> Tree:
        """Group testing as it is shipped: small merges reverted together, halves where it is worse.

        As many groups as a fifth of the run's trainings has room for beside the check.
        """
        # The merge train races on seeds 0 and 1.
        first = max(2, self.policy.race.seeds[-1]) if self.policy.fresh_minimiser else 0
        seeds = range(first, first + SEEDS)
        new = [pair for pair in tip.mutations if pair not in self.champion.mutations]
        tests = GroupTest([pair for pair in new if pair[1] < self.s0])
        before, most, whole = self.trainings, groups_allowed(self.trainings, CHECK), tip
        while most and (group := tests.next_group()) is not None:
            most -= 1
            reverted = self.without(tip, list(group))
            gone = all(
                expendable(self.effects(one, reverted, seeds), self.s0) for one in (tip, whole)
            )
            tests.answer(gone)
            tip = reverted if gone else tip
        self.minimising += self.trainings - before
        return tip

    def without(self, tip: Tree, group: list[tuple[Mutation, float]]) -> Tree:
        rest = tuple(pair for pair in tip.mutations if pair not in group)
        if rest == self.champion.mutations:
            return self.champion
        kept, gain, seen = 1.0, tip.gain, tip.seen
        for mutation, raced in group:
            kept *= 1 - (mutation.sd / S0) ** 2
            gain, seen = gain - mutation.effect, seen - raced
        return Tree(tip, rest, gain, seen, kept)
