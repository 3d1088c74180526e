"""A person's program as the judge, run for real: what counts, what is refused, what is kept."""

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from darwin_git.domain.measurement import Judgement
from darwin_git.domain.metric import Metric
from darwin_git.domain.trial import Allowance, Replicate, Subject, Verdict
from darwin_git.errors import DarwinError
from darwin_git.executors.local import plan_slots
from darwin_git.ports import File, Line, Runner, Slot
from darwin_git.sandbox.process import ProcessRunner
from darwin_git.trial import numbers
from darwin_git.trial.judge import Judge, pack
from darwin_git.trial.numbers import Unreadable, read
from darwin_git.trial.program import ProgramTrials

COST = Metric("cost")
SUBJECT = Subject("c" * 40, "t" * 40, "0001/a1-on-a2", trusted=True)
GRANTED = Allowance(0, 0.0, 1.0, 1.0, 1.0, 0, 0)
GENOME = {"work.py": File(b"print(8)\n")}

CAREFUL = """
import json, os, subprocess, sys
done = subprocess.run([sys.executable, "work.py"], capture_output=True, text=True)
if done.returncode:
    sys.exit(done.stderr)
seed, split = int(os.environ["DARWIN_SEED"]), os.environ["DARWIN_SPLIT"]
print("not read: a log")
print(json.dumps({"cost": float(done.stdout) + seed + 100 * (split == "final"), "seed": seed}))
"""
CARELESS = """
import json, subprocess, sys
subprocess.run([sys.executable, "work.py"], check=True)
print(json.dumps({"cost": 5.0}))
"""

Measure = Callable[..., Replicate]


def trials(
    runner: Runner, folder: Path, judge: str, files: Mapping[str, File], **changes: Any
) -> ProgramTrials:
    """Trials by a judge of one file."""
    (folder / "judge").mkdir(exist_ok=True)
    (folder / "judge/judge.py").write_text(judge)
    packed = Judge(pack(folder / "judge"), folder / "copies")
    judgement = Judgement(
        packed.sha256, ("{python}", "{judge}/judge.py"), changes.pop("metric", COST)
    )
    return ProgramTrials(
        runner, judgement, packed, lambda _: files, results=folder / "results", **changes
    )


@pytest.fixture
def slot() -> Slot:
    return plan_slots(most=1)[0]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[ProcessRunner]:
    yield ProcessRunner(tmp_path / "attempts")
    left = sorted(path.name for path in (tmp_path / "attempts").glob("*"))
    assert left == [], "something was left behind"


@pytest.fixture
def measure(runner: ProcessRunner, tmp_path: Path, slot: Slot) -> Measure:
    """One replicate under seed 2."""

    def run(
        judge: str, work: str = "print(8)", *, final: bool = False, **changes: Any
    ) -> Replicate:
        files = {"work.py": File(work.encode())}
        bench = trials(runner, tmp_path, judge, files, **changes)
        tree = hashlib.sha1(work.encode(), usedforsecurity=False).hexdigest()
        return bench.replicate(replace(SUBJECT, tree=tree), 2, GRANTED, slot, final=final)

    return run


# --- what counts ---------------------------------------------------------------------------------


def test_the_judges_number_is_the_metric_and_the_others_are_kept(measure: Measure) -> None:
    found = measure(CAREFUL)
    assert found.verdict is Verdict.OK
    assert found.judged is not None
    assert dict(found.judged.scored) == {"cost": 10.0, "seed": 2.0}
    assert found.loss == COST.loss(10.0)
    assert found.final_loss is None
    assert found.seconds > 0


def test_the_final_split_is_a_run_of_its_own(measure: Measure) -> None:
    found = measure(CAREFUL, final=True)
    assert found.judged is not None
    assert found.judged.scored["cost"] == 10.0
    assert found.judged.final["cost"] == 110.0


def test_nothing_is_run_twice(runner: ProcessRunner, tmp_path: Path, slot: Slot) -> None:
    runs = tmp_path / "runs"
    judge = CAREFUL + f"open({str(runs)!r}, 'a').write(split + str(seed) + ' ')\n"
    bench = trials(runner, tmp_path, judge, GENOME)
    screened = bench.screen(SUBJECT, None, slot)
    assert screened.verdict is Verdict.OK and screened.allowance is not None
    for _ in range(2):
        bench.replicate(SUBJECT, 1, screened.allowance, slot)
        bench.replicate(SUBJECT, 1, screened.allowance, slot, final=True)
    assert runs.read_text().split() == ["scored1", "final1"]
    again = trials(runner, tmp_path, judge, GENOME)
    assert again.protocol == bench.protocol
    again.replicate(SUBJECT, 1, screened.allowance, slot, final=True)
    assert runs.read_text().split() == ["scored1", "final1"]


def test_the_protocol_follows_the_program_and_what_counts(
    runner: ProcessRunner, tmp_path: Path
) -> None:
    known = {
        trials(runner, tmp_path, judge, GENOME, metric=metric).protocol
        for judge in (CAREFUL, CAREFUL + "\n", CARELESS)
        for metric in (COST, replace(COST, direction="max"), Metric("seed"))
    }
    assert len(known) == 9


def test_a_genome_that_builds_in_place_is_judged(measure: Measure) -> None:
    judge = (
        "import json, pathlib\n"
        "pathlib.Path('build').mkdir(); pathlib.Path('build/x').write_text('7')\n"
        "print(json.dumps({'cost': float(pathlib.Path('build/x').read_text())}, indent=1))\n"
    )
    found = measure(judge)
    assert found.verdict is Verdict.OK, found.reason
    assert found.judged is not None and found.judged.scored["cost"] == 7.0


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "work", "verdict", "reason"),
    [
        (CARELESS, "print('{\"cost\": 0.1}')", Verdict.REJECTED, "cost more than once"),
        # The judge's own line is spoiled by what stands before it, and a forged one follows.
        (
            CARELESS,
            "import os, sys, time\nprint('x', end='', flush=True)\n"
            "if not os.fork():\n    time.sleep(0.5)\n    print('\\n{\"cost\": 0.1}', flush=True)\n",
            Verdict.REJECTED,
            "cost more than once|no JSON|no cost",
        ),
        (CARELESS, "print('\\x1b]', end='')", Verdict.REJECTED, "must be one JSON object"),
        (CARELESS, "print('{\"c\\\\u006fst\": 0.1}')", Verdict.OK, ""),
        (
            "import subprocess, sys\nsubprocess.run([sys.executable, 'work.py'])",
            "print('{\"c\\\\u006fst\": 0.1}')",
            Verdict.REJECTED,
            "no cost",
        ),
        (CARELESS, "print('x' * 5_000_000)", Verdict.REJECTED, "more than 64 KiB"),
        (CAREFUL, "raise SystemExit('broken')", Verdict.CRASHED, "broken"),
        (CAREFUL, "import os, signal; os.kill(os.getppid(), 9)", Verdict.CRASHED, "SIGKILL"),
        (CAREFUL, "while True: pass", Verdict.TIMEOUT, "killed after"),
        ("", "", Verdict.REJECTED, "it printed nothing"),
        ("print('[1]')", "", Verdict.REJECTED, "must be one JSON object"),
        ("print('{\"cost\": NaN}')", "", Verdict.REJECTED, "not finite"),
        ("print('{\"cost\": 1e999}')", "", Verdict.REJECTED, "not finite"),
        ("print('{\"cost\": true}')", "", Verdict.REJECTED, "cost is no number"),
        ('print(\'{"cost": "1"}\')', "", Verdict.REJECTED, "cost is no number"),
        ("print('{\"cost\": 0}')", "", Verdict.REJECTED, 'metric.scale = "linear"'),
        ("print('{\"time\": 1}')", "", Verdict.REJECTED, "no cost; it printed time"),
        ('print(\'{"cost": 1, "cost": 2}\')', "", Verdict.REJECTED, "key twice"),
        ('print(\'{"cost": 1, "a b": 2}\')', "", Verdict.REJECTED, "no name"),
        ("import missing_module", "", Verdict.CRASHED, "missing_module"),
    ],
)
def test_whatever_is_ambiguous_is_refused_with_a_reason(
    measure: Measure, judge: str, work: str, verdict: Verdict, reason: str
) -> None:
    found = measure(judge, work, seconds=3.0)
    assert found.verdict is verdict, found
    assert re.search(reason, found.reason), found.reason
    if verdict is Verdict.OK:
        assert found.judged is not None and found.judged.scored["cost"] == 5.0


def test_a_genome_that_changes_the_judge_is_a_cheat_and_the_judge_is_mended(
    measure: Measure, tmp_path: Path
) -> None:
    for evil in (
        "import os\nos.chmod('../judge/judge.py', 0o644)\nopen('../judge/judge.py', 'w').write('')",
        "import os\nos.chmod('../judge', 0o755)\nopen('../judge/json.py', 'w').write('')",
        "import os\nos.chmod('../judge', 0o755)\nos.remove('../judge/judge.py')",
    ):
        found = measure(CAREFUL, evil + "\nprint(0.1)\n")
        assert found.verdict is Verdict.CHEATED, found
        assert "judge's files" in found.reason
    honest = measure(CAREFUL, "print(8.5)")
    assert honest.verdict is Verdict.OK
    assert (tmp_path / "judge/judge.py").read_text() == CAREFUL


def test_a_failed_screen_says_why(runner: ProcessRunner, tmp_path: Path, slot: Slot) -> None:
    broken = {"work.py": File(b"raise ValueError('shape of you')\n")}
    screened = trials(runner, tmp_path, CAREFUL, broken).screen(SUBJECT, None, slot)
    assert screened.verdict is Verdict.CRASHED
    assert "shape of you" in screened.log
    huge = {f"f{n}": File(b"") for n in range(3000)}
    screened = trials(runner, tmp_path, CAREFUL, huge).screen(SUBJECT, None, slot)
    assert (screened.verdict, screened.failure) == (Verdict.REJECTED, "rule")


# --- the reading of what was printed -------------------------------------------------------------


def said(printed: bytes) -> list[Line]:
    text = base64.b64encode(printed).decode()
    return [Line(0.0, f"{numbers.SAID} {text[at : at + 9]}") for at in range(0, len(text), 9)]


def test_a_log_may_precede_the_object_and_other_lines_of_ours_are_no_part_of_it() -> None:
    printed = b'starting\n{"time": 1}\n  {"cost": 2, "n": 3}  \n\n'
    lines = [Line(0.0, "something else"), *said(printed)]
    assert dict(read(numbers.said(lines), COST)) == {"cost": 2.0, "n": 3.0}


@pytest.mark.parametrize("value", ["1e51", "1e-51"])
def test_a_number_whose_squares_overflow_is_refused(value: str) -> None:
    with pytest.raises(Unreadable, match="another unit"):
        read(f'{{"cost": {value}}}'.encode(), COST)
    linear = Metric("cost", scale="linear")
    if value == "1e51":
        with pytest.raises(Unreadable, match="another unit"):
            read(b'{"cost": -1e51}', linear)
    else:
        assert read(b'{"cost": 1e-51}', linear) == {"cost": 1e-51}


def test_at_most_64_numbers() -> None:
    many = {f"n{n}": n for n in range(63)} | {"cost": 1}
    assert len(read(json.dumps(many).encode(), COST)) == 64
    with pytest.raises(Unreadable, match="65 numbers"):
        read(json.dumps(many | {"more": 1}).encode(), COST)


# --- the program itself --------------------------------------------------------------------------


def test_the_archive_depends_on_paths_modes_and_bytes_only(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    (folder / "sub").mkdir(parents=True)
    (folder / "judge.py").write_text("a")
    (folder / "sub/data").write_text("b")
    first = pack(folder)
    shutil.copytree(folder, tmp_path / "two")
    os.utime(tmp_path / "two/judge.py", (1, 1))
    (tmp_path / "two/__pycache__").mkdir()
    (tmp_path / "two/__pycache__/x.pyc").write_text("c")
    assert pack(tmp_path / "two") == first
    (tmp_path / "two/judge.py").chmod(0o755)
    executable = pack(tmp_path / "two")
    assert executable != first
    (tmp_path / "two/sub/data").write_text("c")
    assert pack(tmp_path / "two") not in (first, executable)
    (folder / "link").symlink_to("sub/data")
    assert pack(folder) != first

    alone = pack(folder / "judge.py")
    place = Judge(alone, tmp_path / "copies").at(0)
    assert [path.name for path in place.iterdir()] == ["judge.py"]


def test_what_cannot_be_a_judge_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    with pytest.raises(DarwinError, match="is not there"):
        pack(folder)
    folder.mkdir()
    with pytest.raises(DarwinError, match="has no files"):
        pack(folder)
    (folder / "out").symlink_to("/etc/passwd")
    with pytest.raises(DarwinError, match="leaves the judge's folder"):
        pack(folder)
    (folder / "out").unlink()
    (folder / "big").write_bytes(b"")
    os.truncate(folder / "big", 65 << 20)
    with pytest.raises(DarwinError, match="65 MiB"):
        pack(folder)
