"""The deployments that tests write to a file: as TOML, from a head, a model and workloads."""

MODEL = """
[[models]]
name = "llama-3.1-8b-twin"
"""
HEAD = """
description = "a fake engine"
hardware = "cpu"
devices = 1
engines = ["vllm"]
tensor_parallel = [1]
"""
STARTUP = """
[[workloads]]
name = "startup"
kind = "startup"
"""


def workload(name: str, kind: str, **fields: object) -> str:
    """One workload, of 8 tokens in and 8 out unless said otherwise."""
    fields = {"input_len": 8, "output_len": 8} | fields
    return f'\n[[workloads]]\nname = "{name}"\nkind = "{kind}"\n' + "".join(f"{k} = {v}\n" for k, v in fields.items())


# A run of the suite that takes seconds.
FAKE = (
    HEAD
    + """\
max_model_len = 256
boot_timeout = 5
request_timeout = 2
gated = ["weight_memory", "kv_capacity", "latency", "peak_memory", "completed", "output_tokens"]
tolerances = { latency = 0.5, peak_memory = 0.5 }
"""
    + MODEL
    + STARTUP
    + workload("batch-1", "batch", batch_size=1, repetitions=3)
    + workload("batch-4", "batch", batch_size=4, repetitions=1)
)
# Completions that a boot of FAKE has served when batch-1 is measured: a pass of warm-up and three repetitions.
BATCH_1 = 4
BLOCK = "vllm/llama-3.1-8b-twin/tp1"
