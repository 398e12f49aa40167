"""GET requests for whoever downloads: redirects, credentials, proxies, and failures sorted by whether to try again.

Redirects are followed here, one by one, because of three rules: credentials go to their own origin only, nothing goes
from https to http, and a loop ends. Proxies come from the environment (HTTPS_PROXY, NO_PROXY), certificates from
certifi and the system (SSL_CERT_FILE).
"""

from __future__ import annotations

import contextlib
import email.utils
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from nanochat.errors import DownloadError, NanochatError

if TYPE_CHECKING:
    import ssl

    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

MAX_REDIRECTS = 10
AGAIN = "run the same command again: it goes on where this one stopped"
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429)  # and all of 5xx
_LONGEST_WAIT_S = 30.0  # before a plan, which nobody sees wait
_PORTS = {"http": 80, "https": 443}


class TransientError(Exception):
    """A failure that another try may not meet. `wait_s` is what the server asked for, None where it did not."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A token, and the only origin (scheme, host and port) that may see it."""

    url: str
    token: str = field(repr=False)

    def headers(self, url: str) -> dict[str, str]:
        """The header for a request to `url`: none where it leads elsewhere."""
        return {"Authorization": f"Bearer {self.token}"} if origin(url) == origin(self.url) else {}


def is_address(url: str) -> bool:
    """Whether this is http or https, with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        return False


def _joined(place: str, location: str) -> str:
    try:
        return urljoin(place, location)
    except ValueError:
        return ""


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port; a token for one of them is no business of any other."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def shown(url: str) -> str:
    """The URL as it may be printed and kept: without password, and without a query, which can hold a signature."""
    return urlunsplit(urlsplit(without_password(url))._replace(query="", fragment=""))


def without_password(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Http:
    """Connections of one download, shared by its threads.

    Args:
        credentials: sent to their own origin.
        connect_s: seconds to wait for a connection.
        read_s: seconds without a byte after which a connection counts as dead.
        workers: connections kept to one host.
    """

    def __init__(
        self, *, credentials: Credentials | None = None, connect_s: float = 10, read_s: float = 30, workers: int = 8
    ) -> None:
        self._credentials = credentials
        self._timeouts = (connect_s, read_s)
        self._workers = workers
        self._pools: dict[str, PoolManager] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None, method: str = "GET") -> Iterator[BaseHTTPResponse]:
        """The answer with status 200, 206 or 416, its body unread; the connection is closed behind the block.

        Raises:
            TransientError: no connection, no answer, or one that asks to come again later.
            DownloadError: an answer that will stay the same.
        """
        place = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(place, headers or {}, method)
            with contextlib.closing(response):
                if response.status not in _REDIRECTS:
                    _check_status(response, url)
                    with translated(url):
                        yield response
                    return
                target = _joined(place, response.headers.get("Location", ""))
            if not is_address(target) or (place.startswith("https:") and target.startswith("http:")):
                raise DownloadError(f"{shown(url)} redirects to where it is not safe to follow", AGAIN)
            place = target
        raise DownloadError(f"{shown(url)} redirects in circles", "check the address, and HF_ENDPOINT if it is set")

    def close(self) -> None:
        """Let go of all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _send(self, url: str, headers: dict[str, str], method: str) -> BaseHTTPResponse:
        import urllib3

        parts = urlsplit(url)
        own: dict[str, str] = {}
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            own = urllib3.make_headers(basic_auth=login)
        elif self._credentials is not None:
            own = self._credentials.headers(url)
        connect_s, read_s = self._timeouts
        with translated(url):
            return self._pool(url).request(
                method,
                without_password(url),
                headers={"User-Agent": "nanochat", "Accept-Encoding": "identity", **headers, **own},
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=connect_s, read=read_s),
            )

    def _pool(self, url: str) -> PoolManager:
        import urllib3

        parts = urlsplit(without_password(url))
        proxy = "" if urllib.request.proxy_bypass(parts.netloc) else urllib.request.getproxies().get(parts.scheme, "")
        with self._lock:
            if proxy not in self._pools:
                context = _certificates()
                if proxy:
                    login = urlsplit(proxy)
                    user = f"{unquote(login.username)}:{unquote(login.password or '')}" if login.username else None
                    self._pools[proxy] = urllib3.ProxyManager(
                        without_password(proxy),
                        maxsize=self._workers,
                        ssl_context=context,
                        proxy_headers=urllib3.make_headers(proxy_basic_auth=user),
                    )
                else:
                    self._pools[proxy] = urllib3.PoolManager(maxsize=self._workers, ssl_context=context)
            return self._pools[proxy]


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns what goes wrong on a connection into `TransientError`, or `DownloadError` where it will stay so."""
    import urllib3.exceptions as failures

    host = urlsplit(url).hostname or shown(url)
    try:
        yield
    except failures.NameResolutionError as error:
        raise TransientError(f"the name {host} is not known") from error
    except failures.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise DownloadError(
                f"{host} does not prove that it is {host}: {_certificate_problem(error)}",
                "check the clock of this machine; a company's own certificate is named by SSL_CERT_FILE",
            ) from error
        raise TransientError(f"no secure connection to {host}") from error
    except failures.ProxyError as error:
        raise TransientError(f"the proxy does not let us through to {host}") from error
    except failures.NewConnectionError as error:
        raise TransientError(f"{host} takes no connection") from error
    except failures.TimeoutError as error:
        raise TransientError(f"{host} sends nothing") from error
    except (failures.LocationParseError, failures.LocationValueError, UnicodeError) as error:
        raise DownloadError(f"{shown(url)} is no address", "check it") from error
    except (failures.HTTPError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
            raise
        raise TransientError(f"{host} broke the connection off") from error


def _check_status(response: BaseHTTPResponse, url: str) -> None:
    """Raises unless there is a body to read, or a range that does not exist (416)."""
    status = response.status
    if status in (200, 206, 416):
        return
    answer = f"answers {status} {response.reason or ''}".rstrip()
    if status in _PASSING or status >= 500:
        wait_s = retry_after(response.headers.get("Retry-After"))
        raise TransientError(f"{urlsplit(url).hostname} {answer}", wait_s)
    hint = {
        401: "set HF_TOKEN to a token that may read it",
        403: "set HF_TOKEN to a token that may read it, and accept the terms on its page",
        404: "check the address: there is no such file",
        410: "check the address: the file is there no more",
    }
    raise DownloadError(f"{shown(url)}: the server {answer}", hint.get(status, AGAIN))


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of seconds or a date; None for neither."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _certificates() -> ssl.SSLContext:
    import ssl

    import certifi

    context = ssl.create_default_context()  # the system's, or those of SSL_CERT_FILE
    context.load_verify_locations(certifi.where())
    return context


def _certificate_problem(error: Exception) -> str:
    text = str(error)
    return text[text.rfind("failed: ") + 8 :].split(" (_ssl")[0] if "failed: " in text else "its certificate is bad"


def remote_size(http: Http, url: str) -> int | None:
    """Bytes of a file by its headers; None where the server does not say, or does not answer."""
    with contextlib.suppress(TransientError, NanochatError), http.get(url, method="HEAD") as response:
        length = response.headers.get("Content-Length", "")
        if response.status == 200 and length.isdecimal():
            return int(length)
    return None


def read_tail(http: Http, url: str, size: int, *, attempts: int = 4, backoff_s: float = 0.5) -> bytes | None:
    """The last `size` bytes of a file, all of a smaller one; None where the server gives no parts, or refuses.

    Raises:
        DownloadError: no answer, in so many attempts; a shard must not be taken for something else because of that.
    """
    for attempt in range(attempts):
        try:
            with contextlib.suppress(NanochatError), http.get(url, {"Range": f"bytes=-{size}"}) as response:
                if response.status == 206:
                    body: bytes = response.read(decode_content=False)
                    return body
            return None
        except TransientError as error:
            if attempt == attempts - 1:
                raise DownloadError(f"{shown(url)}: {error.reason}", AGAIN) from error
            time.sleep(min(backoff_s * 2**attempt if error.wait_s is None else error.wait_s, _LONGEST_WAIT_S))
    raise AssertionError("the last attempt returns or raises")
