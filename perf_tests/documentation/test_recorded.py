"""The model against what engines reported of themselves: in the evidence, and in whatever baselines are committed."""

import re

import pytest

from fixtures.analytical import memory
from fixtures.analytical.hardware import gpu
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.models.model import Model
from fixtures.store import baseline
from perf_tests.analytical.models import architecture
from perf_tests.documentation import evidence
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

GIB = 2**30
# On GPUs vLLM logs GiB with three digits; without one its workers are asked for bytes.
LOGGED = 0.05 * GIB
# Half the last digit that engines have logged of each of several ranks.
DIGIT = 0.005 * GIB
# By how much vLLM 0.33.0 counts less on each of several cards than is explained here: of four 8 to 18 MB of Llama and up to 11
# of Mixtral, of two 7 MB of Qwen3.
LESS = 0.012 * GIB
# By how much vLLM 0.33.0 counts more where it makes fp8 of bf16 while loading: 44.0 GiB of Mixtral are 0.21 to 0.31 more than
# its matrices. No tensor is left over: loaded scaled down on a host without a card, it has none but its parameters.
CONVERTED = 0.31 * GIB
# What PyTorch's allocator takes from the driver for a large tensor is a multiple of this, and vLLM counts what was taken.
PAGE = 2 * 2**20
# Kernels that unpack weights keep something of their own for every layer.
UNPACKED = 0.005
# Those for mxfp4 round gpt-oss's 2,880 up: by Marlin's on one card the whole takes up to 9% more, by Triton's on two up to 4%.
ROUNDED_UP = {1: 0.09, 2: 0.04}
MXFP4 = "gpt-oss-20b"
# SGLang reports by how much the memory in use has grown, in what its allocator takes from the driver.
GROWTH = 0.005

# Baselines that are also evidence once.
FILES = {
    path.read_bytes(): path for place in (ROOT / "baselines", evidence.SETS) for path in sorted(place.rglob("*.json"))
}.values()


def matrices(model, tp):
    """Bytes on each rank, in bf16, of the four matrices that vLLM makes of a dense layer, for each layer; none of experts."""
    width = model.hidden_size * 2
    for layer in model.layers:
        if not layer.sparse:
            yield (model.heads + 2 * model.kv_heads) * model.head_dim // tp * width
            yield model.heads * model.head_dim // tp * width
            yield 2 * layer.mlp_size // tp * width
            yield layer.mlp_size // tp * width


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join((*path.parts[-3:-1], path.stem)))
def test_weights_are_what_the_engine_reports(path):
    found = baseline.read(path)
    startups = {i: cell for i, cell in found.cells.items() if cell.workload["kind"] == "startup"}
    assert startups
    for cell_id, cell in startups.items():
        _, model, parallel, _ = cell_id.split("/")
        name, _, form = model.rpartition("-") if model.endswith(("-fp8", "-awq", "-gptq")) else (model, "", "bf16")
        if model == MXFP4:
            form, close = "mxfp4", 0.0
        elif gpu("h100").unpacks(precision(form)):
            close = UNPACKED
        else:
            close = GROWTH if cell_id.startswith("sglang/") else 1e-3
        sizes = re.fullmatch(r"tp(?P<tp>\d+)(?:dp(?P<dp>\d+))?(?:ep(?P<ep>\d+))?", parallel)
        spread = Parallel(**{key: int(size or 1) for key, size in sizes.groupdict().items()})
        weights = memory.weight_bytes_per_gpu(architecture(name), precision(form), spread)
        within = LOGGED if found.fingerprint["devices"] else 0
        if found.fingerprint["devices"] and spread.tp > 1 and model != MXFP4:
            # Every rank keeps the table of rotary embeddings whole, in float32.
            weights += Model.load(name, "test").config["max_position_embeddings"] * architecture(name).head_dim * 4
            weights += sum(-size % PAGE for size in matrices(architecture(name), spread.tp))
            close, within = 0.0, DIGIT if spread.tp == 2 and not name.startswith("qwen3") else DIGIT + LESS
        for boot in cell.boots:
            reported = boot.metrics["weight_memory"]
            if (
                "--quantization" in found.fingerprint["engine_options"]
                and boot.provenance["engine_version"] == "0.33.0"
            ):
                assert -within <= reported - weights <= CONVERTED
            elif model == MXFP4:
                assert weights <= reported <= weights * (1 + ROUNDED_UP[spread.tp])
            else:
                assert weights == pytest.approx(reported, rel=close, abs=within)
