"""Lines of the log: a reader that stops stops nothing, what is lost is counted, and everything takes the same way."""

import io
import json
import logging
import os
import threading
import time
import warnings

from catseye.http import logs
from catseye.http.logs import Log
from tests.server import models
from tests.server.running import noise, post_bytes, read_answer

GOOD = noise(1, kind="PNG")


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_libraries_say_takes_the_same_way():
    stream = io.StringIO()
    log = Log(stream, worker=3)
    with warnings.catch_warnings(), log.everything():
        warnings.simplefilter("always")
        logging.getLogger("uvicorn.error").warning("Invalid %s", "request\nsecond line")
        logging.getLogger("asyncio").error("lost", exc_info=ValueError("why"))
        logging.getLogger("x").warning("%d", "no number")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
        thread = threading.Thread(target=lambda: 1 / 0, name="model-0")
        thread.start()
        thread.join()
    log.close()
    found = lines(stream.getvalue())
    assert [one["event"] for one in found] == ["library", "library", "library", "library", "fault"]
    assert {one["worker"] for one in found} == {3}
    assert found[0]["text"] == "Invalid request\nsecond line"
    assert found[1]["error"] == "ValueError: why"
    assert (found[4]["thread"], found[4]["error"]) == ("model-0", "ZeroDivisionError: division by zero")


def test_logging_is_as_before_afterwards():
    root = logging.getLogger()
    before, hook = root.handlers[:], threading.excepthook
    with Log(io.StringIO()).everything():
        assert root.handlers != before
    assert root.handlers == before
    assert threading.excepthook is hook


def test_a_full_pipe_blocks_nobody_and_the_lost_lines_are_counted(monkeypatch):
    monkeypatch.setattr(logs, "MAX_WAITING", 100)
    read_end, write_end = os.pipe()
    stream = os.fdopen(write_end, "w")
    log = Log(stream)
    started = time.monotonic()
    number = 3000
    for index in range(number):
        log("line", index=index, text="x" * 200)
    assert time.monotonic() - started < 1
    assert log.num_dropped > 1000
    text = b""
    os.set_blocking(read_end, False)
    end = time.monotonic() + 10
    told = 0
    while told < log.num_dropped and time.monotonic() < end:
        try:
            text += os.read(read_end, 100_000)
        except BlockingIOError:
            time.sleep(0.01)
            log("wake")
        whole = lines(text.decode().rpartition("\n")[0])
        told = sum(one["lines"] for one in whole if one["event"] == "log-dropped")
    log.close()
    assert told == log.num_dropped
    stream.close()
    os.close(read_end)


def test_a_long_fact_is_cut_and_the_line_stays_json():
    stream = io.StringIO()
    log = Log(stream)
    log("reload-refused", reason="\x00" * 50_000, worker=1)
    log.close()
    (line,) = stream.getvalue().splitlines()
    assert len(line) < logs.ATOMIC_BYTES
    assert json.loads(line)["worker"] == 1


def test_a_log_reader_that_stops_does_not_stop_the_server(start, tmp_path):
    """Its stderr is a pipe that is full. Broken requests, which libraries warn of, are answered all the same."""
    read_end, write_end = os.pipe()
    running = start(models.write(tmp_path / "m.onnx"), stderr=write_end)
    os.close(write_end)
    with running.connect(5) as connection:
        for _ in range(12_500):  # more than a pipe and the queue hold
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = b""
            while not text.endswith(b"}"):
                text += connection.recv(10_000)
    for _ in range(50):
        assert running.raw(b"nonsense\r\n\r\n", timeout_s=5).status == 400
        with running.connect(5) as connection:
            connection.sendall(post_bytes(GOOD))
            assert read_answer(connection).status == 200
    assert running.metric("catseye_log_lines_dropped_total") > 0
    started = time.monotonic()
    assert running.stop(timeout_s=10) == 0
    assert time.monotonic() - started < 6
    os.close(read_end)
