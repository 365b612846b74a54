"""Models from the Hugging Face hub."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import ModelError
from orchestrator.models.folder import MODEL_FILES, check_folder, model_files
from orchestrator.models.known import accepted, suggestion
from orchestrator.storage.disk import disk_error

HUB_SECONDS = 10  # until the hub counts as unreachable
PULL_REQUESTS = 10  # the newest, that are looked through for safetensors
Answer = TypeVar("Answer")


def save_hub_model(name: str, revision: str | None, folder: Path, scratch: Path) -> str:
    """Copy a model from the hub to `folder`; returns the commit that its revision stands for now.

    The download goes through Hugging Face's own cache, not `scratch`: an interrupted one
    continues, and a model that another program has fetched is not fetched again.

    Raises:
        ModelError: no hub, no such model, a gated one, or one that is not safe to load.
        DiskError: the disk of the cache is full.
    """
    commit = check_hub_access(name, revision)
    cached = _ask(name, lambda: _download(name, commit))
    for path in model_files(cached):
        target = folder / path.relative_to(cached)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    try:
        check_folder(folder, f"the model {name} on the hub")
    except ModelError as error:
        if any(folder.glob("*.safetensors")):
            raise
        raise ModelError(f"{error}{_conversions(name)}") from None
    return commit


def check_hub_access(name: str, revision: str | None = None) -> str:
    """The commit that a revision stands for now, where the hub lets this user read its files.

    Args:
        revision: a commit, branch or tag; None: the main branch.

    Raises:
        ModelError: no hub, no such model or revision, or one whose licence or token is missing.
    """
    return _ask(name, lambda: _commit(name, revision))


def _conversions(name: str) -> str:
    """Names the pull requests that bring safetensors, the newest first.

    The hub opens one for a model of pickled weights. It is not taken unasked: anybody may open one.
    """
    found = _ask(name, lambda: _pull_requests(name))
    if not found:
        return ""
    named = ", ".join(f"{name}@{ref}" for ref in found)
    return (
        f". On the hub there are some as pull requests: {named}. Anybody may open "
        "one: look at who did (the hub's own converter is SFconvertbot), and name it as the model, "
        "or as model.revision"
    )


def _pull_requests(name: str) -> list[str]:
    from huggingface_hub import HfApi

    hub = HfApi()
    refs = hub.list_repo_refs(name, include_pull_requests=True).pull_requests or []
    newest = sorted(refs, key=lambda ref: -int(ref.ref.rpartition("/")[2]))[:PULL_REQUESTS]
    return [
        ref.ref
        for ref in newest
        if any(
            file.endswith(".safetensors")
            for file in hub.list_repo_files(name, revision=ref.target_commit)
        )
    ]


def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    # Asked apart: the download has no such limit, and would hang where packets are dropped.
    model = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
    if model.gated:  # the facts of a gated model are public, its files are not
        HfApi().auth_check(name)
    return str(model.sha)


def _download(name: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(MODEL_FILES)))


def _ask(name: str, question: Callable[[], Answer]) -> Answer:
    """What the hub answers, or a ModelError that says what to do, without the user's token."""
    # Imported here: it takes half a second, and the command line must start fast.
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return question()
    except GatedRepoError:
        problem = f"the model {name} is gated. {_right(name)}"
    except RevisionNotFoundError:
        problem = (
            f"the model {name} has no such revision: type a commit, or a branch or tag that stands "
            f"under Files and versions at {constants.ENDPOINT}/{name}/tree/main"
        )
    except RepositoryNotFoundError:
        problem = (
            f"{name} is no alias, no folder here, and no model that the hub shows to you (a "
            f"private one needs HF_TOKEN).{suggestion(name)}\n{accepted()}"
        )
    except Exception as error:  # whatever the network stack raises: it all means no model
        if full := disk_error(error, Path(constants.HF_HUB_CACHE)):
            raise full from None
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            problem = f"the hub refuses the model {name}. {_right(name)}"
        else:
            cause = f"{type(error).__name__}: {error}"
            if token := get_token():  # the server's answer may quote it
                cause = cause.replace(token, "***")
            problem = (
                f"{name} is no alias and no folder here, and the hub did not give it "
                f"({cause}).{suggestion(name)}\n{accepted()}"
            )
    # Outside the handlers: a chained error would show the token in a traceback.
    raise ModelError(problem)


def _right(name: str) -> str:
    """How a user gets the right to read a model."""
    from huggingface_hub import constants, get_token

    hub = constants.ENDPOINT
    refused = "The token that is set has no right to it" if get_token() else "No token is set"
    return (
        f"{refused}: accept its licence at {hub}/{name}, make an access token that may read it "
        f"at {hub}/settings/tokens, and set it where you start the study: export HF_TOKEN=..."
    )
