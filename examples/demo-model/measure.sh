#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures the demo model: what it answers, what it answers blind, what is left of it when layers go, by
# every criterion and five random draws, and what brief healing gives back. Finished parts are not
# measured again.
#
#   examples/demo-model/measure.sh WORK [MODEL]     MODEL: examples/demo-model/model
#
# WORK/{gates,healed}/report.html show it all. Some quarter of an hour of two cores.
#
#   ESPALIER     the program (default: bin/espalier)
#   PYTHON       with easy_vqa (default: .venv/bin/python)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=examples/demo-model
work=${1:?a folder to work in}
model=${2:-${here}/model}
espalier=${ESPALIER:-bin/espalier}
python=${PYTHON:-.venv/bin/python}
mkdir -p "${work}"
source "${here}/recipe.sh"

draw() { # OUT ARGUMENTS...
  [[ -e ${work}/$1 ]] || "${espalier}" synth "${work}/$1" "${@:2}" --quiet
}

ask() { # RUN/eval/NAME MODEL ARGUMENTS...
  [[ -e ${work}/$1/scoreboard.json ]] || "${espalier}" eval "$2" --out "${work}/$1" "${@:3}" --quiet
}

easy_vqa() { # SPLIT
  [[ -e ${work}/easy-vqa-$1 ]] || "${python}" "${here}/make_data.py" easy-vqa "${work}/easy-vqa-$1" --split "$1"
}

# Problems are asked twice; the questions of either way are a domain of their own.
questions_of() { # FOLDER MATCH DOMAIN
  grep "\"match\":\"$2\"" "${work}/$1/questions.jsonl" | sed "s/\"domain\":\"[^\"]*\"/\"domain\":\"$3\"/" \
    >"${work}/$1/$3.jsonl"
}

# ---- what it can do, and what it can do blind
draw problems --domain math --count 9000 --split test --seed 101
draw scenes --domain scenes --count 1000 --split test --seed 102
easy_vqa test
questions_of problems exact answer
questions_of problems final working
everything=()
for file in problems/answer problems/working scenes/questions easy-vqa-test/questions; do
  everything+=(--questions "${work}/${file}.jsonl")
done
ask gates/eval/base "${model}" "${everything[@]}"
ask gates/eval/blind "${model}" "${everything[@]}" --limit 2000 --shuffle-pictures
"${espalier}" report "${work}/gates" --force --quiet

# ---- what is left without some of its layers
draw train-problems --domain math --count 200 --seed 103
draw train-scenes --domain scenes --count 100 --seed 104
easy_vqa train
# A hundred scenes and a hundred of easy-VQA's training questions, from all over the file: those of one
# picture stand together.
{
  sed 's|images/|train-scenes/images/|' "${work}/train-scenes/scenes.jsonl"
  awk 'NR % 385 == 0' "${work}/easy-vqa-train/questions.jsonl" | sed 's|images/|easy-vqa-train/images/|'
} >"${work}/nonmath.jsonl"
run=${work}/pruned
[[ -e ${run}/probe/probe.json ]] ||
  "${espalier}" probe "${model}" --domain "math=${work}/train-problems/math.jsonl" \
    --domain "nonmath=${work}/nonmath.jsonl" --out "${run}/probe" --quiet
"${espalier}" rank "${run}" --all --out "${run}/ranking.json" --force --quiet >"${run}/ranking.txt"
for seed in 0 1 2 3 4; do
  "${espalier}" rank "${run}" --criterion random --bootstrap 0 --seed "${seed}" \
    --out "${run}/random-${seed}.ranking" --force --quiet >/dev/null
done
asked=()
for file in problems/answer easy-vqa-test/questions; do
  asked+=(--questions "${work}/${file}.jsonl")
done
ask pruned/eval/base "${model}" "${asked[@]}" --limit 1000

# Sets that two criteria share are measured once.
measure() { # NAME RANKING CRITERION BUDGET
  local plan=${run}/$1.plan.json
  "${espalier}" prune "${model}" --ranking "$2" --criterion "$3" --budget "$4" --map-only \
    --out "${plan}" --force --quiet >/dev/null
  local removed
  removed=$("${python}" -c 'import json, sys; print("-".join(map(str, json.load(open(sys.argv[1]))["removed"])))' "${plan}")
  ask "pruned/eval/layers-${removed}" "${plan}" "${asked[@]}" --limit 1000
  printf '%s\t%s\t%s\n' "$3" "$4" "${removed}" >>"${run}/sets.tsv"
}
: >"${run}/sets.tsv"
for budget in 10 25 40; do
  for criterion in math nonmath mixed cka cka-sample interlace-paper interlace block-influence \
    angular window norm-ratio tail; do
    measure "${criterion}-${budget}" "${run}/ranking.json" "${criterion}" "${budget}%"
  done
  for seed in 0 1 2 3 4; do
    measure "random-${seed}-${budget}" "${run}/random-${seed}.ranking" random "${budget}%"
  done
done

# ---- what healing gives back of a quarter: 40 steps of LoRA, as in `make demo`
draw heal-problems --domain math --count 1500 --seed 5
draw heal-scenes --domain scenes --count 500 --seed 5
[[ -e ${work}/heal.jsonl ]] || "${python}" "${here}/make_data.py" mix --out "${work}/heal.jsonl" \
  --folders "${work}"/{heal-problems,heal-scenes,easy-vqa-train} "${heal_mix[@]}"

heal() { # NAME MODEL ARGUMENTS...
  grep -qs '"complete": true' "${work}/adapters/$1/training.json" ||
    "${espalier}" finetune "$2" --data "${work}/heal.jsonl" "${heal[@]}" \
      --cache-vision "${work}/vision-cache" --out "${work}/adapters/$1" --quiet "${@:3}"
  ask "healed/eval/$1" "$2" --adapter "${work}/adapters/$1" "${everything[@]}" --limit 1000
}

ask healed/eval/base "${model}" "${everything[@]}" --limit 1000
heal control "${model}"
for criterion in math nonmath; do
  plan=${run}/${criterion}-25.plan.json
  ask "healed/eval/${criterion}" "${plan}" "${everything[@]}" --limit 1000
  heal "${criterion}-sft" "${plan}"
  heal "${criterion}-kd" "${plan}" --teacher "${model}" --loss kd
done
"${espalier}" report "${work}/healed" --force --quiet
"${python}" "${here}/table.py" "${work}"
