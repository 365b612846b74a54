#!/usr/bin/env bash
# Asks the public records of advisories about every package of constraints.txt and
# constraints-gpu.txt, or of the files that are given. Needs a network, to which names and versions
# go: pip-audit is installed into a folder that is removed again, and asks osv.dev. Ends with 1
# where an advisory is known, and where a package could not be asked about.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- "$here/constraints.txt" "$here/constraints-gpu.txt"

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet pip-audit
found=0
for list in "$@"; do
    echo "== $list"
    # The lists are complete: nothing is resolved, and no package is installed.
    "$tools/bin/pip-audit" --strict --vulnerability-service osv --no-deps --disable-pip \
        --requirement "$list" || found=1
    [ $found = 0 ] || echo "$list: an advisory is known, or could not be asked for: see above" >&2
done
exit $found
