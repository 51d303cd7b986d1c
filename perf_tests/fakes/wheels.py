"""Wheels of packages that hold a line of text, for a real pip without a network."""

import zipfile
from pathlib import Path


def wheel(directory: Path, name: str, version: str = "1.0", *needs: str, package: str = "", text: str = "") -> None:
    """Make a wheel of a package, or of a module called like its distribution; it asks for what it ``needs``."""
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as file:
        info = f"{name}-{version}.dist-info"
        file.writestr(f"{package}/__init__.py" if package else f"{name}.py", text)
        metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        metadata += [f"Provides-Extra: {one.split(chr(34))[1]}" for one in needs if "extra ==" in one]
        metadata += [f"Requires-Dist: {one}" for one in needs]
        file.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
