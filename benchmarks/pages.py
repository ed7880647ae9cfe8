"""A SISU that serves ready-made pages: it generates nothing while it responds, so it costs next to nothing.

`python -m benchmarks.pages` is a process of its own. It serves one service with entities, and all others empty. It
logs its requests with their times (`/requests`), from which a run is timed from outside. Standard library only: it
starts fast.
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
"""Marks an entity that the null mankeli rejects."""
_DISTINCT_ENTITIES = 1000
"""Larger pages repeat these."""
_NAMES = ("Aino", "Väinö", "Elias", "Ebba", "Göran", "Märta", "Onni", "Päivi", "Korhonen", "Öhman", "Nyman", "Salo")


def make_entity(position: int, size_bytes: int) -> bytes:
    """Return a person of exactly `size_bytes`, about as compressible as a real one."""
    rng = random.Random(position)
    person = {
        "id": f"hy-hlo-{rng.getrandbits(64):016x}",
        "documentState": "ACTIVE",
        "metadata": {"revision": rng.randrange(9), "modificationOrdinal": rng.randrange(10**9)},
        "firstNames": " ".join(rng.choices(_NAMES, k=3)),
        "lastName": rng.choice(_NAMES),
        "dateOfBirth": f"{rng.randrange(1950, 2006)}-0{rng.randrange(1, 9)}-{rng.randrange(10, 28)}",
        "countryUrn": "urn:code:country:fi",
        "addresses": [],
    }
    text = json.dumps(person, ensure_ascii=False).encode()
    while len(text) < size_bytes - 200:
        street = {
            "streetAddress": f"{rng.choice(_NAMES)}katu {rng.randrange(200)}",
            "code": rng.getrandbits(32),
            "urn": "urn:code:country:fi",
        }
        text = text.replace(b'"addresses": [', b'"addresses": [' + json.dumps(street).encode() + b",", 1)
    text = text.replace(b",]", b"]")
    filler = f"{rng.getrandbits(1600):0400x}"
    room = size_bytes - len(text) - len(b',"n":""')
    return text[:-1] + b',"n":"' + filler[:room].ljust(room, "x").encode() + b'"}'


class Pages:
    """The pages of `total` entities, of which every `bad_every`th one is marked to be rejected."""

    def __init__(self, total: int, entity_bytes: int, bad_every: int) -> None:
        self.total = total
        self._entities = [make_entity(position, entity_bytes) for position in range(_DISTINCT_ENTITIES)]
        if bad_every:
            for position in range(bad_every // 2, _DISTINCT_ENTITIES, bad_every):
                self._entities[position] = self._entities[position][:-1] + b"," + BAD_MARK + b"}"
        self.page = cache(self._page)

    def _page(self, size: int) -> bytes:
        entities = b",".join(self._entities[number % _DISTINCT_ENTITIES] for number in range(size))
        return b'{"entities":[' + entities + b"]"

    def respond(self, target: str) -> list[bytes]:
        """Return the body for a path with its query, in parts."""
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
    """One persistent connection. Its requests arrive one after another."""

    def __init__(self, pages: Pages, latency_seconds: float, requests: list[tuple[str, float]]) -> None:
        self._pages = pages
        self._latency_seconds = latency_seconds
        self._requests = requests
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to a request once it is complete."""
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
        if target == "/requests":
            self._send([json.dumps(self._requests).encode()])
            self._requests.clear()
            return
        self._requests.append((target, time.time()))
        body = [b'{"data":{"gradeScales":[]}}'] if head.startswith(b"POST") else self._pages.respond(target)
        if self._latency_seconds:
            asyncio.get_running_loop().call_later(self._latency_seconds, self._send, body)
        else:
            self._send(body)

    def _send(self, body: list[bytes]) -> None:
        length = sum(map(len, body))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        assert isinstance(self._transport, asyncio.WriteTransport)
        self._transport.writelines([head.encode(), *body])


async def _serve(options: argparse.Namespace) -> None:
    pages = Pages(options.entities, options.entity_bytes, options.bad_every)
    pages.page(options.page)
    requests: list[tuple[str, float]] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(pages, options.latency_ms / 1000, requests), "127.0.0.1", 0
    )
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__.splitlines()[0])
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--entity-bytes", type=int, default=1900)
    parser.add_argument("--page", type=int, default=1000, help="prepare pages of this size")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--bad-every", type=int, default=0, help="mark every Nth entity to be rejected", metavar="N")
    asyncio.run(_serve(parser.parse_args()))
