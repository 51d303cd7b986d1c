"""The calibrated constants of hardware.toml, written in place: comments, layout and all other figures stay.

A figure that differs from the fit by no more than its last digit stays too, so that processors that round otherwise agree.
"""

import dataclasses
import functools
import re
import statistics

from fixtures.analytical import calibration
from fixtures.analytical.hardware import DATA, Figure, HostTerm, hardware
from perf_tests.documentation import calibrate
from perf_tests.documentation.calibrate import NEWEST_VLLM, SGLANG, SUSTAINED, VLLM, WHOLE

PAGE = DATA
DIGITS = 4
# Sections and keys with their values.
Constants = dict[tuple[str, str], float]


def filled(text: str) -> str:
    """hardware.toml with the constants and uncertainties that the evidence gives. Raises LookupError as its parts do."""
    return with_uncertainties(with_constants(text, constants()))


def with_constants(text: str, found: Constants) -> str:
    """hardware.toml with these constants. Raises LookupError for one that has no line there."""
    missing = set(found)
    section, lines = "", []
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            section = heading[1]
        place = section, line.partition(" = ")[0]
        taken = section.startswith("gpu.") and re.search(r'"(alike|unmeasured)"', line)
        if taken and place[1] in (*WHOLE, SUSTAINED):
            place = "gpu.h100", place[1]
        if place in found:
            missing.discard(place)
            line = _line(line, found[place])
        lines.append(line)
    if missing:
        places = ", ".join(f"{key} in [{section}]" for section, key in sorted(missing))
        raise LookupError(f"{DATA.name}: no line for {places}")
    return "\n".join(lines) + "\n"


def constants() -> Constants:
    """What the fits give, to DIGITS significant digits."""
    found: Constants = {}
    hosts = rounded(NEWEST_VLLM)
    for card, host in hosts.items():
        found |= {(f'platform."{NEWEST_VLLM}".several.{card}', name): value for name, value in _values(host).items()}
    for platform in (VLLM, SGLANG):
        hosts = rounded(platform)
        for card, host in hosts.items():
            found |= {(f'platform."{platform}".gpu.{card}', name): value for name, value in _values(host).items()}
        shared = [_values(host) for host in hosts.values()]
        every = {name: statistics.mean(host[name] for host in shared) for name in shared[0]}
        found |= {(f'platform."{platform}".every', name): _rounded(value) for name, value in every.items()}
    # On one card the newest stands where the one before does, but for an H100 among several, which has its card's distance.
    for card, host in rounded(VLLM).items():
        found |= {(f'platform."{NEWEST_VLLM}".gpu.{card}', name): value for name, value in _values(host).items()}
    slower = rounded(VLLM)["h100"].step_seconds.value - rounded(VLLM)["h200"].step_seconds.value
    for name, value in _values(rounded(NEWEST_VLLM)["h200"]).items():
        extra = slower if name == "step_seconds" else 0.0
        found[f'platform."{NEWEST_VLLM}".several.h100', name] = _rounded(value + extra)
    nine = calibration.fit(calibrate.document_points())
    for machine, seconds in nine.seconds.items():
        step, sequence = _rounded(seconds), _rounded(seconds * nine.slope)
        values = {"step": step, "sequence": sequence, "prefill": step, "request": sequence}
        found |= {(f"platform.document.gpu.{machine}", f"{name}_seconds"): value for name, value in values.items()}
    sustained = calibrate.fit_sustained({each: rounded(each) for each in (VLLM, SGLANG)})
    found |= {(f"gpu.{card}", SUSTAINED): value for card, value in sustained.items()}
    whole = dict(zip(WHOLE, calibrate.fit_whole({each: rounded(each) for each in (VLLM, NEWEST_VLLM)}), strict=True))
    return found | {(f"gpu.{card}", name): value for card in ("h100", "h200") for name, value in whole.items()}


@functools.cache
def rounded(platform: str) -> dict[str, HostTerm]:
    """The fitted host terms of a platform by card, as hardware.toml has them."""
    return {
        card: dataclasses.replace(
            host, **{name: Figure(_rounded(value), "calibrated", "") for name, value in _values(host).items()}
        )
        for card, host in calibrate.fitted(platform).items()
    }


def on_one(platform: str) -> HostTerm:
    """The host term of a platform on one H200, as hardware.toml has it."""
    return _on_one_card(platform)["h200"]


def _on_one_card(platform: str) -> dict[str, HostTerm]:
    """The host terms of a platform by card: the newest stands where the one before does."""
    routes = hardware().platform[platform].routes_padding
    hosts = rounded(VLLM if platform == NEWEST_VLLM else platform)
    return {card: dataclasses.replace(host, routes_padding=routes) for card, host in hosts.items()}


def _values(host: HostTerm) -> dict[str, float]:
    figures = {field.name: getattr(host, field.name) for field in dataclasses.fields(host)}
    return {name: figure.value for name, figure in figures.items() if isinstance(figure, Figure)}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _line(line: str, value: float) -> str:
    """A line with this value, unless the one that it has differs by no more than the last digit."""
    before = float(re.search(r"value = ([^,]+)", line)[1])
    if abs(value - before) <= 1.01 * _last_digit(value):
        return line
    return re.sub(r"value = [^,]+", f"value = {value:.{DIGITS}g}", line)


def _last_digit(value: float) -> float:
    return 10.0 ** (int(f"{value:e}".partition("e")[2]) - DIGITS + 1) if value else 0.0


def with_uncertainties(text: str) -> str:
    """hardware.toml with what the evidence gives. Raises LookupError for a section that isn't there."""
    several = calibrate.line("several_gpus", calibrate.uncertainty_on_several_gpus())
    unpacking = calibrate.line("unpacking", calibrate.uncertainty_of_unpacking(_on_one_card))
    text = _section(text, "uncertainty", [several, unpacking])
    for platform in (VLLM, NEWEST_VLLM, SGLANG):
        found = calibrate.uncertainties(calibrate.recorded(platform), rounded(platform), on_one(platform))
        lines = [calibrate.line(metric, one) for metric, one in sorted(found.items())]
        text = _section(text, f'uncertainty.platform."{platform}"', lines)
    return text


def _section(text: str, name: str, wanted: list[str]) -> str:
    """The same with ``wanted`` as the lines of a section; those that say the same but for the last digit stay."""
    head, heading, rest = text.partition(f"[{name}]\n")
    if not heading:
        raise LookupError(f"{DATA.name}: no section [{name}]")
    body, blank, tail = rest.partition("\n\n")
    before = {line.partition(" = ")[0]: line for line in body.splitlines()}
    lines = [old if _alike(old := before.get(line.partition(" = ")[0], ""), line) else line for line in wanted]
    return head + heading + "\n".join(lines) + (blank + tail or "\n")


def _alike(before: str, now: str) -> bool:
    number = r"error = ([\d.]+)"
    if re.sub(number, "", before) != re.sub(number, "", now):
        return False
    return abs(float(re.search(number, before)[1]) - float(re.search(number, now)[1])) <= 1.01e-4
