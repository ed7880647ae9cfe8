"""Messages in a NATS, for tests that only count them."""

import nats


async def add_message(uri: str) -> None:
    """Add a message to a stream, which is created if necessary."""
    client = await nats.connect(uri, allow_reconnect=False)
    await client.jetstream().add_stream(name="S", subjects=["s"])
    await client.jetstream().publish("s", b"x")
    await client.close()


async def count_messages(uri: str) -> int:
    """Return the number of messages in all streams."""
    client = await nats.connect(uri, allow_reconnect=False)
    try:
        streams = await client.jetstream().streams_info()
        return sum(stream.state.messages for stream in streams)
    finally:
        await client.close()
