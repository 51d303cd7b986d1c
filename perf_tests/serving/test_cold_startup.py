"""A boot with empty caches, and the next one with what it left in them."""

import pytest

pytestmark = pytest.mark.serving


@pytest.mark.cells("cold-startup")
def test_cold_startup(cell, measure):
    values = measure(cell).metrics
    missing = [name for name in ("cold_kv_capacity", "warm_kv_capacity") if name not in values]
    assert not missing, f"the engine does not report {', '.join(missing)}: look into its logs"
    assert values["cold_files"], "the boot left nothing in the caches that it was given: it may not have been cold"
