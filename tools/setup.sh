#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a Debian 12 machine ready to build: installs missing packages where it may (as root, or by
# sudo without a password), else names them and stops; brings a LibTorch where there is none, and easy-VQA.
# Done in a fraction of a second when nothing is missing.
#
#   ESPALIER_PIP_ARGS   more arguments for pip, e.g. "--extra-index-url https://download.pytorch.org/whl/cpu"
#   LIBTORCH, Torch_DIR a LibTorch or PyTorch >= 2.11 of your own: nothing is installed then
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly torch_version=2.13.0  # what is installed
readonly torch_minimum=2.11    # what is accepted; the same number as in cmake/FindTorchWheel.cmake
readonly easy_vqa_version=1.0

# What CMake asks for, what draws the figures, and the typefaces of `espalier synth`.
readonly needed=(
  g++ cmake ninja-build pkg-config python3-venv
  nlohmann-json3-dev libsimdjson-dev libpcre2-dev libicu-dev libcli11-dev libfmt-dev
  libjpeg62-turbo-dev libpng-dev libwebp-dev libssl-dev libxxhash-dev libtomlplusplus-dev
  libgtest-dev libgmock-dev
  libcairo2-dev libpango1.0-dev libfontconfig-dev
  gnuplot-nox fonts-dejavu-core fonts-liberation fonts-freefont-ttf
)
# What makes building quicker and checks the style; nothing stops without these.
readonly helpful=(ccache mold clang-format-16)

say() { echo "setup: $*" >&2; }

# The packages among the arguments that are not installed.
missing() {
  local installed
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
    awk '$2 == "installed" { print $1 }' || true)
  comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<<"${installed}")
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: CMake will name what it misses of: ${needed[*]}"
    return
  fi
  local want wish
  mapfile -t want < <(missing "${needed[@]}")
  mapfile -t wish < <(missing "${helpful[@]}")
  if [[ ${#want[@]} -eq 0 && ${#wish[@]} -eq 0 ]]; then return; fi

  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  if [[ $(id -u) -ne 0 ]]; then
    if sudo -n true 2>/dev/null; then
      apt=(sudo -n "${apt[@]}")
    elif [[ ${#want[@]} -gt 0 ]]; then
      say "these packages are missing, and only root may install them. Please run:"
      say "  sudo apt-get update && sudo apt-get install --no-install-recommends ${want[*]}"
      if [[ ${#wish[@]} -gt 0 ]]; then say "and, for quick builds and the style check: ${wish[*]}"; fi
      exit 1
    else
      say "goes better with: sudo apt-get install --no-install-recommends ${wish[*]}"
      return
    fi
  fi
  if [[ ${#want[@]} -gt 0 ]]; then
    say "installing ${want[*]}"
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends "${want[@]}" >&2
  fi
  local package
  for package in "${wish[@]}"; do
    # A wish that this system's package lists do not know stays one.
    if ! { apt-cache show "${package}" >/dev/null 2>&1 &&
      "${apt[@]}" install -y --no-install-recommends "${package}" >&2; }; then
      say "goes on without ${package}"
    fi
  done
}

# Whether a folder is that of a LibTorch which is new enough.
is_libtorch() {
  local header=$1/include/torch/headeronly/version.h version
  [[ -n $1 && -f ${header} ]] || return 1
  version=$(awk '$2 ~ /^TORCH_VERSION_(MAJOR|MINOR)$/ { printf "%s%s", dot, $3; dot = "." }' "${header}")
  printf '%s\n%s\n' "${torch_minimum}" "${version}" | sort -CV
}

# The folder of the torch that a Python has; nothing if it has none.
torch_of() {
  "$1" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' \
    2>/dev/null || true
}

# The search order is that of cmake/FindTorchWheel.cmake.
install_torch() {
  local variable
  for variable in LIBTORCH Torch_DIR; do
    if [[ -z ${!variable:-} ]]; then continue; fi
    # Torch_DIR may point into share/cmake/Torch
    if is_libtorch "${!variable}" || is_libtorch "${!variable}/../../.."; then return; fi
    say "${variable} is ${!variable}, where there is no LibTorch >= ${torch_minimum}" \
      "(it has include/torch/headeronly/version.h). Mend or unset it."
    exit 1
  done
  if is_libtorch "$(torch_of .venv/bin/python)" || is_libtorch "$(torch_of python3)"; then return; fi

  say "no LibTorch >= ${torch_minimum} found: installing torch ${torch_version} into .venv"
  if [[ -z ${ESPALIER_PIP_ARGS:-} ]]; then
    say "(from PyPI that is the CUDA build, some 3 GB; for the CPU build set" \
      "ESPALIER_PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu')"
  fi
  python3 -m venv .venv
  # Unquoted: several arguments.
  # shellcheck disable=SC2086
  .venv/bin/python -m pip install --quiet --disable-pip-version-check ${ESPALIER_PIP_ARGS:-} \
    "torch==${torch_version}" >&2
  if ! is_libtorch "$(torch_of .venv/bin/python)"; then
    say "pip has installed a torch, but .venv holds no LibTorch >= ${torch_minimum}; remove .venv and try again"
    exit 1
  fi
}

# The public benchmark of the demo model's second domain: pictures and questions in a package of PyPI.
install_easy_vqa() {
  if .venv/bin/python -c 'import easy_vqa' 2>/dev/null; then return; fi
  if [[ ! -d .venv ]]; then python3 -m venv .venv; fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "easy_vqa==${easy_vqa_version}" >&2
}

install_packages
install_torch
install_easy_vqa
