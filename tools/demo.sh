#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The paper in small, on the trained model that ships with the project: it is probed on its two
# domains, ranked, pruned at three budgets by four methods, healed, and asked 200 held-out questions a
# domain before and after. Run by `make demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

demo=.demo
run=${demo}/run
model=${demo}/model
budgets=(10 25 40)
methods=(math nonmath mixed random)
source examples/demo-model/recipe.sh
heal+=(--cache-vision "${demo}/vision-cache")

title() { printf '\n== %s\n' "$1"; }

# Prints a command as one would type it.
tell() {
  printf '$'
  local word
  for word in "$@"; do
    if [[ ${word} == *[' ']* ]]; then printf ' "%s"' "${word}"; else printf ' %s' "${word}"; fi
  done
  printf '\n'
}

# Prints a command and runs it.
show() {
  tell "$@"
  "$@"
}

# Runs one of many: command and talk go to a file.
quiet() {
  tell "$@" >>"${demo}/log.txt"
  "$@" >>"${demo}/log.txt" 2>&1 || { tail -n 5 "${demo}/log.txt" >&2 && exit 1; }
}

# Asks a model the held-out questions, and prints a line: its name and what was right.
ask() { # NAME MODEL ARGUMENTS...
  quiet bin/espalier eval "$2" "${@:3}" --questions "${demo}/problems-test/questions.jsonl" \
    --questions "${demo}/scenes-test/questions.jsonl" --questions "${demo}/vqa-test/questions.jsonl" \
    --limit 200 --out "${run}/eval/$1"
  printf '%-22s' "$1"
  awk '$1 == "domain" { line = "" }
    $2 == "all" && $1 != "all" { line = line "  " $1 " " $4 }
    END { print line }' "${demo}/log.txt"
}

rm -rf "${demo}"
mkdir -p "${run}"

title "The model: a small Qwen3-VL that reads problems and scenes (examples/demo-model)"
cp -r examples/demo-model/model "${model}"
show bin/espalier inspect "${model}"

title "Pictures: problems, scenes and easy-VQA; what is asked is never what is learned"
tell bin/espalier synth "${demo}/problems" --domain math --count 1500 --seed 5
quiet bin/espalier synth "${demo}/problems" --domain math --count 1500 --seed 5
quiet bin/espalier synth "${demo}/scenes" --domain scenes --count 500 --seed 5
quiet bin/espalier synth "${demo}/problems-test" --domain math --count 100 --seed 6 --split test
quiet bin/espalier synth "${demo}/scenes-test" --domain scenes --count 50 --seed 6 --split test
for split in train test; do
  quiet .venv/bin/python examples/demo-model/make_data.py easy-vqa "${demo}/vqa-${split}" --split "${split}"
done
quiet .venv/bin/python examples/demo-model/make_data.py mix --out "${demo}/heal.jsonl" \
  --folders "${demo}/problems" "${demo}/scenes" "${demo}/vqa-train" "${heal_mix[@]}"
# A hundred of the training questions, from all over the file: those of one picture stand together.
awk 'NR % 385 == 0' "${demo}/vqa-train/questions.jsonl" | sed 's|images/|vqa-train/images/|' >"${demo}/nonmath.jsonl"
head -n 50 "${demo}/scenes/scenes.jsonl" | sed 's|images/|scenes/images/|' >>"${demo}/nonmath.jsonl"
show bin/espalier generate "${model}" --image "${demo}/problems-test/images/math/000003.png" --prompt "Work it out."
show bin/espalier generate "${model}" --image "${demo}/scenes-test/images/scenes/000003.png" --prompt "Caption."
tell bin/espalier eval "${model}" --questions "${demo}/problems-test/questions.jsonl" --out "${run}/eval/base"
ask base "${model}"

title "How much does each layer do, in either domain? Which can go?"
show bin/espalier probe "${model}" --domain "math=${demo}/problems/math.jsonl" \
  --domain "nonmath=${demo}/nonmath.jsonl" --limit 150 --out "${run}/probe"
show bin/espalier rank "${run}" --out "${run}/ranking.json"
bin/espalier rank "${run}" --all --quiet --out "${run}/ranking_all.json" >"${run}/ranking_all.txt"

title "Prune: four methods, three budgets, as plans of a few kilobytes; and ask each 200 questions a domain"
tell bin/espalier prune "${model}" --ranking "${run}/ranking.json" --criterion math --budget 25% --map-only \
  --out "${run}/math-25.plan.json"
tell bin/espalier eval "${run}/math-25.plan.json" --questions "${demo}/problems-test/questions.jsonl" \
  --out "${run}/eval/math-25"
for budget in "${budgets[@]}"; do
  for method in "${methods[@]}"; do
    quiet bin/espalier prune "${model}" --ranking "${run}/ranking.json" --criterion "${method}" \
      --budget "${budget}%" --map-only --out "${run}/${method}-${budget}.plan.json"
    ask "${method}-${budget}" "${run}/${method}-${budget}.plan.json"
  done
done

title "Heal each by 40 steps of LoRA; the unpruned model too, to see what the recipe itself does"
tell bin/espalier finetune "${run}/math-25.plan.json" --data "${demo}/heal.jsonl" "${heal[@]}" \
  --out "${demo}/adapters/math-25"
tell bin/espalier eval "${run}/math-25.plan.json" --adapter "${demo}/adapters/math-25" \
  --questions "${demo}/problems-test/questions.jsonl" --out "${run}/eval/math-25-healed"
quiet bin/espalier finetune "${model}" --data "${demo}/heal.jsonl" "${heal[@]}" --out "${demo}/adapters/control"
ask control "${model}" --adapter "${demo}/adapters/control"
for budget in "${budgets[@]}"; do
  for method in "${methods[@]}"; do
    name=${method}-${budget}
    quiet bin/espalier finetune "${run}/${name}.plan.json" --data "${demo}/heal.jsonl" "${heal[@]}" \
      --out "${demo}/adapters/${name}"
    ask "${name}-healed" "${run}/${name}.plan.json" --adapter "${demo}/adapters/${name}"
  done
  quiet bin/espalier finetune "${run}/mixed-${budget}.plan.json" --teacher "${model}" --loss kd \
    --data "${demo}/heal.jsonl" "${heal[@]}" --out "${demo}/adapters/mixed-${budget}-kd"
  ask "mixed-${budget}-healed-kd" "${run}/mixed-${budget}.plan.json" \
    --adapter "${demo}/adapters/mixed-${budget}-kd"
done

title "A checkpoint of its own: pruned by a quarter, proved, healed, merged"
show bin/espalier prune "${model}" --ranking "${run}/ranking.json" --budget 25% --out "${run}/pruned-25"
show bin/espalier verify "${run}/pruned-25" --against "${model}"
show bin/espalier merge "${run}/pruned-25" "${demo}/adapters/mixed-25-kd" --out "${demo}/healed-25"

title "All of it on one page"
show bin/espalier report "${run}"
cat "${run}/report_figures/accuracies.md"

cat <<TEXT

Look at ${run}/report.html. The pruned and healed checkpoint is ${demo}/healed-25; what forty other
criteria would remove is in ${run}/ranking_all.txt; what the commands said is in ${demo}/log.txt.

With a released Qwen3-VL checkpoint in the place of ${model}, and folders of your own pictures and
conversations, the same commands say which layers your work can spare.

Next: README.md for the commands, docs/architecture.md for how it is made, \`make test\` for proof.
TEXT
