"""Models from the Hugging Face hub."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

from orchestrator.errors import ModelError
from orchestrator.models.folder import MODEL_FILES, check_folder, model_files
from orchestrator.models.known import accepted, suggestion

HUB_SECONDS = 10  # until the hub counts as unreachable


def save_hub_model(name: str, folder: Path, scratch: Path) -> str:
    """Copy a model from the hub to `folder`; returns the commit that its name stands for now.

    The download goes through Hugging Face's own cache, not `scratch`: an interrupted one
    continues, and a model that another program has fetched is not fetched again.

    Raises:
        ModelError: no hub, no such model, a gated one, or one that is not safe to load.
    """
    cached, commit = _download(name)
    for path in model_files(cached):
        target = folder / path.relative_to(cached)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    check_folder(folder, f"the model {name} on the hub")
    return commit


def _download(name: str) -> tuple[Path, str]:
    # Imported here: it takes half a second, and the command line must start fast.
    from huggingface_hub import HfApi, get_token, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        # Asked apart: the download has no such limit, and would hang where packets are dropped.
        commit = str(HfApi().model_info(name, timeout=HUB_SECONDS).sha)
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            cached = snapshot_download(name, revision=commit, allow_patterns=list(MODEL_FILES))
    except GatedRepoError:
        problem = (
            f"the model {name} is gated: accept its licence on its page of the hub, make an "
            "access token there, and set it: export HF_TOKEN=..."
        )
    except RepositoryNotFoundError:
        problem = (
            f"{name} is no alias, no folder here, and no model that the hub shows to you (a "
            f"private one needs HF_TOKEN).{suggestion(name)}\n{accepted()}"
        )
    except Exception as error:  # whatever the network stack raises: it all means no model
        cause = f"{type(error).__name__}: {error}"
        if token := get_token():  # the server's answer may quote it
            cause = cause.replace(token, "***")
        problem = (
            f"{name} is no alias and no folder here, and the hub did not give it "
            f"({cause}).{suggestion(name)}\n{accepted()}"
        )
    else:
        return Path(cached), commit
    # Outside the handlers: a chained error would show the token in a traceback.
    raise ModelError(problem)
