#!/bin/sh
# pip 26.3: a package whose installation was killed counts as installed ever after, and its commands are never made.
#
# Expected: what pip had not finished is finished by the next `pip install`, or at least named by `pip check`.
# Seen: pip unpacks a wheel with its METADATA and RECORD, then compiles the modules, which takes seconds for a large package, and
# makes the commands and INSTALLER last. Killed while it compiles, it says "Requirement already satisfied" the next time and ends
# with 0, and `pip check` finds nothing wrong: sympy has no `isympy`.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet pip==26.3
installed() { ls venv/lib/python3*/site-packages/sympy-1.14.0.dist-info/"$1" > /dev/null 2>&1; }
venv/bin/pip install --quiet sympy==1.14.0 &
while kill -0 $! && ! installed RECORD; do sleep 0.02; done
kill -KILL $!
wait $! || true
venv/bin/pip install sympy==1.14.0
venv/bin/pip check
if installed INSTALLER || [ -e venv/bin/isympy ]; then echo "it has changed"; exit 1; fi
venv/bin/pip install --quiet --force-reinstall --no-deps sympy==1.14.0
ls venv/bin/isympy
