"""A mankeli that stores nothing: it receives chunks as fast as they arrive, reports and acknowledges them.

`python -m benchmarks.mankeli` is a process of its own. It implements the NATS protocol itself, since a full client
would use a core that the importer needs, and it waits for no confirmation: it is a measuring instrument, not an
example. `--delay-ms` delays each chunk, one after another, without using the processor.
"""

import argparse
import asyncio
import json
import sys
from urllib.parse import urlsplit

from benchmarks.pages import BAD_MARK
from shared.model import keys

CONSUMER = "benchmark-mankeli"
_NEXT_SUBJECT = f"$JS.API.CONSUMER.MSG.NEXT.{keys.CHUNK_STREAM}.{CONSUMER}"
_INBOX = "_INBOX_benchmark.mankeli"
_PULL_MESSAGES = 5000
_PULL_REQUEST = json.dumps({"batch": _PULL_MESSAGES, "expires": 3600 * 10**9}).encode()
_ENTITY_MARK = b'"documentState"'


class NullMankeli(asyncio.Protocol):
    """The connection to NATS, and the whole work of the mankeli."""

    def __init__(self, delay_seconds: float, *, rejects: bool) -> None:
        self._delay_seconds = delay_seconds
        self._rejects = rejects
        self._received = bytearray()
        self._requested_messages = 0
        self._busy_until = 0.0
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Subscribe, request chunks, and print `ready`."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        options = {"verbose": False, "headers": True, "no_responders": True, "lang": "benchmark", "version": "0"}
        transport.write(f"CONNECT {json.dumps(options)}\r\nSUB {_INBOX} 1\r\n".encode())
        self._request_chunks()
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Set the result of `ended`."""
        if not self.ended.done():
            self.ended.set_result(error)

    def data_received(self, data: bytes) -> None:
        """Process the messages that are complete."""
        try:
            self._process(data)
        except Exception as error:
            self.ended.set_exception(error)
            raise

    def _process(self, data: bytes) -> None:
        self._received += data
        start = 0
        while (end := self._received.find(b"\r\n", start)) >= 0:
            words = bytes(self._received[start:end]).split()
            if words[0] not in {b"MSG", b"HMSG"}:
                self._handle_control(words[0])
                start = end + 2
                continue
            message_end = end + 2 + int(words[-1])
            if len(self._received) < message_end + 2:
                break
            if words[0] == b"MSG":  # a message with headers that is no chunk is a status of the broker
                self._handle_chunk(words, end + 2, message_end)
            elif words[3].startswith(b"$JS.ACK"):
                self._handle_chunk(words, end + 2 + int(words[-2]), message_end)
            start = message_end + 2
        del self._received[:start]

    def _handle_control(self, word: bytes) -> None:
        if word == b"PING":
            self._transport.write(b"PONG\r\n")
        elif word.startswith(b"-ERR"):
            raise ConnectionError("the broker rejected the null mankeli")

    def _request_chunks(self) -> None:
        self._publish(_NEXT_SUBJECT, _PULL_REQUEST, _INBOX)
        self._requested_messages += _PULL_MESSAGES

    def _handle_chunk(self, words: list[bytes], start: int, end: int) -> None:
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
        self._requested_messages -= 1
        if self._requested_messages < _PULL_MESSAGES // 2:
            self._request_chunks()
        reply = words[3].decode()
        if not self._delay_seconds:
            self._report(feedback, reply)
            return
        loop = asyncio.get_running_loop()
        self._busy_until = max(self._busy_until, loop.time()) + self._delay_seconds
        loop.call_at(self._busy_until, self._report, feedback, reply)

    def _report(self, feedback: dict[str, object], reply: str) -> None:
        self._publish(keys.FEEDBACK_SUBJECT, json.dumps(feedback).encode())
        self._publish(reply, b"+ACK")

    def _publish(self, subject: str, body: bytes, reply: str = "") -> None:
        self._transport.write(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body))


async def _main(options: argparse.Namespace) -> None:
    uri = urlsplit(options.nats_uri)
    _, mankeli = await asyncio.get_running_loop().create_connection(
        lambda: NullMankeli(options.delay_ms / 1000, rejects=options.rejects), uri.hostname, uri.port
    )
    await mankeli.ended


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mankeli", description=__doc__.splitlines()[0])
    parser.add_argument("--nats-uri", required=True)
    parser.add_argument("--delay-ms", type=float, default=0, help="delay for each chunk")
    parser.add_argument("--rejects", action="store_true", help="reject the entities that are marked for it")
    asyncio.run(_main(parser.parse_args()))
