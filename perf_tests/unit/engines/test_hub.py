"""Where the hub's own library looks, in an environment of every kind."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.cpu

THEIRS = """
import json, huggingface_hub
from huggingface_hub import constants
print(json.dumps([str(constants.HF_HUB_CACHE), huggingface_hub.get_token() or "", constants.ENDPOINT]))
"""
OURS = """
import json
from fixtures.engines import hub
print(json.dumps([str(hub.cache()), hub.token(), hub.endpoint()]))
"""


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "{}/hf"},
        {"HF_HOME": "$HOME/hf", "HF_TOKEN": " of-variable\n"},
        {"HF_HOME": "~/hf", "HF_TOKEN": ""},
        {"XDG_CACHE_HOME": "{}/xdg"},
        {"XDG_CACHE_HOME": "{}/xdg", "HF_HOME": "{}/hf"},
        {"HUGGINGFACE_HUB_CACHE": "{}/old", "HUGGING_FACE_HUB_TOKEN": "of-old-variable"},
        {"HF_HUB_CACHE": "~/new", "HUGGINGFACE_HUB_CACHE": "{}/old"},
        {"HF_TOKEN_PATH": "{}/elsewhere", "HF_ENDPOINT": "http://mirror/"},
    ],
    ids=str,
)
def test_cache_token_and_address_are_those_of_the_hubs_own_library(tmp_path, variables):
    for place in ("hf/token", "xdg/huggingface/token", ".cache/huggingface/token", "elsewhere"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(f"of-{place}\r\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {name: text.replace("{}", str(tmp_path)) for name, text in variables.items()}
    theirs, ours = (
        json.loads(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        )
        for code in (THEIRS, OURS)
    )
    assert ours == theirs
