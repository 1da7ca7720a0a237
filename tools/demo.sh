#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on what ships with the project: a small checkpoint with random weights is probed on
# drawn problems and scenes, ranked, pruned at the paper's three budgets, verified, and the result is
# shown as one page. Run by `make demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Prints a command as one would type it, and runs it.
show() {
  printf '\n$'
  local word
  for word in "$@"; do
    if [[ ${word} == *' '* ]]; then printf ' "%s"' "${word}"; else printf ' %s' "${word}"; fi
  done
  printf '\n'
  "$@"
}

rm -rf .demo
mkdir -p .demo/run
show bin/espalier init .demo/model --preset small
show bin/espalier inspect .demo/model
show bin/espalier generate .demo/model --image examples/demo/scenes/00.png \
  --prompt "Describe this picture." --max-new-tokens 24 --seed 1

show bin/espalier probe .demo/model --domain math=examples/demo/problems \
  --domain nonmath=examples/demo/scenes --out .demo/run/probe
show bin/espalier rank .demo/run --out .demo/run/ranking.json
for budget in 10 25 40; do
  show bin/espalier prune .demo/model --ranking .demo/run/ranking.json --budget "${budget}%" \
    --out ".demo/run/pruned-${budget}"
  show bin/espalier verify ".demo/run/pruned-${budget}" --against .demo/model
done
bin/espalier rank .demo/run --all --quiet --out .demo/run/ranking_all.json >.demo/run/ranking_all.txt
show bin/espalier report .demo/run

cat <<'TEXT'

Look at .demo/run/report.html. The smaller checkpoints are in .demo/run/pruned-*, the figures in
.demo/run/report_figures, and what forty other criteria would remove is in .demo/run/ranking_all.txt.

The weights of this model are random: the run is real, the ranking means nothing. Put a released
Qwen3-VL checkpoint in the place of .demo/model and folders of your own pictures in the place of
examples/demo, and the same commands say which layers your work can spare.

Next: README.md for the commands, docs/architecture.md for how it is made, `make test` for proof.
TEXT
