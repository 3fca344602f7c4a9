"""Requests and answers as httpx has them; no sending."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional, TypeVar

import httpx

from ._calls import Call
from ._errors import ApiError, InvalidArgument, StillframeError, Unreachable

T = TypeVar("T")


def settings(uri: str, token: str, user: str, password: str) -> dict[str, Any]:
    """Arguments that both clients of httpx take.

    :raises InvalidArgument: for an address that is no HTTP URL.
    """
    try:
        url = httpx.URL(uri)
    except httpx.InvalidURL as error:
        raise InvalidArgument(f"uri {uri!r} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidArgument(f"uri {uri!r} is no HTTP URL; expected http://host:port")
    headers = {"user-agent": "stillframe-python"}
    if token or user:
        headers["authorization"] = f"Bearer {token or f'{user}:{password}'}"
    return {"base_url": url, "headers": headers}


def arguments(call: Call[T], timeout: float) -> dict[str, Any]:
    """Arguments of httpx' ``request`` for a call."""
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query),
        "json": call.body,
        "timeout": timeout + call.patience,
    }


def read(call: Call[T], response: httpx.Response) -> T:
    """The result of a call.

    :raises ApiError: when the service refused it, or what answered is no such service.
    """
    answer = _json(response)
    if response.is_success:
        try:
            return call.read(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _another(response) from error
    if isinstance(answer, Mapping) and "code" in answer:
        raise ApiError(response.status_code, answer)
    raise _another(response)


def failed(error: httpx.HTTPError, uri: str) -> StillframeError:
    """The error of a call that got no answer."""
    if isinstance(error, httpx.TimeoutException):
        return Unreachable("timeout", f"no answer from {uri} in time ({type(error).__name__})")
    return Unreachable("unreachable", f"{uri} can't be reached: {error or type(error).__name__}")


def _another(response: httpx.Response) -> ApiError:
    """The error of an answer that is none of this service."""
    about = f"{response.url} answered {response.status_code}, not in the form of this service: {response.text[:200]}"
    return ApiError(response.status_code, {"detail": about})


def _json(response: httpx.Response) -> Optional[Any]:
    try:
        return response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
