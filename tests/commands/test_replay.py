"""A recorded run is made again: no key, no engine, another person, other seconds, same commits."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.free import FreeProposer, FreeTrials, Inline, genome
from benchmarks.scripted_model import ScriptedModel
from darwin_git.commands.replay import MakeProposers, replay, without_keys
from darwin_git.commands.replayed import Replayed
from darwin_git.commands.setup import package_file
from darwin_git.commands.verify import verify
from darwin_git.config import FILE_NAME, Config, load
from darwin_git.domain import names
from darwin_git.domain.exchange import Reply, Usage
from darwin_git.domain.learning.lesson import Reflection
from darwin_git.domain.names import VariantName
from darwin_git.domain.planning import Plan, Planned
from darwin_git.domain.population import apply
from darwin_git.domain.trial import Screened, Verdict
from darwin_git.errors import DarwinError
from darwin_git.generation import step
from darwin_git.ports import (
    Ask,
    Assignment,
    Declined,
    Dialog,
    Move,
    Proposal,
    Proposer,
    Repair,
    Review,
    Runner,
)
from darwin_git.ports.history import Conflict
from darwin_git.proposing import Proposers
from darwin_git.report.replay import replayed
from darwin_git.steps.claim import claim
from darwin_git.steps.start import baseline
from darwin_git.steps.world import World
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository
from tests.llm_server import ScriptedServer, Text

SETTINGS = """\
[population]
seed = 7
baseline_seeds = 4

[selection]
certificate = [2, 3]
"""


Play = Callable[[Path], Replayed]


class Oracle:
    """A model whose answers nobody can foresee: every third breaks, some calls fail."""

    signature = "oracle"
    builtin = False
    gpu = None

    def __init__(self, mute: bool = False) -> None:
        self._mute = mute
        self._asked = 0

    def _ask(self, purpose: Any, **request: Any) -> Ask:
        return Ask(purpose, {"prompt": request}, self._perform)

    def _perform(self, slot: object) -> Reply:
        assert not self._mute, "nobody is asked in a replay"
        self._asked += 1
        if self._asked % 5 == 0:
            return Reply("infra", reason="the server does not answer")
        time.sleep(random.SystemRandom().random() / 100)
        answer = {
            "idea": f"o{random.SystemRandom().randrange(10**6)}",
            "effect": round(random.SystemRandom().gauss(0.01, 0.03), 4),
            "broken": self._asked % 3 == 0,
        }
        usage = Usage(100, 10, 0.001, random.SystemRandom().random(), "api", 1)
        return Reply("ok", json.dumps(answer), usage, "stop", "oracle")

    def propose(self, assignment: Assignment) -> Dialog[Proposal | Declined]:
        told = assignment.variant, assignment.seed, len(assignment.refusals)
        reply = yield self._ask("propose", told=list(told), files=dict(assignment.files))
        if reply.status == "infra":
            return Declined(reply.reason, infra=True)
        answer = json.loads(reply.text)
        line = f"idea_{answer['idea']} = {answer['effect']}\n"
        text = assignment.files["train.py"] + line + "syntax error\n" * answer["broken"]
        trailers = {"Darwin-Operator": answer["idea"]}
        return Proposal({"train.py": text}, answer["idea"], "Try it", "Why not", "?", trailers)

    def repair(self, assignment: Assignment, broken: Repair) -> Dialog[Proposal | Declined]:
        reply = yield self._ask("repair", attempt=broken.attempt, why=broken.failure.reason)
        if reply.status == "infra":
            return Declined(reply.reason, infra=True)
        text = (broken.proposal.files["train.py"] or "").replace("syntax error\n", "")
        mended = broken.proposal
        return Proposal({"train.py": text}, mended.idea, f"Mend {mended.idea}", "", "", {})

    def resolve(
        self, assignment: Assignment, conflicts: Sequence[Conflict]
    ) -> Dialog[Mapping[str, str] | Declined]:
        told = {one.path: one.marked for one in conflicts}
        reply = yield self._ask("resolve", told=told)
        if reply.status == "infra":
            return Declined(reply.reason, infra=True)
        return {one.path: f"{one.ours}{reply.text!r}\n" for one in conflicts}

    def reflect(self, review: Review) -> Dialog[Reflection | Declined]:
        yield from ()
        return Declined("never reflects")


def proposers(config: Config, folder: Path, *, mute: bool = True) -> Mapping[str, Proposer]:
    """Two built-in agents, two that ask."""
    made: list[Proposer] = [FreeProposer(), FreeProposer(), Oracle(mute), Oracle(mute)]
    return dict(zip(sorted(config.agents), made, strict=True))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit is made in another second."""
    seconds = iter(range(1_800_000_000, 2_000_000_000, 13))
    advancing = SimpleNamespace(time=lambda: next(seconds))
    monkeypatch.setattr("darwin_git.store.objects.time", advancing)


@contextmanager
def recording_world(folder: Path, make: MakeProposers | None = None) -> Iterator[World]:
    with Repository.open(folder) as repository, repository.session():
        history = GitHistory(repository)
        history.settings = (folder / FILE_NAME).read_bytes()
        config = load(folder)
        yield World(
            history=history,
            trials=FreeTrials(history.files),
            executor=Inline(),
            proposers=(make or partial(proposers, mute=False))(config, folder),
            config=config,
            tell=lambda what, **facts: None,
            clock=time.monotonic,
        )


class Killed(BaseException):
    """The process ends here."""


class Mortal(FreeTrials):
    """Dies at a training."""

    def __init__(self, read: Any, at: int) -> None:
        super().__init__(read)
        self._at = at

    def replicate(self, *args: Any, **more: Any) -> Any:
        if self.trained == self._at:
            raise Killed
        return super().replicate(*args, **more)


def record(folder: Path, generations: int = 3) -> Path:
    """A run that is killed in its second generation, and goes on; certificates after 2 and 3."""
    for path, content in genome(60).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for command in (["init", "-q", "-b", "trunk"], ["add", "-A"], ["commit", "-qm", "Start"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    (folder / FILE_NAME).write_text(SETTINGS)  # never committed: a run keeps its own copy
    with recording_world(folder) as world:
        commit = world.history.resolve("HEAD")
        assert commit is not None
        state = baseline(world, commit, {"tokens": 1000}, 4)
        state = step(world, state).after
        world.trials = Mortal(world.history.files, 1)
        with pytest.raises(Killed):
            step(world, state)
    with recording_world(folder) as world:
        for _ in range(2, generations + 1):
            state = step(world, state).after
            claim(world, state)
            state = world.history.state() or state
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recorded run of three generations."""
    return record(tmp_path / "recorded")


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *args], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def references(folder: Path) -> dict[str, str]:
    shown = git(folder, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/darwin/")
    shown += "\n" + git(folder, "for-each-ref", "--format=%(refname) %(objectname)", names.ARCHIVE)
    rows = (line.split() for line in shown.splitlines() if line)
    return {ref: oid for ref, oid in rows if ref != names.LEDGER}


@pytest.fixture
def somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replay is another person's, elsewhere."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Another Person")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "another@example.invalid")
    monkeypatch.setenv("TZ", "Asia/Tokyo")


@pytest.fixture
def play(tmp_path: Path, somebody_else: None) -> Play:
    """Replays into tmp_path/replayed."""

    def run(recording: Path) -> Replayed:
        return replay(
            recording,
            tmp_path / "replayed",
            lambda what, **facts: None,
            proposers=proposers,
        )

    return run


def test_a_killed_run_is_made_again_commit_for_commit(
    recording: Path, tmp_path: Path, play: Play
) -> None:
    done = play(recording)
    place = tmp_path / "replayed"
    assert done.differences == []
    assert done.notes == []
    assert references(place) == references(recording)
    assert done.generations == 3
    assert done.commits >= 10
    assert done.alike == done.records > 40
    for path in ("population/0003.jsonl", "plans/0002.json", "summary.json", FILE_NAME):
        shown = [git(p, "show", f"{names.LEDGER}:{path}") for p in (recording, place)]
        assert shown[0] == shown[1], path
    trees = [git(p, "rev-parse", f"{names.EXCHANGE}^{{tree}}") for p in (recording, place)]
    assert trees[0] == trees[1]
    assert (place / FILE_NAME).read_text() == SETTINGS
    assert git(place, "status", "--porcelain") == f"?? {FILE_NAME}"
    assert git(place, "for-each-ref", "refs/darwin/recording/") == ""
    assert git(place, "fsck", "--no-dangling") == ""
    assert "Another Person" in git(place, "log", "-1", "--format=%cn", names.LEDGER)


def test_what_was_made_again_can_be_verified_and_an_altered_answer_is_named(
    recording: Path, play: Play
) -> None:
    place = Path(play(recording).folder)
    selection = load(place).selection
    with Repository.open(place) as repository:
        history = GitHistory(repository)
        found = verify(repository, history, selection, None)
        known = history.exchanges("")
        assert found["faults"] == []
        assert found["checked"]["exchanges"] == len(known) > 0
        tip = repository.resolve(names.EXCHANGE)
        path = f"{known[0].variant}/{known[0].number}.json"
        text = git(place, "show", f"{names.EXCHANGE}:{path}").replace("prompt", "forged")
        tree = repository.splice(repository.commit_info(tip).tree, {path: text.encode()})
        git(place, "update-ref", names.EXCHANGE, repository.objects.commit(tree, [tip], "Forge"))
        found = verify(repository, history, selection, None)
        assert found["faults"] == [f"{path} of {names.EXCHANGE} is no exchange, or was altered"]


def test_a_bundle_and_a_bare_mirror_are_recordings_and_a_plain_clone_is_none(
    recording: Path, tmp_path: Path, play: Play
) -> None:
    git(recording, "bundle", "create", "-q", str(tmp_path / "run.bundle"), "--all")
    done = play(tmp_path / "run.bundle")
    assert (done.differences, done.generations) == ([], 3)
    assert references(tmp_path / "replayed") == references(recording)
    git(tmp_path, "clone", "-q", "--mirror", str(recording), "mirror.git")
    (tmp_path / "replayed").rename(tmp_path / "first")
    assert play(tmp_path / "mirror.git").differences == []
    git(tmp_path, "clone", "-q", str(recording), "clone")
    with pytest.raises(DarwinError, match="holds no run") as plain:
        play(tmp_path / "clone")
    assert "git -C RUN bundle create run.bundle --all" in plain.value.hint
    with pytest.raises(DarwinError, match="does not exist"):
        play(tmp_path / "nowhere")
    (tmp_path / "torn.bundle").write_bytes((tmp_path / "run.bundle").read_bytes()[:-300])
    (tmp_path / "replayed").rename(tmp_path / "second")
    with pytest.raises(DarwinError, match=r"could not be read|neither a git"):
        play(tmp_path / "torn.bundle")


def test_a_replay_needs_a_folder_of_its_own(recording: Path, tmp_path: Path, play: Play) -> None:
    place = tmp_path / "replayed"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    with pytest.raises(DarwinError, match="is not empty"):
        play(recording)
    assert [path.name for path in place.iterdir()] == ["notes.txt"]
    (place / "notes.txt").unlink()
    git(place, "init", "-q", "-b", "again")
    assert play(recording).differences == []
    assert git(place, "branch", "--show-current") == "again"
    (place / FILE_NAME).unlink()
    git(place, "rm", "-qr", "--cached", ".")
    for path in place.iterdir():
        if path.name != ".git":
            subprocess.run(["rm", "-r", str(path)], check=True)
    with pytest.raises(DarwinError, match="has commits already"):
        play(recording)


def test_what_was_not_finished_is_left_out(recording: Path, tmp_path: Path, play: Play) -> None:
    with recording_world(recording) as world:
        world.trials = Mortal(world.history.files, 1)
        state = world.history.state()
        assert state is not None
        with pytest.raises(Killed):
            step(world, state)
    done = play(recording)
    assert done.differences == []
    assert done.notes == ["generation 4 was not finished when this was recorded: left out"]
    assert not [ref for ref in references(tmp_path / "replayed") if "/0004/" in ref]


def test_what_people_did_is_done_again(recording: Path, tmp_path: Path, play: Play) -> None:
    git(recording, "switch", "-qc", "mine")
    (recording / "model.py").write_text((recording / "model.py").read_text() + "mine = 1\n")
    git(recording, "commit", "-qam", "An idea of mine")
    mine = git(recording, "rev-parse", "HEAD")
    git(recording, "switch", "-q", "trunk")
    with recording_world(recording) as world:
        history = world.history
        assert isinstance(history, GitHistory)
        state = history.state()
        assert state is not None
        stones = sorted(state.parked)
        moves, events = list[Move](), []
        for name in stones:
            variant = VariantName.parse(name)
            tip = history.resolve(variant.ref)
            if tip is not None:
                moves += [Move(variant.archive_ref, None, tip), Move(variant.ref, tip, None)]
            events.append({"kind": "archive", "variant": name})
            state = apply(state, events[-1])
        if events:
            history.settle(moves, state.generation, events, state, {}, "Prune")
        lesson = {"kind": "retire", "id": "0123456789ab", "why": "I know better"}
        history._repository.memory.append(state.generation, [lesson])
        target = min(state.agents)
        parent = state.agents[target].tip
        slug = f"person-on-{target}"
        planned = Planned(slug, "person", "person", target, parent, 0, other=mine)
        history.write_plan(Plan(state.generation + 1, (planned,)))
        step(world, state)
    done = play(recording)
    assert done.differences == []
    assert references(tmp_path / "replayed") == references(recording)
    assert done.generations == 4
    said, lessons = (
        [git(place, "show", f"{names.LEDGER}:{path}") for place in (recording, Path(done.folder))]
        for path in ("memory/0003.jsonl", "lessons.json")
    )
    assert said[0] == said[1]
    assert "I know better" in said[1]
    assert lessons[0] == lessons[1]


def test_a_variant_that_somebody_looked_at_then_is_kept_as_long_as_then(
    recording: Path, tmp_path: Path, play: Play
) -> None:
    looked = tmp_path / "looked"
    seen: list[str] = []

    def look(what: str, **facts: Any) -> None:
        if what in ("raced", "ended") and not seen and facts["trial"].commit:
            seen.append(facts["variant"])
            git(recording, "worktree", "add", "-q", str(looked), f"darwin/v/{seen[0]}")

    with recording_world(recording) as world:
        world.tell = look
        state = world.history.state()
        assert state is not None
        state = step(world, state).after
        kept = seen[0] in state.parked
        assert kept or state.deferred == (seen[0],)
    done = play(recording)
    assert done.differences == []
    (tmp_path / "replayed").rename(tmp_path / "first")
    git(looked, "switch", "-q", "--detach")
    with recording_world(recording) as world:
        step(world, state)
    assert play(recording).differences == []
    assert references(tmp_path / "replayed") == references(recording)


def test_a_question_put_otherwise_is_answered_as_recorded_and_said(
    recording: Path, tmp_path: Path, somebody_else: None
) -> None:
    class Wordy(Oracle):
        def _ask(self, purpose: Any, **request: Any) -> Ask:
            return super()._ask(purpose, please=True, **request)

    def wordy(config: Config, folder: Path) -> Mapping[str, Proposer]:
        made: list[Proposer] = [FreeProposer(), FreeProposer(), Wordy(True), Wordy(True)]
        return dict(zip(sorted(config.agents), made, strict=True))

    done = replay(recording, tmp_path / "replayed", lambda *a, **k: None, proposers=wordy)
    assert done.differences == []
    assert references(tmp_path / "replayed") == references(recording)
    [note] = done.notes
    assert note.startswith(f"{done.exchanges} of the questions to models would be put otherwise")


def test_other_agents_leave_the_recording_and_are_told_where(
    recording: Path, tmp_path: Path, somebody_else: None
) -> None:
    def others(config: Config, folder: Path) -> Mapping[str, Proposer]:
        return dict.fromkeys(config.agents, FreeProposer())

    with pytest.raises(DarwinError, match=r"left the recording at 0001/a\d-on-a\d") as left:
        replay(recording, tmp_path / "replayed", lambda *a, **k: None, proposers=others)
    assert "another version" in left.value.hint
    assert git(tmp_path / "replayed", "for-each-ref", "refs/darwin/recording/") == ""


def test_a_recording_without_measurements_says_what_is_missing(recording: Path, play: Play) -> None:
    git(recording, "update-ref", "-d", names.NOTES_FITNESS)
    with pytest.raises(DarwinError, match="the recording has no screen of baseline"):
        play(recording)


def test_a_recording_with_other_tips_is_not_called_the_same(recording: Path, play: Play) -> None:
    tip = names.agent_ref("a1")
    made = git(recording, "commit-tree", "-p", tip, "-m", "By hand", f"{tip}^{{tree}}")
    git(recording, "update-ref", tip, made)
    git(recording, "update-ref", names.ARCHIVE + "0001/odd-on-a1", "trunk")
    done = play(recording)
    assert len(done.differences) == 2
    assert "0001/odd-on-a1 is missing" in done.differences[0]
    assert f"agent/a1 is {git(recording, 'rev-parse', made + '^')[:12]}" in done.differences[1]


def test_the_configuration_is_the_recorded_one_generation_by_generation(
    recording: Path, play: Play
) -> None:
    changed = SETTINGS.replace("seed = 7", "seed = 11")
    (recording / FILE_NAME).write_text(changed)
    with recording_world(recording) as world:
        state = world.history.state()
        assert state is not None
        step(world, state)
    done = play(recording)
    assert (done.differences, done.notes) == ([], [])
    assert (Path(done.folder) / FILE_NAME).read_text() == changed


def test_a_recording_without_a_configuration_says_so(recording: Path, play: Play) -> None:
    with Repository.open(recording) as repository:
        commits = git(recording, "rev-list", "--reverse", "--first-parent", names.LEDGER).split()
        parent: list[str] = []
        for commit in commits:  # as an older version would have kept it
            info = repository.commit_info(commit)
            tree = repository.splice(info.tree, {FILE_NAME: None, f"intent/{FILE_NAME}": None})
            parent = [repository.commit(tree, parent, info.subject)]
    git(recording, "update-ref", names.LEDGER, parent[0])
    with pytest.raises(DarwinError, match=r"the recording has no darwin\.toml") as none:
        play(recording)
    assert "git add" in none.value.hint


def test_the_command_line_replays_a_catalogues_run(tmp_path: Path, somebody_else: None) -> None:
    folder = tmp_path / "seed"
    shutil.copytree(package_file("seed_repo"), folder, ignore=shutil.ignore_patterns("*.pyc"))
    (folder / FILE_NAME).write_text("[population]\nbaseline_seeds = 4\n")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "Start"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    with recording_world(folder, without_keys) as world:
        commit = world.history.resolve("HEAD")
        assert commit is not None
        state = baseline(world, commit, {"tokens": 1000}, 4)
        state = step(world, state).after
        claim(world, state)
    place = tmp_path / "again"
    place.mkdir()
    run = [sys.executable, "-m", "darwin_git", "-C", str(place), "-q", "run"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
    done = subprocess.run(
        [*run, "--replay", "../seed", "--json"],
        capture_output=True,
        text=True,
        env=environment | {"TERM": "dumb"},
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["schema"] == "darwin-git/replay/1"
    assert (data["generations"], data["differences"]) == (1, [])
    assert references(place) == references(folder)
    again = subprocess.run([*run, "--replay", "../seed"], capture_output=True, text=True)
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    limited = subprocess.run([*run, "--replay", "x", "-n", "1"], capture_output=True, text=True)
    assert limited.returncode == 1
    assert "a replay ends where the recording ends" in limited.stderr


class Fragile(FreeTrials):
    """Fails as the scripted model's broken mutations do."""

    def screen(self, subject: Any, reference: Any, slot: Any) -> Screened:
        text = self._read(subject.commit)["model.py"]
        for pattern, says in (
            (r"relu\((h\d+)\)", "NameError: name {} is not defined"),
            (r"F\.(relu_squared\d+)", "AttributeError: module has no attribute {}"),
        ):
            found = re.search(pattern, text)
            if found:
                reason = says.format(repr(found[1]))
                return Screened(Verdict.CRASHED, reason, "runtime", f"Traceback\n{reason}\n")
        return super().screen(subject, reference, slot)


def test_a_run_of_models_is_made_again_without_a_key_or_a_server(
    tmp_path: Path, somebody_else: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recorded"
    shutil.copytree(package_file("seed_repo"), folder, ignore=shutil.ignore_patterns("*.pyc"))
    agents = "".join(f'[agents.a{n}]\nkind = "llm"\nmodel = "m{n}"\n' for n in (1, 2, 3))
    (folder / FILE_NAME).write_text("[population]\nbaseline_seeds = 4\n" + agents)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "Start"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    model = ScriptedModel(broken=0.5)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")

    def connected(config: Config, place: Path) -> Mapping[str, Proposer]:
        return Proposers(config, place, cast(Runner, object()))

    with ScriptedServer(lambda asked: Text(model(asked.text), usage=(900, 90))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with recording_world(folder, connected) as world:
            world.trials = Fragile(world.history.files)
            commit = world.history.resolve("HEAD")
            assert commit is not None
            state = baseline(world, commit, {"tokens": 1000}, 4)
            for _ in range(2):
                state = step(world, state).after
            claim(world, state)
            asked = len(server.requests)
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    done = replay(folder, tmp_path / "replayed", lambda *a, **k: None)
    assert (done.differences, done.notes) == ([], [])
    assert done.exchanges == asked >= 6
    assert model.counts["mended"]
    assert references(tmp_path / "replayed") == references(folder)
    trees = [
        git(place, "rev-parse", f"{names.EXCHANGE}^{{tree}}")
        for place in (folder, tmp_path / "replayed")
    ]
    assert trees[0] == trees[1]


def test_the_text_says_how_much_is_as_recorded() -> None:
    done = Replayed("here", "run.bundle", 3, 1, 12, 5, 90, 90)
    assert replayed(done.to_json()).splitlines() == [
        "replayed 3 generations and 1 certificate of run.bundle",
        "5 answers and 90 records, all as recorded",
        "12 commits, all as recorded",
    ]
    done.differences.append("refs/heads/darwin/champion is 1, recorded 2")
    assert "not as recorded: 1 difference" in replayed(done.to_json())
