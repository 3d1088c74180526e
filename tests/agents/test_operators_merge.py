"""Good operators found apart join by git's three-way merge, and what comes out learns."""

import itertools
import subprocess
from pathlib import Path

import pytest
import torch

from darwin_git.agents.operators import GenomeView

from .genomes import child, seed
from .test_operators_learn import build, load

GOOD = (
    "rotary",
    "qk_norm",
    "relu2",
    "muon",
    "wsd",
    "init_fan_in",
    "smear",
    "token_shift",
    "value_embed",
    "untie_head",
    "zero_proj",
    "rmsnorm",
    "half_batch",
    "lr_x2.5",
    "shallow_wide",
)
# Both insert at one place, or change one line.
CONFLICTS: set[frozenset[str]] = set()


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True
    )
    assert done.returncode <= 1, done.stderr
    return done.stdout if done.returncode == 0 else ""


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A repository with one commit for each good operator, all on the seed."""
    repository = tmp_path_factory.mktemp("merges")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "config", "user.name", "Test Person")
    git(repository, "config", "user.email", "person@example.invalid")

    def commit(view: GenomeView) -> str:
        for path, text in view.files.items():
            (repository / path).parent.mkdir(parents=True, exist_ok=True)
            (repository / path).write_text(text, encoding="utf-8")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", "x")
        return git(repository, "rev-parse", "HEAD").strip()

    base = commit(seed())
    made = {}
    for name in GOOD:
        made[name] = commit(child("seed", name))
        git(repository, "reset", "-q", "--hard", base)
    return repository, made


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(GOOD, 2)))
def test_two_good_operators_join(
    commits: tuple[Path, dict[str, str]], one: str, other: str
) -> None:
    repository, made = commits
    tree = git(repository, "merge-tree", "--write-tree", made[one], made[other]).strip()
    if frozenset((one, other)) in CONFLICTS:
        assert not tree, "it joins by now: take the pair out of CONFLICTS"
        return
    assert tree, "conflict"
    files = dict(seed().files)
    files["model.py"] = git(repository, "show", f"{tree}:model.py")
    model = build(load(GenomeView(files)))
    optimizer = model.configure_optimizers(0.1, 1e-2, (0.9, 0.95), "cpu")
    idx = torch.randint(17, (2, 8))
    model(idx, idx)[1].backward()
    optimizer.step()
    logits, _ = model(idx, idx)
    changed = idx.clone()
    changed[:, -1] = (idx[:, -1] + 1) % 17
    torch.testing.assert_close(model(changed, changed)[0][:, :-1], logits[:, :-1])
