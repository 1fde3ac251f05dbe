"""The form parser against the encoders of httpx and requests, and against python-multipart as the oracle for bytes."""

import io
import time

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser

from catseye.http.limits import Limits
from catseye.http.multipart import parse
from catseye.http.refusals import Refusal

LIMITS = Limits()
contents = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


def by_httpx(files: list[bytes]) -> tuple[bytes, bytes]:
    request = httpx.Request("POST", "http://a/", files=[("file", ("a.png", content)) for content in files])
    return request.headers["content-type"].encode(), request.read()


def by_requests(files: list[bytes]) -> tuple[bytes, bytes]:
    given_files = [("file", ("é\"'.png", io.BytesIO(content), "image/png")) for content in files]
    request = requests.Request("POST", "http://a/", files=given_files).prepare()
    return request.headers["Content-Type"].encode(), request.body


@given(contents, st.sampled_from([by_httpx, by_requests]))
def test_what_clients_encode_comes_out_again(files, encode):
    content_type, body = encode(files)
    parts = parse(content_type, body, LIMITS)
    assert [part.content for part in parts] == files
    assert {part.name for part in parts} == {b"file"}


def oracle(boundary: bytes, body: bytes) -> list[bytes]:
    found: list[bytearray] = []
    callbacks = {
        "on_part_begin": lambda: found.append(bytearray()),
        "on_part_data": lambda data, start, end: found[-1].extend(data[start:end]),
    }
    parser = MultipartParser(boundary, callbacks)
    parser.write(body)
    parser.finalize()
    return [bytes(part) for part in found]


@given(contents, st.sampled_from([b"b", b"----WebKitFormBoundaryAbC", b"x y'()+_,-./:=?z"]))
def test_the_oracle_sees_the_same_bytes(files, boundary):
    head = b'Content-Disposition: form-data; name="file"\r\n\r\n'
    if any(b"\r\n--" + boundary in b"\r\n" + content for content in files):
        return
    body = b"".join(b"--" + boundary + b"\r\n" + head + content + b"\r\n" for content in files)
    body += b"--" + boundary + b"--\r\n"
    parts = parse(b'multipart/form-data; boundary="' + boundary + b'"', body, LIMITS)
    assert [part.content for part in parts] == oracle(boundary, body) == files


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"--b\r\n", b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n']),
)
def test_any_bytes_are_parsed_or_refused(noise, start):
    try:
        parts = parse(b"multipart/form-data; boundary=b", start + noise, LIMITS)
    except Refusal:  # anything else would be a fault
        return
    assert sum(len(part.content) for part in parts) <= len(start + noise)


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary="a\\"b"',
        b'multipart/form-data; boundary="ends with a blank "',
        b"multipart/mixed; boundary=b",
    ],
)
def test_boundaries_that_are_refused(content_type):
    with pytest.raises(Refusal, match="boundary"):
        parse(content_type, b"--b\r\n\r\n--b--", LIMITS)


@pytest.mark.parametrize(("length", "is_read"), [(1, True), (70, True), (71, False), (300, False)])
def test_the_length_of_a_boundary(length, is_read):
    """RFC 2046, section 5.1.1. The form is a good one, but for that."""
    boundary = b"b" * length
    body = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n--' + boundary + b"--\r\n"
    if is_read:
        assert [part.content for part in parse(b"multipart/form-data; boundary=" + boundary, body, LIMITS)] == [b"x"]
    else:
        with pytest.raises(Refusal, match="boundary of 1 to 70"):
            parse(b"multipart/form-data; boundary=" + boundary, body, LIMITS)


def test_a_million_near_boundaries_take_no_time():
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"\r\n-" * 1_000_000 + b"\r\n--b--"
    started = time.monotonic()
    (part,) = parse(b"multipart/form-data; boundary=b", body, LIMITS)
    assert time.monotonic() - started < 0.5
    assert len(part.content) == 3_000_000
