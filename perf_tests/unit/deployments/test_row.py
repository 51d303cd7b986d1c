"""The sizes of the work by kind of processor."""

import dataclasses

import pytest

from fixtures.deployments.cell import cells, in_turn
from fixtures.deployments.deployment import load
from fixtures.deployments.row import Row, fitting
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.hardware.fingerprint import fingerprint
from fixtures.hardware.host import INSTRUCTION_SETS
from fixtures.store import baseline
from perf_tests.fakes import deployments
from perf_tests.fakes.deployments import head, workload

pytestmark = pytest.mark.cpu


def shipped(instruction_set="avx512_bf16", cores=2):
    return load("cpu", ENGINES).on(instruction_set, cores)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("cores", [2, 3, 4, 64])
def test_every_processor_that_the_engine_runs_on_has_a_row(instruction_set, cores):
    found = shipped(instruction_set, cores)
    assert found.dtype == ("bfloat16" if "bf16" in instruction_set else "float32")
    assert found.row == f"{'bf16' if 'bf16' in instruction_set else 'float32'}-{2 if cores < 4 else 4}"
    assert ("idle_cores" in found.gated) == (cores < 4)
    assert [one.name for one in found.workloads] == [one.name for one in load("cpu", ENGINES).workloads]


@pytest.mark.parametrize(("instruction_set", "cores"), [("x86_64", 8), ("avx2", 1)])
def test_a_processor_without_a_row_is_refused_in_one_line(instruction_set, cores):
    with pytest.raises(
        UsageError, match=rf"deployment 'cpu': this processor has {instruction_set} and its cores are"
    ) as found:
        shipped(instruction_set, cores)
    assert len(str(found.value).splitlines()) == 1


def test_seats_are_the_same_at_every_size():
    options = shipped().options("vllm", "mixtral-8x7b-twin")
    seats = [int(one.partition("=")[2]) for one in options if one.startswith("--max-num-seqs=")]
    most = max(one.requests for one in shipped().workloads)
    assert seats == [128]
    assert most - seats[0] == 22, "what queues in offline-150"


def test_the_row_is_part_of_the_fingerprint_and_of_the_place(tmp_path):
    found = {}
    for one in (load("cpu", ENGINES), shipped(), shipped("avx2")):
        block = cells(one)[0].block
        prints = fingerprint(one, block, one.configuration(block.model), [])
        found[one.row] = (prints.get("row"), prints["dtype"], baseline.path_of(tmp_path, prints, "m"))
    place = tmp_path / "cpu"
    assert found == {
        "": (None, "bfloat16", place / "vllm-tp1-random" / "m.json"),
        "bf16-2": ("bf16-2", "bfloat16", place / "bf16-2" / "vllm-tp1-random" / "m.json"),
        "float32-2": ("float32-2", "float32", place / "float32-2" / "vllm-tp1-random" / "m.json"),
    }


def test_a_row_of_a_file_names_no_other_directory(tmp_path):
    one = shipped()
    block = cells(one)[0].block
    prints = fingerprint(one, block, one.configuration(block.model), []) | {"row": "../.."}
    assert baseline.path_of(tmp_path, prints, "m").is_relative_to(tmp_path / "cpu")


def test_what_was_recorded_keeps_its_row():
    assert load("cpu", ENGINES).on("avx512_bf16", 2, "float32-4").row == "float32-4"


def test_the_row_with_the_most_cores_that_are_there_is_taken():
    rows = [Row(str(cores), ("avx2",), cores, "float32") for cores in (1, 2, 8)]
    assert [fitting(rows, "avx2", cores, "x").name for cores in (1, 3, 8, 100)] == ["1", "2", "8", "8"]


ROW = '[[rows]]\nname = "a"\ninstruction_sets = ["avx2"]\ncores = 1\ndtype = "float32"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW + "requests = { other = 3 }\n", "names the unknown workload 'other'"),
        (ROW + "repetitions = { startup = 0 }\n", "startup: expected 1 or more, found 0"),
        (ROW + 'ungated = ["idle_cores"]\n', "'idle_cores' is not among the gated metrics"),
        (ROW + ROW, "two have the same name"),
        (ROW.replace("cores = 1", "cores = 0"), "one core or more"),
    ],
)
def test_a_wrong_row_is_a_usage_error(tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        deployments.load(tmp_path, head() + text + workload("startup", "startup"))


def test_models_in_turn_are_contiguous_size_by_size():
    blocks = list(dict.fromkeys(cell.block for cell in cells(shipped())))
    assert [(one.model, one.tensor_parallel) for one in blocks] == [
        ("llama-3.1-8b-twin", 1),
        ("mixtral-8x7b-twin", 1),
        ("llama-3.1-8b-twin", 2),
    ]
    assert in_turn(shipped(), blocks[0]) == in_turn(shipped(), blocks[1]) == blocks[:2]
    assert in_turn(shipped(), blocks[2]) == blocks[2:]
    assert in_turn(dataclasses.replace(shipped(), in_turn=False), blocks[0]) == blocks[:1]
