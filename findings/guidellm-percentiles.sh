#!/bin/sh
# guidellm 0.8.1: its percentiles are observed values, and which one changes with rounding: of ten requests p90 is the slowest.
#
# Expected: percentiles as NumPy, vLLM's and SGLang's benchmarks have them, between two values; or always the same rank.
# Seen: of 1, 2 ... n the median is 5 of 10 and 11 of 20, p90 is 10 of 10 and 18 of 20, where NumPy has 5.5, 10.5, 9.1 and 18.1.
# Shares of 1/n are added up, and whether nine of ten reach 0.9 is a matter of their last bit: 0.8999999999999999 here. All
# latencies of its reports are made so. With two values the median is the smaller one.
set -eu
cd "$(mktemp -d)"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.4.6 pydantic==2.14.4 pydantic-settings==2.16.3 loguru==0.7.3 uvloop==0.23.0
venv/bin/pip install --quiet --no-deps guidellm==0.8.1 # the rest, torch with it, is for other modules
venv/bin/python - <<'EOF'
import numpy as np
from guidellm.schemas.base.statistics import DistributionSummary

found = {}
for n in (2, 10, 20):
    values = [float(i) for i in range(1, n + 1)]
    theirs = DistributionSummary.from_values(values).percentiles
    found[n] = (theirs.p50, theirs.p90)
    print(f"{n:2} values: median {theirs.p50:g}, p90 {theirs.p90:g}; NumPy {np.percentile(values, 50):g}, {np.percentile(values, 90):g}")
assert found == {2: (1, 2), 10: (5, 10), 20: (11, 18)}, "it has changed"
EOF
