"""A mankeli that stores nothing: it takes chunks as fast as they come, reports them and acknowledges them.

`python -m benchmarks.mankeli`, a process of its own. It speaks NATS by itself, since a full client would take a core
that the importer is to have, and it confirms nothing: it is a measuring instrument, not an example. With `--delay-ms`
it takes so long for each chunk, one after another, without using the processor.
"""

import argparse
import asyncio
import json
import sys
from urllib.parse import urlsplit

from benchmarks.pages import BAD_MARK
from shared import keys

CONSUMER = "benchmark-mankeli"
_NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{keys.CHUNK_STREAM}.{CONSUMER}"
_INBOX = "_INBOX_benchmark.mankeli"
_PULL_MESSAGES = 5000
_PULL_REQUEST = json.dumps({"batch": _PULL_MESSAGES, "expires": 3600 * 10**9}).encode()
_ENTITY_MARK = b'"documentState"'


class NullMankeli(asyncio.Protocol):
    """The connection to NATS, and all that is done on it."""

    def __init__(self, delay_seconds: float, *, rejects: bool) -> None:
        self._delay_seconds = delay_seconds
        self._rejects = rejects
        self._received = bytearray()
        self._asked_for = 0
        self._busy_until = 0.0
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        options = {"verbose": False, "headers": True, "no_responders": True, "lang": "benchmark", "version": "0"}
        transport.write(f"CONNECT {json.dumps(options)}\r\nSUB {_INBOX} 1\r\n".encode())
        self._ask()
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    def data_received(self, data: bytes) -> None:
        try:
            self._read(data)
        except Exception as error:
            self.ended.set_exception(error)
            raise

    def _read(self, data: bytes) -> None:
        self._received += data
        start = 0
        while (end := self._received.find(b"\r\n", start)) >= 0:
            words = bytes(self._received[start:end]).split()
            if words[0] not in {b"MSG", b"HMSG"}:
                self._control(words[0])
                start = end + 2
                continue
            message_end = end + 2 + int(words[-1])
            if len(self._received) < message_end + 2:
                break
            if words[0] == b"MSG":  # with headers and without a chunk come only the broker's own remarks
                self._take(words, end + 2, message_end)
            elif words[3].startswith(b"$JS.ACK"):
                self._take(words, end + 2 + int(words[-2]), message_end)
            start = message_end + 2
        del self._received[:start]

    def _control(self, word: bytes) -> None:
        if word == b"PING":
            self._transport.write(b"PONG\r\n")
        elif word.startswith(b"-ERR"):
            raise ConnectionError("the broker refuses the null mankeli")

    def _ask(self) -> None:
        self._publish(_NEXT, _PULL_REQUEST, _INBOX)
        self._asked_for += _PULL_MESSAGES

    def _take(self, words: list[bytes], start: int, end: int) -> None:
        body = bytes(self._received[start : start + 120])
        entities = self._received.count(_ENTITY_MARK, start, end)
        rejected = self._rejects and self._received.find(BAD_MARK, start, end) >= 0
        feedback: dict[str, object] = {
            "status": "FAIL" if rejected else "OK",
            "executionHash": body.split(b'"', 4)[3].decode(),
            "chunkId": body.split(b'"', 8)[7].decode(),
            "channel": words[1].decode(),
            "amount": 0 if rejected else entities,
            "stack": "rejected" if rejected else "",
        }
        self._asked_for -= 1
        if self._asked_for < _PULL_MESSAGES // 2:
            self._ask()
        reply = words[3].decode()
        if not self._delay_seconds:
            self._answer(feedback, reply)
            return
        loop = asyncio.get_running_loop()
        self._busy_until = max(self._busy_until, loop.time()) + self._delay_seconds
        loop.call_at(self._busy_until, self._answer, feedback, reply)

    def _answer(self, feedback: dict[str, object], reply: str) -> None:
        self._publish(keys.FEEDBACK_SUBJECT, json.dumps(feedback).encode())
        self._publish(reply, b"+ACK")

    def _publish(self, subject: str, body: bytes, reply: str = "") -> None:
        self._transport.write(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body))


async def _main(options: argparse.Namespace) -> None:
    address = urlsplit(options.nats_uri)
    _, mankeli = await asyncio.get_running_loop().create_connection(
        lambda: NullMankeli(options.delay_ms / 1000, rejects=options.rejects), address.hostname, address.port
    )
    await mankeli.ended


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mankeli", description=__doc__.splitlines()[0])
    parser.add_argument("--nats-uri", required=True)
    parser.add_argument("--delay-ms", type=float, default=0, help="for each chunk")
    parser.add_argument("--rejects", action="store_true", help="look for entities to reject")
    asyncio.run(_main(parser.parse_args()))
