"""What the mock server counts, told on /metrics as vLLM 0.26 to 0.33 or SGLang 0.5.17 to 0.5.23 tell it.

What it adds to the truth is for tests of what becomes of it: preemptions, time in a queue, prompts from a prefix cache, and
tokens that nobody asked for.
"""

import argparse
import collections
import time
from typing import Any

# Names of counters, by what is counted, and their labels. SGLang splits some by whether a request is streamed.
_VLLM = {
    "prompt_tokens": ("vllm:prompt_tokens_total", 'engine="0",model_name="m"'),
    "output_tokens": ("vllm:generation_tokens_total", 'engine="0",model_name="m"'),
    "cache_queries": ("vllm:prefix_cache_queries_total", 'engine="0",model_name="m"'),
    "cache_hits": ("vllm:prefix_cache_hits_total", 'engine="0",model_name="m"'),
    "preemptions": ("vllm:num_preemptions_total", 'engine="0",model_name="m"'),
    "queue": ("vllm:request_queue_time_seconds", 'engine="0",model_name="m"'),
    "ttft": ("vllm:time_to_first_token_seconds", 'engine="0",model_name="m"'),
    "itl": ("vllm:inter_token_latency_seconds", 'engine="0",model_name="m"'),
}
# There are none of these where no tokens are drafted.
_DRAFTS = {
    "drafts": ("vllm:spec_decode_num_drafts_total", 'engine="0",model_name="m"'),
    "draft_tokens": ("vllm:spec_decode_num_draft_tokens_total", 'engine="0",model_name="m"'),
    "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total", 'engine="0",model_name="m"'),
}
_SGLANG = {
    "prompt_tokens": ("sglang:prompt_tokens_total", 'is_streaming="{streaming}",model_name="m"'),
    "output_tokens": ("sglang:generation_tokens_total", 'is_streaming="{streaming}",model_name="m"'),
    "cache_hits": ("sglang:cached_tokens_total", 'cache_source="device",model_name="m"'),
    "preemptions": ("sglang:num_retracted_requests_total", 'model_name="m",tp_rank="0"'),
    "queue": ("sglang:queue_time_seconds", 'model_name="m",tp_rank="0"'),
    "ttft": ("sglang:time_to_first_token_seconds", 'is_streaming="{streaming}",model_name="m"'),
    "itl": ("sglang:inter_token_latency_seconds", 'model_name="m"'),
}
_HISTOGRAMS = ("queue", "ttft", "itl")


def drafted(args: argparse.Namespace, tokens: int, chunks: int) -> tuple[int, int, int]:
    """How often drafts of ``args.drafts`` tokens were verified for an answer, of how many tokens, and how many were right."""
    return chunks, args.drafts * chunks, tokens - chunks


class EngineMetrics:
    """Counts requests as an engine does. vLLM's counters are there from the start, SGLang's from their first observation on."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.names = _SGLANG if args.counts == "sglang" else _VLLM | (_DRAFTS if args.drafts else {})
        self.values: collections.defaultdict[tuple[str, str], float] = collections.defaultdict(float)
        if args.counts == "vllm":
            for name in self.names:
                self._count(name, 0.0, True, 0)
        self.requests = 0

    def ended(self, prompt: int, tokens: int, received: float, written: list[float], streaming: bool) -> None:
        """A request of so many tokens was answered at these times (CLOCK_MONOTONIC)."""
        if not self.args.counts:
            return
        self.requests += 1
        extra = self.args.counts_more
        self._count("prompt_tokens", prompt + extra, streaming)
        self._count("output_tokens", tokens + extra, streaming)
        if "cache_queries" in self.names:
            self._count("cache_queries", prompt, streaming)
        if hits := int(self.args.cache_hits * prompt):
            self._count("cache_hits", hits, streaming)
        if self.args.preempts and not self.requests % self.args.preempts:
            self._count("preemptions", 1, streaming)
        if "drafts" in self.names and tokens > 1:
            for name, counted in zip(_DRAFTS, drafted(self.args, tokens, len(written)), strict=True):
                self._count(name, counted, streaming)
        self._count("queue", self.args.queued, streaming)
        self._count("ttft", written[0] - received + self.args.counts_late, streaming)
        if tokens > 1 and len(written) > 1:
            steps = tokens - 1 if self.args.counts == "sglang" else len(written) - 1
            self._count("itl", written[-1] - written[0], streaming, steps)

    def lines(self) -> list[str]:
        """What /metrics says of it; Prometheus' client names the time of its first observation beside each."""
        lines = []
        for (name, labels), value in self.values.items():
            lines += [f"# TYPE {name} untyped", f"{name}{{{labels}}} {value}"]
        if self.values:
            lines.append(f"vllm:prompt_tokens_created{{{_VLLM['prompt_tokens'][1]}}} {time.time()}")
        return lines

    def _count(self, what: str, value: float, streaming: bool, times: int = 1) -> None:
        name, labels = self.names[what]
        labels = labels.format(streaming=str(streaming).lower())
        values: list[tuple[str, Any]] = [(f"{name}_sum", value), (f"{name}_count", times)]
        for key, number in values if what in _HISTOGRAMS else [(name, value)]:
            self.values[key, labels] += number
