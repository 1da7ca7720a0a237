#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Trains the demo model from random weights, in stages; README.md says why these. Each stage goes on
# where it was cut off: run the script again. Some seven hours of two cores.
#
#   examples/demo-model/train.sh WORK     WORK holds data, runs and models; 13 GB
#
#   ESPALIER     the program (default: bin/espalier)
#   PYTHON       with requirements.txt (default: .venv/bin/python)
#   WORKERS      packs at a time (default: 2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

here=examples/demo-model
work=${1:?a folder to work in}
espalier=${ESPALIER:-bin/espalier}
python=${PYTHON:-.venv/bin/python}
workers=${WORKERS:-2}
mkdir -p "${work}"

kinds=one-digit-sum=2,one-digit-difference=2,one-digit-product=3,two-digit-sum=6,two-digit-difference=6
kinds+=,three-terms=5,unknown=6,comparison=2,table=2


# Makes a path once and whole: the command's last argument is where it writes.
make_once() { # PATH COMMAND...
  [[ -e $1 ]] && return
  rm -rf "$1.partial"
  "${@:2}" "$1.partial"
  mv "$1.partial" "$1"
}

draw() { # OUT ARGUMENTS...
  [[ -e ${work}/$1 ]] || "${espalier}" synth "${work}/$1" "${@:2}" --quiet
}

mix() { # OUT FOLDERS... -- ARGUMENTS...
  local out=$1 folders=()
  shift
  while [[ $1 != -- ]]; do folders+=("${work}/$1") && shift; done
  make_once "${work}/${out}" "${python}" "${here}/make_data.py" mix --folders "${folders[@]}" "${@:2}" --out
}

# Trains a whole model: STAGE FROM STEPS BATCH MUON_RATE FLOOR DATA...
train() {
  local stage=$1 from=$2 steps=$3 batch=$4 rate=$5 floor=$6 data=()
  local file
  for file in "${@:7}"; do data+=(--data "${work}/${file}"); done
  [[ -e ${work}/${stage} ]] && return
  "${espalier}" finetune "${work}/${from}" --train all "${data[@]}" --out "${work}/run-${stage}" \
    --merge-to "${work}/${stage}" --optimizer muon --muon-rate "${rate}" \
    --learning-rate "$(awk -v rate="${rate}" 'BEGIN { print rate / 10 }')" --weight-decay 0.01 \
    --warmup 0.03 --floor "${floor}" --normalize samples --batch "${batch}" --steps "${steps}" \
    --pack-tokens "$((batch * 24))" --workers "${workers}"
}

# ---- data
draw corpus --domain all --count 3000 --seed 9
draw corpus-text --domain math --text --count 3000 --seed 9
draw written --domain math --text --count 60000 --seed 1 --kinds "${kinds}"
draw problems --domain math --count 200000 --seed 11 --kinds "${kinds}"
draw two-digit --domain math --count 60000 --seed 13 --kinds two-digit-sum=1,two-digit-difference=1
draw scenes --domain scenes --count 50000 --seed 12
draw problems-2 --domain math --count 80000 --seed 15 \
  --kinds one-digit-sum=2,one-digit-difference=1,one-digit-product=3,unknown=5,table=3
draw scenes-2 --domain scenes --count 50000 --seed 14
draw written-2 --domain math --text --count 40000 --seed 2 --kinds unknown=3,one-digit-product=1
draw problems-3 --domain math --count 80000 --seed 17 --kinds "one-digit-sum=4,one-digit-difference=1,\
one-digit-product=4,two-digit-sum=2,two-digit-difference=3,three-terms=2,unknown=6,table=1,comparison=1"
draw scenes-3 --domain scenes --count 60000 --seed 16
draw written-3 --domain math --text --count 40000 --seed 3 \
  --kinds unknown=5,one-digit-product=1,two-digit-difference=1,three-terms=1
draw problems-4 --domain math --count 60000 --seed 18 --kinds "one-digit-sum=3,one-digit-difference=1,\
one-digit-product=3,two-digit-sum=2,two-digit-difference=2,three-terms=2,unknown=6,table=2,comparison=1"
draw scenes-4 --domain scenes --count 80000 --seed 19
draw written-4 --domain math --text --count 60000 --seed 4 \
  --kinds unknown=6,two-digit-difference=1,three-terms=1,one-digit-product=1
draw problems-5 --domain math --count 50000 --seed 20 --kinds "one-digit-sum=1,one-digit-difference=1,\
one-digit-product=3,two-digit-sum=2,two-digit-difference=2,three-terms=2,unknown=6,table=1,comparison=1"
draw scenes-5 --domain scenes --count 60000 --seed 21
draw written-5 --domain math --text --count 25000 --seed 5 \
  --kinds unknown=4,two-digit-difference=1,three-terms=1,one-digit-product=1
make_once "${work}/easy-vqa" "${python}" "${here}/make_data.py" easy-vqa --split train
make_once "${work}/strips-1" "${python}" "${here}/make_data.py" read --count 25000
make_once "${work}/strips-2" "${python}" "${here}/make_data.py" read --count 25000 --seed 1

mix corpus.jsonl corpus corpus-text -- --short 0.5
mix text.jsonl written -- --short 0.9 --keep math/rephrase=0.05 math/formalize=0.15 math/verify=0.05
mix see.jsonl problems scenes easy-vqa -- --short 0.95 --seed 1 --keep math/formalize=0.6 \
  math/direct=0.1 math/cot=0.05 math/rephrase=0.02 math/verify=0.02 scenes/caption=0.5 \
  scenes/counting=0.2 scenes/entities=0.1 scenes/grounding=0.1 scenes/count-by-shape=0.05 \
  scenes/count-by-colour=0.05
mix signs.jsonl problems scenes easy-vqa -- --short 0.95 --seed 2 --keep math/formalize=0.27 \
  math/direct=0.045 math/cot=0.022 math/rephrase=0.009 math/verify=0.009 scenes/caption=0.22 \
  scenes/counting=0.09 scenes/entities=0.045 scenes/grounding=0.045 scenes/count-by-shape=0.022 \
  scenes/count-by-colour=0.022 easy-vqa=0.45
mix read.jsonl problems scenes easy-vqa easy-vqa -- --short 0.95 --seed 3 --keep math/formalize=0.3 \
  math/direct=0.06 math/cot=0.06 math/rephrase=0.02 math/verify=0.02 scenes/caption=0.6 \
  scenes/counting=0.4 scenes/entities=0.15 scenes/grounding=0.1 scenes/count-by-shape=0.4 \
  scenes/count-by-colour=0.5
mix joint-1.jsonl problems scenes easy-vqa easy-vqa -- --short 0.85 --seed 5 --keep math/formalize=0.1 \
  math/cot=0.8 math/rephrase=0.02 math/verify=0.02 scenes/counting=0.4 scenes/entities=0.05 \
  scenes/grounding=0.05 scenes/count-by-shape=0.15 scenes/count-by-colour=0.15
mix joint-2.jsonl problems scenes scenes easy-vqa easy-vqa -- --short 0.85 --seed 6 \
  --keep math/formalize=0.1 math/cot=0.55 math/direct=0.7 math/rephrase=0.01 math/verify=0.01 \
  scenes/counting=0.4 scenes/entities=0.1 scenes/grounding=0.1 scenes/count-by-shape=0.15 \
  scenes/count-by-colour=0.15
mix joint-3.jsonl problems scenes scenes easy-vqa easy-vqa -- --short 0.7 --seed 7 \
  --keep math/formalize=0.4 math/cot=0.5 math/direct=0.4 math/rephrase=0.02 math/verify=0.02 \
  scenes/counting=0.4 scenes/entities=0.1 scenes/grounding=0.1 scenes/count-by-shape=0.15 \
  scenes/count-by-colour=0.15
mix joint-4.jsonl problems scenes scenes easy-vqa easy-vqa -- --short 0.6 --seed 8 \
  --keep math/formalize=0.3 math/cot=0.6 math/direct=0.8 math/rephrase=0.02 math/verify=0.02 \
  scenes/counting=0.4 scenes/entities=0.1 scenes/grounding=0.1 scenes/count-by-shape=0.2 \
  scenes/count-by-colour=0.2
mix joint-5.jsonl problems two-digit scenes easy-vqa easy-vqa -- --short 0.6 --seed 9 \
  --keep math/formalize=0.15 math/cot=0.45 math/direct=0.7 math/rephrase=0.02 math/verify=0.02 \
  scenes/counting=0.4 scenes/entities=0.1 scenes/grounding=0.1 scenes/count-by-shape=0.2 \
  scenes/count-by-colour=0.2
mix text-joint.jsonl written -- --short 0.95 --seed 4 --keep math/formalize=0.05 math/cot=0.3 \
  math/direct=0.6 math/rephrase=0.02 math/verify=0.02
mix joint-6.jsonl problems-2 scenes-2 -- --short 0.6 --seed 10 --keep math/formalize=0.2 \
  math/cot=0.5 math/direct=0.5 math/rephrase=0.01 math/verify=0.01 scenes/counting=0.2 \
  scenes/entities=0.05 scenes/grounding=0.05 scenes/count-by-shape=0.3 scenes/count-by-colour=0.4
mix joint-6-seen.jsonl problems two-digit scenes easy-vqa -- --short 0.6 --seed 11 \
  --keep math/formalize=0.04 math/cot=0.12 math/direct=0.15 math/rephrase=0.01 math/verify=0.01 \
  scenes/counting=0.1 scenes/entities=0.02 scenes/grounding=0.02 scenes/count-by-shape=0.1 \
  scenes/count-by-colour=0.1 easy-vqa=0.4
mix text-joint-6.jsonl written-2 -- --short 0.95 --seed 12 --keep math/formalize=0.02 math/cot=0.6 \
  math/direct=0.6 math/rephrase=0.01 math/verify=0.01
mix joint-7.jsonl problems-3 scenes-3 -- --short 0.6 --seed 13 --keep math/formalize=0.3 math/cot=0.6 \
  math/direct=0.6 math/rephrase=0.01 math/verify=0.01 scenes/counting=0.05 scenes/entities=0.02 \
  scenes/grounding=0.02 scenes/count-by-shape=0.1 scenes/count-by-colour=0.1
mix joint-7-seen.jsonl problems two-digit scenes scenes-2 easy-vqa -- --short 0.6 --seed 14 \
  --keep math/formalize=0.02 math/cot=0 math/direct=0.1 math/rephrase=0.01 math/verify=0.01 \
  scenes/caption=0.5 scenes/counting=0.03 scenes/entities=0.01 scenes/grounding=0.01 \
  scenes/count-by-shape=0.03 scenes/count-by-colour=0.03 easy-vqa=0.3
mix text-joint-7.jsonl written-3 -- --short 0.95 --seed 15 --keep math/formalize=0.02 math/cot=0.8 \
  math/direct=0.3 math/rephrase=0.01 math/verify=0.01
mix joint-8.jsonl problems-4 scenes-4 -- --short 0.6 --seed 16 --keep math/formalize=0.2 math/cot=0.6 \
  math/direct=0.6 math/rephrase=0.01 math/verify=0.01 scenes/counting=0.03 scenes/entities=0.01 \
  scenes/grounding=0.01 scenes/count-by-shape=0.12 scenes/count-by-colour=0.12
mix joint-8-seen.jsonl problems two-digit scenes easy-vqa -- --short 0.6 --seed 17 \
  --keep math/formalize=0.01 math/cot=0 math/direct=0.04 math/rephrase=0.002 math/verify=0.002 \
  scenes/caption=0.2 scenes/counting=0.02 scenes/entities=0.002 scenes/grounding=0.002 \
  scenes/count-by-shape=0.03 scenes/count-by-colour=0.03 easy-vqa=0.25
mix text-joint-8.jsonl written-4 -- --short 0.95 --seed 18 --keep math/formalize=0.02 math/cot=0.8 \
  math/direct=0.1 math/rephrase=0.01 math/verify=0.01
mix joint-9.jsonl problems-5 scenes-5 -- --short 0.6 --seed 19 --keep math/formalize=0.25 math/cot=0.65 \
  math/direct=0.55 math/rephrase=0.01 math/verify=0.01 scenes/counting=0.04 scenes/entities=0.01 \
  scenes/grounding=0.01 scenes/count-by-shape=0.08 scenes/count-by-colour=0.08
mix joint-9-seen.jsonl two-digit scenes-4 easy-vqa -- --short 0.6 --seed 20 --keep math/formalize=0.01 \
  math/cot=0.03 math/direct=0.03 math/rephrase=0.002 math/verify=0.002 scenes/caption=0.15 \
  scenes/counting=0.01 scenes/entities=0.002 scenes/grounding=0.002 scenes/count-by-shape=0.01 \
  scenes/count-by-colour=0.01 easy-vqa=0.2
mix text-joint-9.jsonl written-5 -- --short 0.95 --seed 21 --keep math/formalize=0.02 math/cot=0.7 \
  math/direct=0.1 math/rephrase=0.01 math/verify=0.01

# ---- stages
[[ -e ${work}/tiny ]] || "${espalier}" init "${work}/tiny" --preset tiny --quiet
[[ -e ${work}/start ]] || "${python}" "${here}/make_start.py" "${work}/tiny" "${work}/start" \
  --corpus "${work}/corpus.jsonl" "${work}/easy-vqa/conversations.jsonl"
# To calculate, from text.
train text start 450 128 0.015 0.3 text.jsonl
# To see, with four of the layers, which costs a third.
[[ -e ${work}/shallow ]] || "${espalier}" prune "${work}/text" \
  --layers 3,4,5,6,7,8,9,10,11,12,13,14 --out "${work}/shallow" --quiet
train see shallow 600 256 0.015 0.1 see.jsonl
train signs see 700 256 0.015 0.1 strips-1/conversations.jsonl strips-2/conversations.jsonl signs.jsonl
train read signs 600 256 0.006 0.1 strips-1/conversations.jsonl read.jsonl
# Both, with all layers. More captions from the second stage on, more reading in the third, where the
# rate goes down to zero; then once more from half of it.
make_once "${work}/grown" "${python}" "${here}/grow.py" "${work}/text" "${work}/read"
train joint-1 grown 1278 128 0.008 0.85 joint-1.jsonl text-joint.jsonl
train joint-2 joint-1 1087 128 0.008 0.82 joint-2.jsonl text-joint.jsonl
train joint-3 joint-2 600 128 0.007 0 joint-3.jsonl text-joint.jsonl
train joint-4 joint-3 2000 128 0.004 0 joint-4.jsonl text-joint.jsonl
# To see better: the tower made twice as deep, and taught with heads that are thrown away. Then both again.
make_once "${work}/tower" "${python}" "${here}/tower.py" --steps 9000 "${work}/joint-4" \
  --strips "${work}"/{strips-1,strips-2,problems} --shapes "${work}"/{scenes,easy-vqa} --out
train joint-5 tower 4300 128 0.006 0 joint-5.jsonl text-joint.jsonl
# On new pictures, mostly of what was still wrong, each time from a lower rate down to zero.
train joint-6 joint-5 2900 128 0.005 0 joint-6.jsonl joint-6-seen.jsonl text-joint-6.jsonl
train joint-7 joint-6 2600 128 0.004 0 joint-7.jsonl joint-7-seen.jsonl text-joint-7.jsonl
train joint-8 joint-7 1900 128 0.003 0 joint-8.jsonl joint-8-seen.jsonl text-joint-8.jsonl
train joint-9 joint-8 1350 128 0.003 0 joint-9.jsonl joint-9-seen.jsonl text-joint-9.jsonl
