"""Trials of any repository: the person's own program measures it, beside it behind the wall."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from darwin_git.domain.measurement import Judgement, identity, protocol_hash
from darwin_git.domain.trial import Allowance, Judged, Replicate, Screened, Subject, Verdict
from darwin_git.ports import Command, File, Finished, Limits, Runner, Slot
from darwin_git.trial import failures, numbers
from darwin_git.trial.checkout import Broken, Read, check_size, measured
from darwin_git.trial.judge import Judge
from darwin_git.trial.results import Results
from darwin_git.trial.training import inside

JUDGE = "../judge"
"""Where the program stands, seen from the checkout."""
FIRST_SEED = 1

Split = Literal["scored", "final"]


class ProgramTrials:
    """Screens and replicates trees by a judge's word.

    A replicate is one run of the judge on the scored split; the final split is one more, only
    where it is asked for.

    Args:
        runner: where commands run; its kind and environment are part of the protocol.
        judgement: which number of the judge counts, and how it is started.
        judge: the program; must be the one that `judgement.program` names.
        read: all files of a commit by path.
        seconds: no run takes longer.
        memory_bytes, output_bytes: limits of each run.
        results: folder that keeps each result until a record must hold it; None keeps none.
    """

    def __init__(
        self,
        runner: Runner,
        judgement: Judgement,
        judge: Judge,
        read: Read,
        *,
        seconds: float = 60.0,
        memory_bytes: int = 8 << 30,
        output_bytes: int = 4 << 30,
        results: Path | None = None,
    ) -> None:
        if judgement.program != judge.sha256:
            raise ValueError("the judgement was made for another program")
        self._runner = runner
        self._judgement = judgement
        self._judge = judge
        self._read = read
        self._limits = Limits(seconds, memory_bytes, output_bytes)
        self._results = Results(results)
        environment = {**runner.environment(), "runner": runner.kind}
        self._protocol = protocol_hash(judgement, environment)

    @property
    def protocol(self) -> str:
        """Hash of the measurement identity's parts except for the tree."""
        return self._protocol

    def reap(self) -> int:
        """Remove what a killed tool left, but for runs whose result nobody took yet."""
        self._results.reap()
        return self._runner.reap(self._results.keys())

    def screen(self, subject: Subject, reference: Allowance | None, slot: Slot) -> Screened:
        """Size, then the first seed's run: it is kept, so that the race does not pay it again."""
        try:
            check_size(measured(self._read(subject.commit)))
        except Broken as error:
            return Screened(Verdict.REJECTED, error.reason, error.failure, log=error.reason)
        found = self._once(subject, FIRST_SEED, "scored", slot)
        if found.verdict is not Verdict.OK:
            return Screened(found.verdict, found.reason, found.failure, log=found.log)
        # Nothing is granted: the judge decides how much work a measurement is.
        return Screened(Verdict.OK, allowance=Allowance(0, 0.0, found.seconds, 1.0, 1.0, 0, 0))

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
        """The judge's word under one seed; `allowance` and `factor` have nothing to scale here.

        Where a tool was killed after a run, the same call takes what that run printed.

        Raises:
            OSError: the result cannot be kept; the run's output is, for the same call later.
        """
        scored = self._once(subject, seed, "scored", slot)
        if scored.verdict is not Verdict.OK or not final:
            return scored
        last = self._once(subject, seed, "final", slot)
        seconds = scored.seconds + last.seconds
        if last.verdict is not Verdict.OK or scored.judged is None or last.judged is None:
            return replace(last, seconds=seconds, reason=f"on the final split: {last.reason}")
        judged = replace(scored.judged, final=last.judged.scored)
        return replace(scored, seconds=seconds, judged=judged)

    def _once(self, subject: Subject, seed: int, split: Split, slot: Slot) -> Replicate:
        """One run of the judge, or what is known of it."""
        key = f"{identity(self._protocol, subject.tree)}-s{seed}-{split}"
        if known := self._results.replicate(key, final=False):
            return known
        files = measured(self._read(subject.commit))
        place = self._judge.at(slot.number)
        command = self._command(subject, files, seed, split, key, place)
        finished = self._runner.run(command, slot)
        result = self._judged(finished, seed, slot)
        self._results.keep_replicate(key, result, 1.0)  # before what it was made from goes
        finished.outputs.discard()
        return result

    def _command(
        self,
        subject: Subject,
        files: Mapping[str, File],
        seed: int,
        split: Split,
        key: str,
        place: Path,
    ) -> Command:
        known = {"{judge}": JUDGE, "{seed}": str(seed), "{split}": split}
        words = list(self._judgement.command)
        for name, value in known.items():
            words = [word.replace(name, value) for word in words]
        return Command(
            label=f"{subject.label} seed {seed}" + " final" * (split == "final"),
            trusted=subject.trusted,
            genome=files,
            tools={"judge.py": inside("judge.py")},
            argv=("{python}", "{tools}/judge.py", str(seed), split, *words),
            limits=self._limits,
            data={JUDGE: place},
            artifacts={},
            key=key,
        )

    def _judged(self, finished: Finished, seed: int, slot: Slot) -> Replicate:
        result = Replicate(seed, Verdict.OK, seconds=finished.seconds, exclusive=slot.exclusive)
        log = finished.errors[-failures.LOG_CHARACTERS :].strip()
        if finished.cause != "infra" and not self._judge.intact(slot.number):
            reason = "it changed the judge's files"
            return replace(result, verdict=Verdict.CHEATED, reason=reason, failure="rule", log=log)
        if ended := failures.verdict(finished):
            verdict, reason, failure = ended
            return replace(result, verdict=verdict, reason=reason, failure=failure, log=log)
        metric = self._judgement.metric
        try:
            found = numbers.read(numbers.said(finished.lines), metric)
        except numbers.Unreadable as error:
            log = f"{log}\n{error}".strip()
            return replace(
                result, verdict=Verdict.REJECTED, reason=str(error), failure="rule", log=log
            )
        return replace(result, judged=Judged(metric, found))
