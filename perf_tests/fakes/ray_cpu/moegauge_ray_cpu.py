"""A platform plugin of vLLM, loaded by its entry point: the CPU as a device that Ray counts. Imports nothing of the suite.

vLLM's CPU platform names no such device, and is refused on Ray (vllm/v1/executor/ray_utils.py: ``ray_device_key``). What Ray
calls a GPU is whatever ``ray start --num-gpus`` promises.
"""

from vllm.platforms.cpu import CpuPlatform


class RayCpuPlatform(CpuPlatform):
    ray_device_key = "GPU"


def register() -> str:
    return "moegauge_ray_cpu.RayCpuPlatform"
