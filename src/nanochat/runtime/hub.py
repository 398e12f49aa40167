"""The Hugging Face hub as its environment variables describe it: address, token, and what a data set consists of.

HF_ENDPOINT is another address (a mirror), HF_TOKEN (or the token that `hf auth login` keeps) is sent to that address
only, and HF_HUB_OFFLINE forbids all of it. Listing goes through `huggingface_hub`, files themselves do not: see
`download.py`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from nanochat.errors import DownloadError, MissingError, UsageError
from nanochat.runtime.http import AGAIN, Credentials, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

ENDPOINT = "https://huggingface.co"
ATTEMPTS = 5
BACKOFF_S = 1.0  # before the second attempt, in the mean; then twice as long each time
_LOT = 500  # paths in one question
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True, kw_only=True, slots=True)
class HubListing:
    """The files of a data set at one commit."""

    repo: str
    revision: str
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a data set. `sha256` is empty where the hub does not say it (small files that are kept in git)."""

    path: str
    url: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """An address and what we may do there."""

    endpoint: str = ENDPOINT
    credentials: Credentials | None = None
    offline: bool = False

    def dataset_files(self, repo: str, revision: str = "") -> HubListing:
        """The names of all files of a data set, and the commit that `revision` (or main) is now.

        Raises:
            MissingError: offline, or no such data set or revision.
            DownloadError: no answer, or none that helps.
        """
        info = self._ask(repo, lambda api: api.dataset_info(repo, revision=revision or None))
        return HubListing(
            repo=repo,
            revision=str(info.sha or revision or "main"),
            paths=tuple(file.rfilename for file in info.siblings or ()),
        )

    def describe(self, repo: str, paths: Sequence[str], revision: str) -> list[HubFile]:
        """Size, SHA-256 and address of these files, in their order.

        Raises:
            MissingError: offline, or a file is not there.
            DownloadError: no answer, or none that helps.
        """
        found: dict[str, HubFile] = {}
        for start in range(0, len(paths), _LOT):
            lot = list(paths[start : start + _LOT])
            for info in self._paths_info(repo, lot, revision):
                lfs = getattr(info, "lfs", None)
                found[info.path] = HubFile(
                    path=info.path,
                    url=self.url(repo, info.path, revision),
                    size_bytes=lfs.size if lfs else info.size,
                    sha256=lfs.sha256 if lfs else "",
                )
        if lacking := [path for path in paths if path not in found]:
            raise MissingError(f"{repo} has no {', '.join(lacking[:3])}", "ask for fewer files, or another --revision")
        return [found[path] for path in paths]

    def url(self, repo: str, path: str, revision: str) -> str:
        """Where a file is to be had."""
        return f"{self.endpoint}/datasets/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def _paths_info(self, repo: str, paths: list[str], revision: str) -> list[Any]:
        def ask(api: HfApi) -> list[Any]:
            return api.get_paths_info(repo, paths, revision=revision, repo_type="dataset")

        return self._ask(repo, ask)

    def _ask(self, repo: str, question: Callable[[HfApi], T]) -> T:
        """The answer of the hub; asked again where that may help."""
        if self.offline:
            raise MissingError(
                f"{repo} would have to be looked up, and HF_HUB_OFFLINE forbids it", "unset HF_HUB_OFFLINE"
            )
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self.credentials.token if self.credentials else False)
        for attempt in range(ATTEMPTS):
            try:
                return question(api)
            except Exception as error:
                self._raise(error, repo, last=attempt == ATTEMPTS - 1)
            time.sleep(BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5))
        raise AssertionError("the last attempt returns or raises")

    def _raise(self, error: Exception, repo: str, *, last: bool) -> None:
        """Raises an error of `huggingface_hub` in our words; returns where another attempt may do."""
        import httpx2
        from huggingface_hub import errors

        place = shown(self.endpoint)
        match error:
            case errors.GatedRepoError():
                raise DownloadError(
                    f"{repo} is open only to those who accepted its terms",
                    f"accept them on {place}/datasets/{repo} and set HF_TOKEN",
                ) from error
            case errors.RevisionNotFoundError():
                raise MissingError(f"{repo} has no such revision", "check --revision") from error
            case errors.RepositoryNotFoundError():
                raise MissingError(
                    f"there is no data set {repo} on {place}, or it is private",
                    "check its name, or set HF_TOKEN to a token that may read it",
                ) from error
            case errors.HFValidationError():
                raise UsageError(f"{repo!r} is no name of a data set", "names are like owner/name") from error
            case errors.HfHubHTTPError():
                status = error.response.status_code
                if (status == 429 or status >= 500) and not last:
                    return
                hint = "set HF_TOKEN to a token that may read it" if status in (401, 403) else AGAIN
                raise DownloadError(f"{place} answers {status} when asked about {repo}", hint) from error
            case httpx2.TransportError() | OSError():
                if not last and "CERTIFICATE_VERIFY_FAILED" not in str(error):
                    return
                raise DownloadError(f"no answer from {place}: {_reason(error)}", AGAIN) from error
            case ValueError() | KeyError() | TypeError():
                raise DownloadError(
                    f"{place} does not answer as a hub does", "check HF_ENDPOINT, and the network"
                ) from error
        raise error


def hub_from_environment(environ: Mapping[str, str]) -> Hub:
    """The hub of HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE."""
    endpoint = (environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise UsageError(f"HF_ENDPOINT ({endpoint}) is no address", "it is like https://huggingface.co")
    offline = environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE
    token = environ.get("HF_TOKEN", "").strip() or ("" if offline else _kept_token())
    return Hub(
        endpoint=endpoint,
        credentials=Credentials(url=endpoint, token=token) if token else None,
        offline=offline,
    )


def _kept_token() -> str:
    """The token that a login has left on this machine."""
    from huggingface_hub import get_token

    return get_token() or ""


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
