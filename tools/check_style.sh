#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The form of the sources: clang-format (where version 16 is installed), and the SPDX line within
# the first three lines. `tools/check_style.sh --fix` formats in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t cpp < <(find espalier tests benchmarks -name '*.h' -o -name '*.cpp' | sort)
mapfile -t scripts < <(find espalier tests benchmarks tools examples .ci Makefile \
  -name '*.py' -o -name '*.sh' -o -path .ci/run -o -name Makefile | sort)

status=0
if command -v clang-format-16 >/dev/null; then
  if [[ ${1:-} == --fix ]]; then clang-format-16 -i "${cpp[@]}"; fi
  if ! found=$(clang-format-16 --dry-run -Werror "${cpp[@]}" 2>&1); then
    sed -nE 's/^(.*:[0-9]+):[0-9]+: error: .*/\1/p' <<<"${found}" | sort -t: -k1,1 -u |
      sed 's/$/: not as clang-format has it; tools\/check_style.sh --fix mends it/' >&2
    status=1
  fi
else
  echo "check_style: no clang-format-16 here: the format is not checked" >&2
fi
for file in "${cpp[@]}" "${scripts[@]}"; do
  if ! head -n 3 "${file}" | grep -q 'SPDX-License-Identifier: Apache-2.0'; then
    echo "${file}:1: wants the line: SPDX-License-Identifier: Apache-2.0" >&2
    status=1
  fi
done
exit "${status}"
