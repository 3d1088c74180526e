"""The screen: rules, then a smoke run, then one look at what it learned to compute."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from darwin_git.domain import flops
from darwin_git.domain.measurement import Measurement
from darwin_git.domain.trial import Allowance, Screened, Subject, Verdict
from darwin_git.ports import (
    Artifact,
    DialogueEnded,
    File,
    Finished,
    Limits,
    Runner,
    Slot,
)
from darwin_git.trial import budget, failures, probes
from darwin_git.trial.checkout import Broken, check
from darwin_git.trial.corpus import Corpus
from darwin_git.trial.evaluate import Windows
from darwin_git.trial.override import Grant
from darwin_git.trial.scorer import Checkpoint, Scorer, Unscorable, open_scorer
from darwin_git.trial.training import CHECKPOINT, Progress, command, progress
from darwin_git.trial.warmup import warm_up

ROWS = 4
CUTS = 24
SMOKE_SEED = 0


@dataclass(frozen=True)
class Screen:
    """Screens trees under one measurement.

    Attributes:
        limits: of each command.
        cache: name of the tree's compile cache, which a command before the smoke run fills; empty
            where nothing is compiled.
    """

    runner: Runner
    measurement: Measurement
    corpus: Corpus
    limits: Limits
    cache: str = ""

    def screen(
        self,
        files: Mapping[str, File],
        subject: Subject,
        reference: Allowance | None,
        slot: Slot,
    ) -> Screened:
        """Verdict and allowance of one checkout."""
        try:
            check(files, self.measurement)
        except Broken as error:
            broken = Verdict.REJECTED if error.failure == "rule" else Verdict.CRASHED
            return Screened(broken, error.reason, error.failure, log=error.reason)
        if self.cache:
            m, cache = self.measurement, self.cache
            warm = warm_up(self.runner, m, self.corpus, files, subject, cache, self.limits, slot)
            if ended := failures.verdict(warm):
                verdict, reason, failure = ended
                return Screened(verdict, reason, failure, log=failures.excerpt(warm))
        finished = self._smoke(files, subject, slot)
        try:
            return self._examine(finished, files, subject, reference, slot)
        finally:
            finished.outputs.discard()

    def _smoke(self, files: Mapping[str, File], subject: Subject, slot: Slot) -> Finished:
        m = self.measurement
        smoke = command(
            m,
            files,
            self.corpus.folder,
            Grant(m.tokens, m.tokens, m.smoke_steps),
            SMOKE_SEED,
            self.limits,
            label=f"{subject.label} smoke run",
            trusted=subject.trusted,
            cache=self.cache,
        )
        return self.runner.run(smoke, slot)

    def _examine(
        self,
        finished: Finished,
        files: Mapping[str, File],
        subject: Subject,
        reference: Allowance | None,
        slot: Slot,
    ) -> Screened:
        log = failures.excerpt(finished)
        if ended := failures.verdict(finished):
            verdict, reason, failure = ended
            return Screened(verdict, reason, failure, log=log)
        told = progress(finished, compiled=bool(self.cache))
        if reason := broken_report(told):
            return Screened(Verdict.REJECTED, reason, "rule", log=log)
        if not told.finite:
            return Screened(Verdict.DIVERGED, "a printed loss is not finite", "nan", log=log)
        checkpoint = finished.outputs.artifact(CHECKPOINT)
        if checkpoint is None:
            reason = f"the training left no {CHECKPOINT} in out_dir"
            return Screened(Verdict.REJECTED, reason, "rule", log=log)
        try:
            return self._weigh(told, checkpoint, files, subject, reference, slot)
        except Unscorable as error:
            verdict = unscorable_verdict(error.failure)
            return Screened(verdict, error.reason, error.failure, log=error.reason)
        except DialogueEnded:
            return Screened(Verdict.INFRA, "the runner failed while the smoke run was scored")

    def _weigh(
        self,
        told: Progress,
        artifact: Artifact,
        files: Mapping[str, File],
        subject: Subject,
        reference: Allowance | None,
        slot: Slot,
    ) -> Screened:
        with open_scorer(
            self.runner,
            slot,
            self.measurement,
            files,
            artifact,
            len(self.corpus.symbols),
            self.limits,
            label=f"{subject.label} smoke score",
            trusted=subject.trusted,
        ) as scorer:
            checkpoint = scorer.describe()
            try:
                allowed = self._allow(told, checkpoint, reference)
            except budget.OverBudget as error:
                return Screened(Verdict.REJECTED, str(error), "rule", log=str(error))
            self.corpus.check_windows(allowed.block_size)
            scorer.build()
            said = self._interview(scorer, allowed.block_size)
            # The baseline's own, measured here, is what all its variants are judged by.
            own = reference.deviation if reference else max(said.within.values())
            allowed = replace(allowed, deviation=own)
            judged = probes.judge(said, probes.tolerance(scorer.dtype, own))
        seen = "; ".join(f"{probe.name}: {probe.evidence}" for probe in judged if not probe.passed)
        if seen:
            reason = f"what it says about a position depends on later tokens: {seen}"
            return Screened(Verdict.CHEATED, reason, "rule", log=reason, allowance=allowed)
        return Screened(Verdict.OK, allowance=allowed)

    def _allow(
        self, told: Progress, checkpoint: Checkpoint, reference: Allowance | None
    ) -> Allowance:
        block_size = checkpoint.size("block_size")
        if not block_size:
            raise budget.OverBudget("the checkpoint's model_args have no block_size")
        if told.step_seconds is None:
            raise budget.OverBudget("the training printed too few 'iter N: loss X, ...' lines")
        return budget.allowance(
            self.measurement,
            reference,
            parameters=flops.parameters(checkpoint.tensors),
            flops_per_token=flops.flops_per_token(checkpoint.tensors, checkpoint.model_args),
            token_seconds=told.step_seconds / told.tokens_per_step,
            block_size=block_size,
        )

    def _interview(self, scorer: Scorer, block_size: int) -> probes.Interview:
        """What it says on random tokens, so that a look ahead is found before a training is paid
        for.
        """
        seed = secrets.randbits(64)
        tokens = np.random.default_rng(seed).integers(
            len(self.corpus.symbols), size=(ROWS, block_size + 1), dtype=np.int32
        )
        rows = np.zeros(ROWS, np.int64)
        windows = Windows(tokens[:, :-1].copy(), tokens[:, 1:].copy(), rows, rows)
        _, said = probes.interview(scorer, windows, probes.draw(ROWS, block_size, seed, CUTS))
        return said


_VERDICTS: Mapping[str, Verdict] = {
    "oom": Verdict.OOM,
    "timeout": Verdict.TIMEOUT,
    "nan": Verdict.DIVERGED,
    "rule": Verdict.REJECTED,
}


def unscorable_verdict(failure: str) -> Verdict:
    """What a model is that cannot be scored."""
    return _VERDICTS.get(failure, Verdict.CRASHED)


def broken_report(told: Progress) -> str:
    """Which part of the contract a training's report lacks, empty if none."""
    if told.steps is None or told.tokens_per_step < 1:
        return "the training script never executed the configuration files it was given"
    if told.printed and told.printed[-1][1] > told.steps:
        return f"it trained {told.printed[-1][1]} iterations; its tokens allow {told.steps}"
    if not told.printed:
        return "the training printed no progress: it must print 'iter N: loss X, ...' lines"
    return ""
