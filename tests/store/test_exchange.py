"""Exchanges: durable, readable by themselves, kept apart from whatever else lies there."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from darwin_git.domain import names
from darwin_git.domain.exchange import Exchange, Reply, Usage
from darwin_git.store.exchange import encoded, parsed, path_of
from darwin_git.store.history import GitHistory
from darwin_git.store.repository import Repository

PlainGit = Callable[..., str]

CPU_MS = 3.0
"""For one publish with 10 000 exchanges there; 6 on a machine that others use, too."""


def exchange(variant: str = "0003/a2-on-a1", number: int = 1, order: int = 1) -> Exchange:
    return Exchange(
        variant=variant,
        number=number,
        order=order,
        agent="a2",
        purpose="propose",
        request={"messages": [{"role": "user", "content": f"Mend {variant} \x1b[31m é \ud800"}]},
        reply=Reply("ok", "an answer", Usage(100, 20, None, 1.5, "api", 1), "stop", "gpt-x"),
    )


def test_an_exchange_can_be_read_by_plain_git_and_comes_back_as_it_was(
    repository: Repository, git: PlainGit
) -> None:
    history = GitHistory(repository)
    name = history.publish(exchange())
    path, _, blob = name.partition("@")
    assert path == "0003/a2-on-a1/1.json"
    assert git("rev-parse", f"{names.EXCHANGE}:{path}") == blob
    text = git("show", f"{names.EXCHANGE}:{path}")
    assert text.isascii()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "\n  " in text
    assert git("log", "--format=%s", names.EXCHANGE) == "a2 asked for 0003/a2-on-a1 (propose)"
    [found] = history.exchanges("0003/a2-on-a1")
    assert replace(found, digest="") == exchange()
    assert history.publish(found) == name  # said twice is written once
    assert git("rev-list", "--count", names.EXCHANGE) == "1"


def test_they_come_in_the_order_in_which_they_were_kept(repository: Repository) -> None:
    history = GitHistory(repository)
    assert history.exchanges("0003") == []
    made = [
        exchange("0003/a2-on-a1", 1, 2),
        exchange("0003/a2-on-a1", 2, 3),
        exchange("0003/a1-on-a2", 1, 1),
        exchange("0003/reflect", 1, 4),
        exchange("0004/a2-on-a1", 1, 1),
        exchange("10003/a2-on-a1", 1, 1),
    ]
    for one in made:
        history.publish(one)
    assert [(e.variant, e.number) for e in history.exchanges("0003")] == [
        ("0003/a1-on-a2", 1),
        ("0003/a2-on-a1", 1),
        ("0003/a2-on-a1", 2),
        ("0003/reflect", 1),
    ]
    assert [e.number for e in history.exchanges("0003/a2-on-a1")] == [1, 2]
    assert len(history.exchanges("")) == 6
    assert history.exchanges("0003/nobody") == history.exchanges("0009") == []


def test_an_answer_takes_the_place_of_an_outage_and_history_keeps_both(
    repository: Repository, git: PlainGit
) -> None:
    history = GitHistory(repository)
    down = replace(exchange(), reply=Reply("infra", reason="the server does not answer"))
    history.publish(down)
    history.publish(replace(exchange(), order=2))
    assert [e.reply.status for e in history.exchanges("0003")] == ["ok"]
    assert "does not answer" in git("show", f"{names.EXCHANGE}^:0003/a2-on-a1/1.json")


@pytest.mark.parametrize("bad", ["a2-on-a1", "0003/../x", "0003/A", "../0003/a", ""])
def test_a_name_that_is_no_variants_is_never_written(repository: Repository, bad: str) -> None:
    with pytest.raises(ValueError, match="variant"):
        GitHistory(repository).publish(exchange(bad))
    with pytest.raises(ValueError, match="from 1"):
        GitHistory(repository).publish(exchange(number=0))
    assert repository.commit_of(names.EXCHANGE) is None


def test_what_is_no_exchange_is_skipped_and_counted(repository: Repository, git: PlainGit) -> None:
    history = GitHistory(repository)
    history.publish(exchange())
    good = encoded(exchange())
    altered = json.loads(good)
    altered["request"]["messages"][0]["content"] = "another question"
    odd: dict[str, bytes] = {
        "0003/a2-on-a1/2.json": good,  # a copy under another name
        "0003/a2-on-a1/x.json": b"{",
        "0003/a3-on-a1/1.json": json.dumps(altered).encode(),
        "0003/a4-on-a1/1.json": b"[" * 100_000,
        "0003/README": b"\xff",
        "0003/a1-on-a2/1.json": b"[]",
        "deep/er/and/deep/er/still": b"",
        "0003/a1-on-a3/1.json": json.dumps({**json.loads(good), "reply": None}).encode(),
    }
    tip = git("rev-parse", names.EXCHANGE)
    tree = repository.splice(repository.commit_info(tip).tree, odd)
    foreign = repository.commit(tree, [tip], "Somebody else")
    git("update-ref", names.EXCHANGE, foreign)
    assert [e.number for e in history.exchanges("0003")] == [1]
    found, corrupt = repository.exchanges.scan()
    assert len(found) == 1
    assert len(corrupt) == len(odd)
    history.publish(exchange("0003/a1-on-a4"))
    assert len(history.exchanges("0003")) == 2


def test_two_that_publish_at_once_lose_nothing(repository: Repository, folder: Path) -> None:
    with Repository.open(folder) as other:
        first, second = GitHistory(repository), GitHistory(other)
        taken = repository.exchanges._files._update_ref.transact
        raced: list[int] = []

        def race(updates: object, /) -> None:
            if not raced:
                raced.append(1)
                second.publish(exchange("0003/a1-on-a2", 1, 1))
            taken(updates)  # type: ignore[arg-type]

        repository.exchanges._files._update_ref.transact = race  # type: ignore[method-assign]
        first.publish(exchange("0003/a2-on-a1", 1, 2))
    assert raced
    assert [e.variant for e in first.exchanges("0003")] == ["0003/a1-on-a2", "0003/a2-on-a1"]


def test_many_processes_publish_at_once(folder: Path, repository: Repository) -> None:
    script = """
        import sys
        from darwin_git.domain.exchange import Exchange, Reply
        from darwin_git.store.history import GitHistory
        from darwin_git.store.repository import Repository
        with Repository.open(sys.argv[1]) as repository:
            for n in range(1, 16):
                GitHistory(repository).publish(
                    Exchange(f"0001/a{sys.argv[2]}-on-a9", n, n, "a1", "propose", {}, Reply("ok"))
                )
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    running = [subprocess.Popen([*command, str(n)]) for n in (1, 2, 3)]
    assert [child.wait() for child in running] == [0, 0, 0]
    assert len(GitHistory(repository).exchanges("0001")) == 45


def test_killed_before_the_commit_the_answer_is_there_and_no_half_of_a_branch(
    folder: Path, repository: Repository, git: PlainGit
) -> None:
    script = """
        import os, signal, sys
        from darwin_git.domain.exchange import Exchange, Reply
        from darwin_git.store.history import GitHistory
        from darwin_git.store.repository import Repository
        repository = Repository.open(sys.argv[1])
        with repository.session():
            history = GitHistory(repository)
            history.publish(
                Exchange("0001/a2-on-a1", 1, 1, "a2", "propose", {}, Reply("ok", "the answer"))
            )
            tree = history.splice(repository.resolve("HEAD"), {"train.py": "lr = 1\\n"})
            def killed(updates):
                os.kill(os.getpid(), signal.SIGKILL)
            repository.notes._update_ref.transact = killed
            history.grow("0001/a2-on-a1", tree, [repository.resolve("HEAD")], "Try\\n",
                         ("a2", "a2@x.invalid"), trusted=False)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with repository.session():
        history = GitHistory(repository)
        [found] = history.exchanges("0001/a2-on-a1")
        assert found.reply.text == "the answer"
        assert history.tip("0001/a2-on-a1") is None
        tree = history.splice(repository.resolve("HEAD"), {"train.py": "lr = 1\n"})
        head = repository.resolve("HEAD")
        history.grow("0001/a2-on-a1", tree, [head], "Try\n", ("a2", "a@b.invalid"), trusted=False)
    assert git("show", "darwin/v/0001/a2-on-a1:train.py") == "lr = 1"
    assert git("fsck", "--no-dangling") == ""


@pytest.mark.parametrize("after", [0.02, 0.05, 0.09])
def test_killed_at_any_moment_the_files_are_whole(
    folder: Path, repository: Repository, after: float
) -> None:
    script = """
        import sys
        from darwin_git.domain.exchange import Exchange, Reply
        from darwin_git.store.history import GitHistory
        from darwin_git.store.repository import Repository
        with Repository.open(sys.argv[1]) as repository:
            print("ready", flush=True)
            for n in range(1, 5000):
                GitHistory(repository).publish(
                    Exchange("0001/a2-on-a1", n, n, "a2", "propose", {"q": "x" * 2000}, Reply("ok"))
                )
                print(n, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(after)
        os.kill(child.pid, signal.SIGKILL)
        said = child.stdout.read().split()
    with repository.session():
        found, corrupt = repository.exchanges.scan()
        assert corrupt == []
        assert len(found) in (len(said), len(said) + 1)
        GitHistory(repository).publish(exchange("0001/a1-on-a2"))


def test_a_publish_costs_the_same_among_ten_thousand(repository: Repository) -> None:
    files = {}
    for generation in range(1, 1251):
        for agent in range(1, 5):
            for number in (1, 2):
                one = exchange(f"{generation:04d}/a{agent}-on-a9", number, agent * number)
                files[path_of(one)] = b"{}"
    tree = repository.splice("4b825dc642cb6eb9a060e54bf8d69288fbee4904", files)
    start = repository.objects.commit(tree, [], "Ten thousand")
    repository.git.run("update-ref", names.EXCHANGE, start)
    assert len(files) == 10_000
    history = GitHistory(repository)
    long = {"messages": [{"role": "user", "content": "line of code\n" * 1500}]}
    before = time.process_time()
    for n in range(1, 2001):
        variant = f"{1250 + n // 8:04d}/a{n % 4 + 1}-on-a9"
        history.publish(replace(exchange(variant, n, n), request={**long, "n": n}))
    spent = (time.process_time() - before) / 2000 * 1000
    # A wide margin: what must not happen is that it grows with what is there already.
    assert spent < 5 * CPU_MS, f"{spent:.2f} ms of CPU"
    assert len(history.exchanges("1300")) == 8


def test_what_is_kept_is_what_was_said() -> None:
    assert parsed("0003/a2-on-a1/1.json", encoded(exchange())) is not None
    assert encoded(exchange()) == encoded(replace(exchange()))
    assert parsed("0003/a2-on-a1/1.json", encoded(exchange()).replace(b"an answer", b"other"))
    assert parsed("0003/a2-on-a1/01.json", encoded(exchange())) is None
