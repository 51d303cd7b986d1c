"""The shipped models as architectures, for tests."""

from fixtures.analytical.architecture import Architecture, from_config
from fixtures.models.model import Model


def architecture(name: str) -> Architecture:
    """A shipped model by name."""
    model = Model.load(name, "test")
    return from_config(model.config, name)


MIXTRAL = architecture("mixtral-8x7b")
LLAMA_8B = architecture("llama-3.1-8b")
LLAMA_70B = architecture("llama-3.1-70b")
