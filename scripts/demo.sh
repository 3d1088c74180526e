#!/bin/sh
# The main job on the embedded defaults: no key, no container engine, nothing outside ./demo.
set -eu

demo=${DEMO_DIR:-demo}
rm -rf "$demo"
# The demo's own repository needs an author; nobody's git configuration is touched.
export GIT_AUTHOR_NAME="${GIT_AUTHOR_NAME:-darwin-git demo}"
export GIT_AUTHOR_EMAIL="${GIT_AUTHOR_EMAIL:-demo@darwin-git.invalid}"
export GIT_COMMITTER_NAME="${GIT_COMMITTER_NAME:-darwin-git demo}"
export GIT_COMMITTER_EMAIL="${GIT_COMMITTER_EMAIL:-demo@darwin-git.invalid}"

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$@"; "$@"; }

run darwin-git init "$demo"
# A short run: 4 trainings measure the baseline, 4 fresh seeds the certificate (0.4 to 0.9 % of runs
# without any progress would claim some; benchmarks/README.md). Minimising the tip and the check at 4
# times the budget are left out: they would take longer than all else.
run sed -i.orig -e 's/^baseline_seeds = 8 /baseline_seeds = 4 /' \
  -e 's/^certificate = \[4, 8\] /certificate = [4] /' \
  -e 's/^minimise = true /minimise = false /' -e 's/^scale_check = 4.0 /scale_check = 0 /' \
  "$demo/darwin.toml"
rm "$demo/darwin.toml.orig"
run darwin-git -C "$demo" run --for "${DEMO_TIME:-4m30s}"
run darwin-git -C "$demo" report
run darwin-git -C "$demo" lineage
say "git -C $demo log --first-parent --notes=darwin/summary --stat -3 darwin/champion"
git -C "$demo" --no-pager log --first-parent --notes=darwin/summary --stat -3 darwin/champion
printf '\nReview the champion, change by change:\n  git -C %s log -p --first-parent --notes=darwin/summary %s..darwin/champion\n' \
  "$demo" "$(git -C "$demo" rev-parse --short main)"
