"""The trusted measurement: Trials over a runner."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from darwin_git.domain.flops import mfu
from darwin_git.domain.measurement import Measurement, identity, protocol_hash
from darwin_git.domain.records import canonical_json
from darwin_git.domain.trial import Allowance, Replicate, Screened, Subject, Verdict
from darwin_git.ports import DialogueEnded, File, Finished, Limits, Runner, Slot
from darwin_git.trial import evaluate, failures, probes
from darwin_git.trial.checkout import Read, measured
from darwin_git.trial.corpus import Corpus
from darwin_git.trial.override import Grant
from darwin_git.trial.results import Results
from darwin_git.trial.scorer import Scorer, Unscorable, open_scorer
from darwin_git.trial.screen import Screen, broken_report, unscorable_verdict
from darwin_git.trial.training import CHECKPOINT, command, progress
from darwin_git.trial.warmup import COMPILE_SECONDS, warm_up

PATIENCE = 3.0
"""A training is killed after this many times its expected wall time."""
LOGIT_SECONDS = 4e-8
"""Scoring may take so long for each logit that is sent out and weighed here."""


class Laboratory:
    """Screens and replicates trees under one measurement.

    Args:
        runner: where commands run; its kind and environment are part of the protocol.
        measurement: how trees are trained and measured.
        corpus: the data, held-out splits included; must be the one that `measurement.data` names.
        read: all files of a commit by path.
        memory_bytes, output_bytes: limits of each command.
        peak_flops: of one slot's device, FLOP/s (domain.flops.peak_flops, or measured), for MFU.
        results: folder that keeps each result until a record must hold it; None keeps none.
        gpu: the GPUs' model, part of the protocol; empty where a CPU trains.
    """

    def __init__(
        self,
        runner: Runner,
        measurement: Measurement,
        corpus: Corpus,
        read: Read,
        *,
        memory_bytes: int = 8 << 30,
        output_bytes: int = 4 << 30,
        peak_flops: float | None = None,
        results: Path | None = None,
        gpu: str = "",
    ) -> None:
        if measurement.data != corpus.identity:
            raise ValueError("the measurement was made for another corpus")
        self._runner = runner
        self._measurement = measurement
        self._corpus = corpus
        self._read = read
        self._limits = Limits(measurement.min_deadline_seconds, memory_bytes, output_bytes)
        self._peak = peak_flops
        self._results = Results(results)
        self._warm = {""}
        environment = {**runner.environment(), "runner": runner.kind}
        if gpu:
            environment["gpu"] = gpu
        self._protocol = protocol_hash(measurement, environment)

    @property
    def protocol(self) -> str:
        """Hash of the measurement identity's parts except for the tree."""
        return self._protocol

    def identity(self, tree: str) -> str:
        """Measurement identity of a tree."""
        return identity(self._protocol, tree)

    def reap(self) -> int:
        """Remove what a killed tool left, but for trained checkpoints that can still be scored."""
        self._results.reap()
        return self._runner.reap(self._results.keys())

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        """Syntax, size, contract, a short smoke run; `reference` is the baseline's allowance.

        A kept result is taken: a second smoke run might grant other tokens to the same tree.
        """
        key = f"{self.identity(subject.tree)}-screen-{_digest(reference)}"
        if known := self._results.screen(key):
            return known
        # A smoke run is at most a training; the first one of a run may compile for minutes.
        floor, most = self._limits.wall_seconds, 10 * self._limits.wall_seconds
        if reference:
            training = reference.step_seconds * self._measurement.tokens
            most = min(most, floor + self._measurement.wall_refuse * training)
        cache = self._cache(subject)
        limits = self._to_train(most)
        screen = Screen(self._runner, self._measurement, self._corpus, limits, cache)
        files = measured(self._read(subject.commit))
        screened = screen.screen(files, subject, reference, slot)
        if screened.verdict is Verdict.OK:
            self._warm.add(cache)
        self._results.keep_screen(key, screened)
        return screened

    def replicate(
        self,
        subject: Subject,
        seed: int,
        allowance: Allowance,
        slot: Slot,
        *,
        factor: float = 1.0,
        final: bool = False,
    ) -> Replicate:
        """Train under one seed with `factor` times the allowance, and score what was learned.

        Where a tool was killed between training and scoring, the same call only scores; where it
        was killed after that, it returns what was kept.

        Raises:
            OSError: the result cannot be kept; the training is, for the same call later.
        """
        granted = max(1, round(allowance.tokens * factor))
        key = f"{self.identity(subject.tree)}-s{seed}-t{granted}"
        if known := self._results.replicate(key, final=final):
            return known
        files = measured(self._read(subject.commit))
        budget = max(1, round(self._measurement.tokens * factor))
        limits = self._to_train(PATIENCE * allowance.step_seconds * granted)
        cache = self._cache(subject)
        if cache not in self._warm:  # screened by an earlier run: quick where its cache is there
            m, corpus = self._measurement, self._corpus
            warm_up(self._runner, m, corpus, files, subject, cache, limits, slot)
            self._warm.add(cache)
        finished = self._runner.run(
            command(
                self._measurement,
                files,
                self._corpus.folder,
                Grant(budget, granted),
                seed,
                limits,
                label=f"{subject.label} seed {seed}",
                trusted=subject.trusted,
                key=key,
                cache=cache,
            ),
            slot,
        )
        result = self._trained(finished, seed, granted, allowance, slot)
        if result.verdict is Verdict.OK:
            result = self._score(result, finished, files, subject, allowance, slot, final=final)
            if result.verdict is Verdict.INFRA:
                return result  # the checkpoint stays: the next try scores it
        self._results.keep_replicate(key, result, factor)  # before what it was made from goes
        finished.outputs.discard()
        return result

    def _within(self, seconds: float) -> Limits:
        return replace(self._limits, wall_seconds=max(self._limits.wall_seconds, seconds))

    def _to_train(self, seconds: float) -> Limits:
        """Of a training: what it takes, and what compiling it may take."""
        return self._within(seconds + self._measurement.compile * COMPILE_SECONDS)

    def _cache(self, subject: Subject) -> str:
        """Name of the tree's compile cache; empty where nothing is compiled."""
        return self.identity(subject.tree) if self._measurement.compile else ""

    def _trained(
        self, finished: Finished, seed: int, tokens: int, allowance: Allowance, slot: Slot
    ) -> Replicate:
        """What the training alone says; verdict ok means: to be scored."""
        told = progress(finished, compiled=self._measurement.compile)
        rate = told.rate(tokens)
        result = Replicate(
            seed,
            Verdict.OK,
            seconds=told.seconds,
            tokens=tokens,
            tokens_per_second=rate,
            mfu=mfu(allowance.flops_per_token, rate, self._peak),
            exclusive=slot.exclusive,
            curve=told.curve,
        )
        log = failures.excerpt(finished)
        if ended := failures.verdict(finished):
            verdict, reason, failure = ended
            return replace(result, verdict=verdict, reason=reason, failure=failure, log=log)
        if not told.finite:
            reason = "a printed loss is not finite"
            return replace(result, verdict=Verdict.DIVERGED, reason=reason, failure="nan", log=log)
        if reason := broken_report(told):
            return replace(result, verdict=Verdict.REJECTED, reason=reason, failure="rule", log=log)
        return result

    def _score(
        self,
        trained: Replicate,
        finished: Finished,
        files: Mapping[str, File],
        subject: Subject,
        allowance: Allowance,
        slot: Slot,
        *,
        final: bool,
    ) -> Replicate:
        artifact = finished.outputs.artifact(CHECKPOINT)
        if artifact is None:
            reason = f"the training left no {CHECKPOINT} in out_dir"
            return replace(trained, verdict=Verdict.REJECTED, reason=reason, failure="rule")
        most = self._measurement.scored_tokens
        logits = LOGIT_SECONDS * len(self._corpus.symbols)
        try:
            with open_scorer(
                self._runner,
                slot,
                self._measurement,
                files,
                artifact,
                len(self._corpus.symbols),
                self._within(2 * most * (PATIENCE * allowance.step_seconds + logits)),
                label=f"{subject.label} seed {trained.seed} score",
                trusted=subject.trusted,
            ) as scorer:
                scorer.describe()
                scorer.build()
                return self._ask(trained, scorer, allowance, final=final)
        except Unscorable as error:
            verdict = unscorable_verdict(error.failure)
            return replace(trained, verdict=verdict, reason=error.reason, failure=error.failure)
        except DialogueEnded:
            return replace(trained, verdict=Verdict.INFRA, reason="the runner failed in scoring")

    def _ask(
        self, trained: Replicate, scorer: Scorer, allowance: Allowance, *, final: bool
    ) -> Replicate:
        most, block_size = self._measurement.scored_tokens, allowance.block_size
        windows = evaluate.windows(self._corpus.scored, block_size, most)
        cuts = probes.draw(len(windows.inputs), block_size, secrets.randbits(64))
        nats, said = probes.interview(scorer, windows, cuts)
        judged = probes.judge(said, probes.tolerance(scorer.dtype, allowance.deviation))
        trained = replace(trained, probes=judged, scored=evaluate.shards(windows, nats))
        if failed := [probe.name for probe in judged if not probe.passed]:
            reason = f"failed the probe {' and '.join(failed)}"
            return replace(trained, verdict=Verdict.CHEATED, reason=reason, failure="rule")
        if not final:
            return trained
        last = evaluate.windows(self._corpus.final, block_size, most)
        nats, _ = evaluate.sweep(scorer, last.inputs, last.targets)
        return replace(trained, final=evaluate.shards(last, nats))


def _digest(reference: Allowance | None) -> str:
    """Names the allowance that a screen compares with."""
    fields = None if reference is None else asdict(reference)
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()[:16]
