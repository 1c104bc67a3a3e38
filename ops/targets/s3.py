"""Backups in an S3-compatible store: TLS verified, every request and every part signed (AWS Signature Version 4).

A backup goes up in parts and is there when the store has put them together: until then nothing has its name. The few
requests that this takes are made here, so that the process with the authorities' keys loads no vendor's library.
"""

from __future__ import annotations

import configparser
import datetime as dt
import hashlib
import hmac
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx

from core.clock import system
from core.errors import Unavailable
from ops.targets.target import STALE, Stored, digest, must_match, newest_first, pieces, private

#: Size of a part; a store takes 10,000 of them for one object.
PART = 64 << 20
#: Most objects that one answer lists.
PAGE = 1000
_TIMEOUT = httpx.Timeout(60, connect=10)
_EMPTY = hashlib.sha256(b"").hexdigest()
_NAMES = "host;x-amz-content-sha256;x-amz-date"


class S3:
    """See `Target`. The address is `s3://host[:port]/bucket[/prefix]`, reached over HTTPS."""

    def __init__(self, url: str, credentials: Path, ca_file: Path, region: str) -> None:
        parts = urlsplit(url)
        self.name, self._host, self._region = url, parts.netloc.removesuffix(":443"), region
        self._bucket, _, prefix = parts.path.strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._credentials, self._ca_file = credentials, ca_file

    def put(self, path: Path, sha256: str) -> None:
        """Store the file under its own name: whole and read back, or not at all."""
        with self._client() as client:
            self._sweep(client)
            upload = _field("UploadId", self._ask(client, "POST", path.name, {"uploads": ""}).text)
            try:
                self._upload(client, path, upload)
            except BaseException:
                with suppress(Unavailable):  # then the next upload sweeps
                    self._ask(client, "DELETE", path.name, {"uploadId": upload})
                raise
            self._compare(client, path.name, sha256)

    def listing(self) -> list[Stored]:
        """The backups there, the newest first."""
        found, token = list[Stored](), ""
        with self._client() as client:
            while True:
                query = {"list-type": "2", "max-keys": str(PAGE), "prefix": self._prefix} | ({"continuation-token": token} if token else {})
                text = self._ask(client, "GET", None, query).text
                found += [
                    Stored(_field("Key", each).removeprefix(self._prefix), int(_field("Size", each))) for each in _members("Contents", text)
                ]
                token = _field("NextContinuationToken", text)
                if not token:
                    return newest_first(found)

    def get(self, name: str, into: Path) -> Path:
        """Fetch a backup into the folder `into`."""
        with self._client() as client, (into / name).open("wb") as out:
            for piece in self._read(client, name):
                out.write(piece)
        return into / name

    def remove(self, name: str) -> None:
        """Take a backup away."""
        with self._client() as client:
            self._ask(client, "DELETE", name)

    def _upload(self, client: httpx.Client, path: Path, upload: str) -> None:
        told = []
        for number, part in enumerate(pieces(path, PART), 1):
            answer = self._ask(client, "PUT", path.name, {"partNumber": str(number), "uploadId": upload}, part)
            told.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['ETag']}</ETag></Part>")
        body = f"<CompleteMultipartUpload>{''.join(told)}</CompleteMultipartUpload>"
        answer = self._ask(client, "POST", path.name, {"uploadId": upload}, body.encode())
        if "<Error>" in answer.text:  # it may come behind a status of 200, once the store began to answer
            raise self._refused(answer)

    def _compare(self, client: httpx.Client, name: str, sha256: str) -> None:
        try:
            must_match(self.name, name, sha256, digest(self._read(client, name)))
        except Unavailable:
            self._ask(client, "DELETE", name)
            raise

    def _sweep(self, client: httpx.Client) -> None:
        old = system() - STALE
        for each in _members("Upload", self._ask(client, "GET", None, {"prefix": self._prefix, "uploads": ""}).text):
            if dt.datetime.fromisoformat(_field("Initiated", each)) < old:
                self._ask(client, "DELETE", _field("Key", each).removeprefix(self._prefix), {"uploadId": _field("UploadId", each)})

    def _read(self, client: httpx.Client, name: str) -> Iterator[bytes]:
        url, headers = self._signed("GET", name, {}, _EMPTY)
        with self._told(), client.stream("GET", url, headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                answer.read()
                raise self._refused(answer)
            yield from answer.iter_bytes()

    def _ask(
        self, client: httpx.Client, method: str, name: str | None, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> httpx.Response:
        url, headers = self._signed(method, name, query or {}, hashlib.sha256(body).hexdigest())
        with self._told():
            answer = client.request(method, url, headers=headers, content=body)
        if not answer.is_success:
            raise self._refused(answer)
        return answer

    def _signed(self, method: str, name: str | None, query: Mapping[str, str], payload: str) -> tuple[str, dict[str, str]]:
        """Address and headers of a request; the bucket's own when `name` is None."""
        identity, secret = self._keys()
        stamp = system().strftime("%Y%m%dT%H%M%SZ")
        path = "/" + quote(self._bucket if name is None else f"{self._bucket}/{self._prefix}{name}", safe="/-_.~")
        asked = "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in sorted(query.items()))
        told = f"host:{self._host}\nx-amz-content-sha256:{payload}\nx-amz-date:{stamp}\n"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        canonical = hashlib.sha256(f"{method}\n{path}\n{asked}\n{told}\n{_NAMES}\n{payload}".encode()).hexdigest()
        key = b"AWS4" + secret.encode()
        for step in scope.split("/"):
            key = hmac.digest(key, step.encode(), "sha256")
        signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{canonical}".encode(), "sha256").hex()
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={identity}/{scope}, SignedHeaders={_NAMES}, Signature={signature}",
            "X-Amz-Content-SHA256": payload,
            "X-Amz-Date": stamp,
        }
        return f"https://{self._host}{path}{'?' if asked else ''}{asked}", headers

    def _keys(self) -> tuple[str, str]:
        read = configparser.ConfigParser(interpolation=None)
        try:
            read.read_string(private(self._credentials).read_text("utf-8"))
            section = read[read.sections()[0]]
            return section["aws_access_key_id"], section["aws_secret_access_key"]
        except (configparser.Error, KeyError, IndexError, UnicodeDecodeError) as error:
            raise Unavailable(
                "`{path}` names no `aws_access_key_id` and `aws_secret_access_key`; write them as AWS' own tools do", path=self._credentials
            ) from error

    def _client(self) -> httpx.Client:
        with self._told():
            trust = ssl.create_default_context(cafile=None if self._ca_file == Path() else str(self._ca_file))
        return httpx.Client(verify=trust, timeout=_TIMEOUT, trust_env=False, follow_redirects=False)

    def _refused(self, answer: httpx.Response) -> Unavailable:
        reason = f"{answer.status_code} {_field('Code', answer.text)}".strip()
        return Unavailable("`{target}` cannot be used: {reason}", target=self.name, reason=reason)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable("`{target}` cannot be used: {reason}", target=self.name, reason=reason) from error


def _members(name: str, text: str) -> list[str]:
    """What stands in each element of this name. The few fields are cut out: no parser of XML meets what a store may send."""
    return re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)


def _field(name: str, text: str) -> str:
    """What stands in the first element of this name; its texts are ours, numbers and times."""
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return found[1] if found else ""
