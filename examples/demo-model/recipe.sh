# SPDX-License-Identifier: Apache-2.0
# Brief healing of the demo model, for `make demo` and measure.sh: what is kept of the conversations, and
# how they are learned. To be sourced.
# shellcheck disable=SC2034  # used where this is sourced
heal_mix=(--short 0.5 --keep math/rephrase=0.1 math/verify=0.1 math/formalize=0.2 scenes/entities=0.2
  scenes/grounding=0.2 easy-vqa=0.03)
heal=(--steps 40 --batch 64 --learning-rate 1e-3 --warmup 0.1 --normalize samples --workers "$(nproc)"
  --pack-tokens 2048)
