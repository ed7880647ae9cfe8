"""A SISU that serves ready-made pages: nothing is made up while it answers, so it costs next to nothing.

`python -m benchmarks.pages`, a process of its own. It serves one service with entities, and the others empty. It knows
when it was asked for what (`/asked`), which is how a run is timed from outside. Standard library only: it starts fast.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from functools import cache
from urllib.parse import parse_qsl, urlsplit

FULL_PATH = "/ori/api/persons/v1/export"
BAD_MARK = b'"mankeli":"rejects"'
"""What an entity has that the null mankeli is to reject."""
_DIFFERENT = 1000
"""Entities that differ from each other; larger pages repeat them."""
_NAMES = ("Aino", "Väinö", "Elias", "Ebba", "Göran", "Märta", "Onni", "Päivi", "Korhonen", "Öhman", "Nyman", "Salo")


def make_entity(position: int, size_bytes: int) -> bytes:
    """A person, about as compressible as a real one, of exactly so many bytes."""
    draw = random.Random(position)
    person = {
        "id": f"hy-hlo-{draw.getrandbits(64):016x}",
        "documentState": "ACTIVE",
        "metadata": {"revision": draw.randrange(9), "modificationOrdinal": draw.randrange(10**9)},
        "firstNames": " ".join(draw.choices(_NAMES, k=3)),
        "lastName": draw.choice(_NAMES),
        "dateOfBirth": f"{draw.randrange(1950, 2006)}-0{draw.randrange(1, 9)}-{draw.randrange(10, 28)}",
        "countryUrn": "urn:code:country:fi",
        "addresses": [],
    }
    text = json.dumps(person, ensure_ascii=False).encode()
    while len(text) < size_bytes - 200:
        street = {
            "streetAddress": f"{draw.choice(_NAMES)}katu {draw.randrange(200)}",
            "code": draw.getrandbits(32),
            "urn": "urn:code:country:fi",
        }
        text = text.replace(b'"addresses": [', b'"addresses": [' + json.dumps(street).encode() + b",", 1)
    text = text.replace(b",]", b"]")
    filler = f"{draw.getrandbits(1600):0400x}"
    room = size_bytes - len(text) - len(b',"n":""')
    return text[:-1] + b',"n":"' + filler[:room].ljust(room, "x").encode() + b'"}'


class Pages:
    """The pages of `total` entities, `bad_every` of which one is to be rejected."""

    def __init__(self, total: int, entity_bytes: int, bad_every: int) -> None:
        self.total = total
        self._entities = [make_entity(position, entity_bytes) for position in range(_DIFFERENT)]
        if bad_every:
            for position in range(bad_every // 2, _DIFFERENT, bad_every):
                self._entities[position] = self._entities[position][:-1] + b"," + BAD_MARK + b"}"
        self.page = cache(self._page)

    def _page(self, size: int) -> bytes:
        entities = b",".join(self._entities[number % _DIFFERENT] for number in range(size))
        return b'{"entities":[' + entities + b"]"

    def answer(self, target: str) -> list[bytes]:
        """The body for a path with its query, in parts."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        if "since" not in query:
            return [b"{}" if "codebook" in parts.path else b"[]"]
        since = int(query["since"])
        total = self.total if parts.path == FULL_PATH else 0
        size = max(0, min(int(query["limit"]), total - since))
        end = since + size
        tail = f',"hasMore":{"true" if end < total else "false"},"greatestOrdinal":{end}}}'
        return [self.page(size), tail.encode()]


class Connection(asyncio.Protocol):
    """One connection, kept alive. Requests come one after another."""

    def __init__(self, pages: Pages, latency_seconds: float, asked: list[tuple[str, float]]) -> None:
        self._pages = pages
        self._latency_seconds = latency_seconds
        self._asked = asked
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" not in self._received:
            return
        head, _, rest = self._received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(rest) < length:
            return
        self._received = b""
        target = head.split(b" ", 2)[1].decode()
        if target == "/asked":
            self._respond([json.dumps(self._asked).encode()])
            self._asked.clear()
            return
        self._asked.append((target, time.time()))
        body = [b'{"data":{"gradeScales":[]}}'] if head.startswith(b"POST") else self._pages.answer(target)
        if self._latency_seconds:
            asyncio.get_running_loop().call_later(self._latency_seconds, self._respond, body)
        else:
            self._respond(body)

    def _respond(self, body: list[bytes]) -> None:
        length = sum(map(len, body))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        assert isinstance(self._transport, asyncio.WriteTransport)
        self._transport.writelines([head.encode(), *body])


async def _serve(options: argparse.Namespace) -> None:
    pages = Pages(options.entities, options.entity_bytes, options.bad_every)
    pages.page(options.page)
    asked: list[tuple[str, float]] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(pages, options.latency_ms / 1000, asked), "127.0.0.1", 0
    )
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__.splitlines()[0])
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--entity-bytes", type=int, default=1900)
    parser.add_argument("--page", type=int, default=1000, help="the size of page to have ready")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--bad-every", type=int, default=0, help="one of so many entities is to be rejected")
    asyncio.run(_serve(parser.parse_args()))
