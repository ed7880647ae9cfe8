"""Messages in a NATS, for tests that care only how many there are."""

import nats


async def add_message(uri: str) -> None:
    """Put one more message into a stream, which is made where there is none."""
    client = await nats.connect(uri, allow_reconnect=False)
    await client.jetstream().add_stream(name="S", subjects=["s"])
    await client.jetstream().publish("s", b"x")
    await client.close()


async def count_messages(uri: str) -> int:
    """How many there are in all streams."""
    client = await nats.connect(uri, allow_reconnect=False)
    try:
        streams = await client.jetstream().streams_info()
        return sum(stream.state.messages for stream in streams)
    finally:
        await client.close()
