"""A web server answers a request as it should."""

from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from reconciler.plugin import MonitorType, Site
from reconciler.ports.probes import Sample
from specs.scalars import impact


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f"{text[:80]!r} is not a URL such as http://10.77.2.100:8080/health")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave user and password out of the URL: specs are not secret")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("write anything but printable ASCII as %XX")
    return text


def _status(text: str) -> str:
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first]
    if not all(number.isdigit() and 100 <= int(number) <= 599 for number in numbers):
        raise ValueError(f"{text[:20]!r} is not a status such as 200 or a range such as 200-299")
    if dash and int(first) > int(last):
        raise ValueError(f"{text!r} is an empty range")
    return text


class Http(MonitorType):
    """One HTTP/1.1 request over a connection of its own; redirects are answers, not followed.

    With a name instead of an address in the URL, a slow name server counts against the time-out.

    ```yaml
    apiVersion: clusterctl/v1
    kind: Monitor
    metadata: {name: web-answers}
    spec:
      type: http
      target: resource/web-server
      activeWith: group/web
      url: http://10.77.2.100:8080/
      interval: 10s
      timeout: 3s
    ```
    """

    aliases: ClassVar[tuple[str, ...]] = ("httpw",)

    type: Literal["http"] = Field(
        default="http",
        description="Type of the monitor (alias: httpw).",
        json_schema_extra=impact("monitor", example="http"),
    )
    url: Annotated[str, Field(max_length=2000), AfterValidator(_url)] = Field(
        description="What is asked for.",
        json_schema_extra=impact("monitor", example="http://10.77.2.100:8080/health"),
    )
    method: Literal["GET", "HEAD"] = Field(
        default="GET",
        description="How it is asked for.",
        json_schema_extra=impact("monitor", example="GET"),
    )
    expect_status: Annotated[
        tuple[Annotated[str, AfterValidator(_status)], ...], Field(min_length=1, max_length=50)
    ] = Field(
        default=("200-399",),
        description="Statuses, or ranges of them, that are healthy.",
        json_schema_extra=impact("monitor", example=["200", "301-302"]),
    )
    expect_body: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None,
        description="Text that the first 256 KiB of the answer must hold.",
        json_schema_extra=impact("monitor", example="ok", default_text="anything"),
    )
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]_-]{1,255}$")] | None = Field(
        default=None,
        description="Host header, for a server with several names.",
        json_schema_extra=impact(
            "monitor", example="shop.example.org", default_text="host and port of the URL"
        ),
    )
    verify_tls: bool = Field(
        default=True,
        description="Whether the server's certificate must be valid for the URL's host.",
        json_schema_extra=impact("monitor", example=True),
    )
    ca_file: Annotated[str, Field(min_length=1, pattern="^/")] | None = Field(
        default=None,
        description="Certificates that are trusted, a PEM file on each server.",
        json_schema_extra=impact(
            "monitor", example="/etc/ssl/our-ca.pem", default_text="the system's"
        ),
    )

    async def sample(self, site: Site) -> Sample:
        settings = {
            "url": self.url,
            "method": self.method,
            "status": [_range(text) for text in self.expect_status],
            "body": self.expect_body if self.method == "GET" else None,
            "host": self.host,
            "verify": self.verify_tls,
            "ca_file": self.ca_file,
        }
        return await site.probes.run("http", settings, self.timeout)


def _range(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return [int(first), int(last or first)]
