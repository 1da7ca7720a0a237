#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What there is to see today: makes a tiny checkpoint in .demo/model, looks at it, and has it
# describe a picture. Run by `make demo`.
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

mkdir -p .demo
show bin/espalier init .demo/model --preset tiny --force
show bin/espalier inspect .demo/model
show bin/espalier generate .demo/model --image examples/pictures/espalier.png \
  --prompt "Describe this picture." --max-new-tokens 32 --seed 1

cat <<'TEXT'

The weights of this model are random: the run is real, the words mean nothing. With a released
Qwen3-VL checkpoint in the place of .demo/model the same command describes the picture.

Next: README.md for the commands, docs/architecture.md for how it is made, `make test` for proof.
TEXT
