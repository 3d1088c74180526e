"""Error rates, power and price of the decision rules, simulated with measured seed noise.

    python benchmarks/simulate_deciding.py            # about 3 minutes on one core
    python benchmarks/simulate_deciding.py --quick    # a few seconds, wide limits

Every decision is made by darwin_git.domain.statistics itself. benchmarks/data/noise.jsonl holds 8
settings x 10 seeds of nanoGPT trainings; benchmarks/deciding_model.py says how a run is simulated.
"""

import argparse
import itertools
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from deciding_model import (
    ALWAYS_8,
    DEMO,
    NOISE,
    ONE_SEED,
    RACE_1,
    RACE_4,
    S0,
    Outcome,
    Policy,
    Run,
    World,
    simulate,
)
from scipy.special import betaincinv

from darwin_git.domain.statistics import (
    CertificateRule,
    CertificateStatus,
    RaceDecision,
    certify,
    race,
)

QUICK = 400
SDS = (0.004, 0.006, 0.0103)
GAINS = (0.0, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.03)
GROWTH = (2.0, 13.0)
"""What the paired sd was seen to grow by at 4 times the steps: the least and the most."""
SEARCHES = (
    World("catalogue", effects="catalogue", scale=0.5),
    World("catalogue / 6", effects="catalogue", scale=1 / 6),
    World("sparse", effects="sparse"),
)
"""Halved, the catalogue's effects are those on a tuned baseline (facts of the design)."""


@dataclass
class Results:
    """Numbers by name (for tests) and the tables (for people)."""

    numbers: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def table(self, title: str, head: Iterable[str]) -> None:
        names = list(head)
        self.lines += [
            "",
            f"### {title}",
            "",
            f"| {' | '.join(names)} |",
            "|---" * len(names) + "|",
        ]

    def row(self, *cells: object) -> None:
        self.lines.append(f"| {' | '.join(map(str, cells))} |")


def upper_limit(hits: int, n: int) -> float:
    """Upper end of the two-sided 95 % interval of a rate (Clopper and Pearson 1934)."""
    return 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 0.975))


def mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0


def false_alarms(results: Results, runs: int, seed: int) -> None:
    """A/A: every mutation does nothing. Any move of the champion is an error."""
    results.table(
        f"A/A: {runs} runs of 5 generations x 4 variants that change nothing",
        (
            "race",
            "world",
            "champion moved",
            "upper 95 % limit",
            "certified",
            "trainings",
            "of them minimising",
            "false merges a run",
        ),
    )
    worlds = (
        World("measured noise"),
        World("one extra random draw (pairing broken)", sds=(S0,)),
        World("heavy tails (t, 3 df)", shape="heavy"),
        World("s0 understated twofold", understated=2.0),
    )
    each = " certificate each generation"
    policies = (
        RACE_4,
        RACE_1,
        replace(RACE_4, name=RACE_4.name + each, each_generation=True),
        replace(RACE_1, name=RACE_1.name + each, each_generation=True),
        DEMO,
        ONE_SEED,
        ALWAYS_8,
    )
    for policy in policies:
        for world in worlds if policy in (RACE_4, RACE_1, DEMO) else worlds[:1]:
            rng = random.Random(f"{seed} A/A {policy.name} {world.name}")
            outcomes = [simulate(policy, world, rng) for _ in range(runs)]
            moved = sum(o.moved for o in outcomes)
            limit, trainings = upper_limit(moved, runs), mean(o.trainings for o in outcomes)
            merges = mean(o.merges for o in outcomes)
            results.row(
                policy.name, world.name, f"{moved / runs:.2%}", f"{limit:.2%}",
                f"{mean(o.certified for o in outcomes):.2%}", f"{trainings:.1f}",
                f"{mean(o.minimising for o in outcomes):.1f}", f"{merges:.1f}",
            )  # fmt: skip
            results.numbers[f"A/A moved {policy.name} | {world.name}"] = moved
            results.numbers[f"A/A limit {policy.name} | {world.name}"] = limit
            results.numbers[f"A/A trainings {policy.name} | {world.name}"] = trainings


def planted(results: Results, runs: int, seed: int) -> None:
    """One of the 20 variants gains 0.02 nats at paired sd 0.006, the others do nothing."""
    results.table(
        f"One planted gain of 0.02 nats among 20 variants ({runs} runs, paired sd 0.006)",
        (
            "race",
            "found and certified",
            *(f"moved, noise x {g:g} at 4 x the steps" for g in GROWTH),
            "trainings, check at 4 x counted",
            "true gain, nats",
        ),
    )
    for policy in (RACE_4, RACE_1, ALWAYS_8):
        moved = []
        for growth in GROWTH[::-1]:
            rng = random.Random(f"{seed} planted {policy.name} {growth}")
            world = World("planted", planted=0.02, planted_sd=0.006, growth=growth)
            outcomes = [simulate(policy, world, rng) for _ in range(runs)]
            moved.append(f"{mean(o.moved and o.gain >= 0.02 for o in outcomes):.1%}")
        found = mean(o.certified and o.tip_gain >= 0.02 for o in outcomes)
        trainings = mean(o.trainings for o in outcomes)
        gain = mean(o.gain for o in outcomes)
        cells = f"{found:.1%}", *moved[::-1], f"{trainings:.1f}", f"{gain:.4f}"
        results.row(policy.name, *cells)
        results.numbers[f"planted {policy.name}"] = found
        results.numbers[f"planted trainings {policy.name}"] = trainings


def power(results: Results, runs: int, seed: int) -> None:
    """One mutation through both gates; seeds of race and certificate are independent."""
    for factor in (1.0, *GROWTH):
        budget = "the budget" if factor == 1.0 else f"4 x the steps (sd and s0 x {factor:g})"
        results.table(
            f"Power of both gates together at {budget}, {runs} mutations a cell",
            ("race", "j", "paired sd", *(f"{g:g} nats" for g in GAINS)),
        )
        for policy in (RACE_4, RACE_1):
            for j in (1, 5, 10):
                for sd in SDS:
                    rng = random.Random(f"{seed} power {policy.name} {j} {sd} {factor}")
                    rates = [
                        mean(_both_gates(policy, g, sd * factor, factor, j, rng)
                             for _ in range(runs)) for g in GAINS
                    ]  # fmt: skip
                    results.row(policy.name, j, f"{sd * factor:g}", *(f"{r:.3f}" for r in rates))
                    for gain, rate in zip(GAINS, rates, strict=True):
                        key = f"power {policy.name} x{factor:g} j{j} sd{sd:g} gain{gain:g}"
                        results.numbers[key] = rate


def check_power(results: Results, runs: int, seed: int) -> None:
    """How often the check at 4 times the budget, on 2 seeds, lets a gain pass."""
    results.table(
        f"The check at 4 x the steps lets pass, {runs} tips a cell",
        ("paired sd at the budget", "noise grows by", *(f"{g:g} nats" for g in GAINS)),
    )
    for sd in SDS:
        for growth in GROWTH:
            rng = random.Random(f"{seed} check {sd} {growth}")
            rates = []
            for gain in GAINS:
                pairs = ((NOISE.innovation("measured", rng), NOISE.innovation("measured", rng))
                         for _ in range(runs))  # fmt: skip
                rates.append(mean(gain + sd * growth * (a + b) / 2 > 0 for a, b in pairs))
                results.numbers[f"check x{growth:g} sd{sd:g} gain{gain:g}"] = rates[-1]
            results.row(f"{sd:g}", f"{growth:g}", *(f"{r:.3f}" for r in rates))


def _both_gates(
    policy: Policy, gain: float, sd: float, factor: float, j: int, rng: random.Random
) -> bool:
    def effects(n: int) -> list[float]:
        return [gain + sd * NOISE.innovation("measured", rng) for _ in range(n)]

    if race(effects(policy.race.seeds[-1]), S0 * factor, policy.race) is not RaceDecision.MERGE:
        return False
    n = policy.certificate.looks(j)[-1][0]
    decision = certify(effects(n), S0 * factor, policy.certificate, j)
    return decision.status is CertificateStatus.CERTIFIED


def agreement(results: Results, runs: int, seed: int) -> None:
    """The same effects judged at (4, 8) seeds and always at 8."""
    results.table(
        f"Certificates at (4, 8) seeds decide as always 8 fresh seeds, {runs} a cell",
        ("j", "paired sd", *(f"{g:g} nats" for g in GAINS), "seeds used"),
    )
    rule, always = CertificateRule(), ALWAYS_8.certificate
    for j in (1, 2, 5):
        for sd in (0.001, 0.002, *SDS):
            rng = random.Random(f"{seed} agreement {j} {sd}")
            rates, used = [], []
            for gain in GAINS:
                same = 0
                for _ in range(runs):
                    x = [gain + sd * NOISE.innovation("measured", rng) for _ in range(8)]
                    ours, theirs = certify(x, S0, rule, j), certify(x, S0, always, j)
                    certified = CertificateStatus.CERTIFIED
                    same += (ours.status is certified) == (theirs.status is certified)
                    used.append(ours.n)
                rates.append(same / runs)
                results.numbers[f"agreement j{j} sd{sd:g} gain{gain:g}"] = same / runs
            results.row(j, f"{sd:g}", *(f"{r:.3f}" for r in rates), f"{mean(used):.1f}")


def gain_per_training(results: Results, runs: int, seed: int) -> None:
    """Searches stopped at the same price; the check at 4 x the budget comes on top."""
    for world in SEARCHES:
        for budget in (30, 60, 120, 240):
            short = budget < 100
            results.table(
                f"{budget} trainings, {world.name} effects ({runs} runs)",
                ("race", "certified gain, nats", "a 100 trainings", "runs certified",
                 "best tip: claimed by races", "best tip: true", "false merges", "trainings"),
            )  # fmt: skip
            for policy in (RACE_4, RACE_1, *((DEMO,) if short else ()), ONE_SEED, ALWAYS_8):
                rng = random.Random(f"{seed} gain {policy.name} {world.name} {budget}")
                if short and policy is not ALWAYS_8:
                    policy = replace(policy, baseline_seeds=4)
                outcomes = [simulate(policy, world, rng, trainings=budget) for _ in range(runs)]
                _gain_row(results, policy, f"{world.name} {budget}", outcomes)


def _gain_row(results: Results, policy: Policy, where: str, outcomes: list[Outcome]) -> None:
    gains, spent = [o.gain for o in outcomes], mean(o.trainings for o in outcomes)
    certified, claims = mean(gains), policy.certifies
    error = math.sqrt(mean((g - certified) ** 2 for g in gains) / len(gains))
    false = sum(o.false_merges for o in outcomes) / max(1, sum(o.merges for o in outcomes))
    results.row(
        policy.name,
        f"{certified:.4f} +- {error:.4f}" if claims else "none",
        f"{100 * certified / spent:.4f}" if claims else "none",
        f"{mean(o.moved for o in outcomes):.0%}" if claims else "none",
        f"{mean(o.claimed for o in outcomes):.4f}",
        f"{mean(o.tip_gain for o in outcomes):.4f}",
        f"{false:.0%}",
        f"{spent:.0f}",
    )
    results.numbers[f"gain {policy.name} {where}"] = 100 * certified / spent


def minimiser(results: Results, runs: int, seed: int) -> None:
    """What group testing takes out of the tip of a night, by the seeds it tests on."""
    results.table(
        f"Minimising the tip before the certificate, 240 trainings ({runs} runs)",
        ("effects", "race", "seeds", "mutations", "of them useless", "left", "useless left",
         "change of true gain"),
    )  # fmt: skip
    for world in SEARCHES:
        for policy in (RACE_4, RACE_1):
            for fresh in (True, False):
                rng, rows = random.Random(f"{seed} minimise {world.name} {policy.name}"), []
                for _ in range(runs):
                    run = Run(replace(policy, fresh_minimiser=fresh), world, rng)
                    for generation in itertools.count():
                        if run.trainings >= 220:
                            break
                        run.generation(generation, limit=220)
                    tip = run.best()
                    least = run.minimised(tip)
                    useless = [sum(m.effect <= 0 for m, _ in t.mutations) for t in (tip, least)]
                    rows.append((len(tip.mutations), useless[0], len(least.mutations), useless[1],
                                 least.gain - tip.gain))  # fmt: skip
                *counts, change = (mean(column) for column in zip(*rows, strict=True))
                seeds = "two that no race used" if fresh else "the race's"
                cells = (f"{c:.1f}" for c in counts)
                results.row(world.name, policy.name, seeds, *cells, f"{change:+.4f}")


def summary(results: Results) -> list[str]:
    """The numbers to reach, for both races."""
    numbers = results.numbers
    table = Results()
    table.table("Numbers to reach", ("what", "asked", RACE_4.name, RACE_1.name))
    names = (RACE_4.name, RACE_1.name)

    def line(what: str, asked: str, prefixes: Iterable[str], pick: Callable[..., float]) -> None:
        found = [pick(v for k, v in numbers.items() if k.startswith(p)) for p in prefixes]
        table.row(what, asked, *(f"{v:.2%}" for v in found))
        for name, value in zip(names, found, strict=True):
            results.numbers[f"{what} {name}"] = value

    line("champion moved, upper limit, worst world", "<= 2 %",
         (f"A/A limit {n} | " for n in names), max)  # fmt: skip
    line("0.02 nats at sd 0.006 certified, both gates", ">= 95 %",
         (f"power {n} x1 j1 sd0.006 gain0.02" for n in names), min)  # fmt: skip
    line("planted in a run: certified", ">= 95 %", (f"planted {n}" for n in names), min)
    line("certificates as with always 8, worst cell", ">= 93 %", ("agreement",) * 2, min)
    for kind, which in (("A/A trainings", " | measured noise"), ("planted trainings", "")):
        always = numbers[f"{kind} {ALWAYS_8.name}{which}"]
        line(f"{kind} over always 8", "<= 30 %", (f"{kind} {n}{which}" for n in names),
             lambda values, always=always: min(values) / always)  # fmt: skip
    return table.lines


def everything(quick: bool, seed: int) -> Results:
    """All tables; `quick` divides the numbers of runs."""
    results = Results()
    runs = QUICK if quick else 10_000
    results.lines.append("## Errors")
    false_alarms(results, runs, seed)
    planted(results, runs // 10, seed)
    results.lines += ["", "## Power"]
    power(results, runs // 10, seed)
    check_power(results, runs // 10, seed)
    agreement(results, runs // 5, seed)
    results.lines += ["", "## Gain"]
    gain_per_training(results, runs // 20, seed)
    minimiser(results, runs // 50, seed)
    results.lines[:0] = [*summary(results)[1:], ""]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few seconds, wide limits")
    parser.add_argument("--seed", type=int, default=1, help="of the simulation (default 1)")
    options = parser.parse_args()
    start = time.perf_counter()
    print("\n".join(everything(options.quick, options.seed).lines))
    print(f"\nseed {options.seed}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
