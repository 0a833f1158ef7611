"""What we answer to the broker's own methods: how the connection is tuned, what we understand, how channels end."""

from __future__ import annotations

from typing import Any

from txamqp.client import ChannelClosed, TwistedDelegate

from cloudcore.bus.amqp.client import FRAME_MAX, Client

CAPABILITIES = {  # without these RabbitMQ tells us neither of a deleted queue nor why it refuses or blocks us
    "consumer_cancel_notify": True, "connection.blocked": True, "publisher_confirms": True, "basic.nack": True,
    "authentication_failure_close": True,
}  # fmt: skip


class Delegate(TwistedDelegate):
    client: Client

    def __init__(self, heartbeat: int) -> None:
        super().__init__()
        self._heartbeat = heartbeat

    def connection_start(self, channel: Any, message: Any) -> None:
        client = self.client
        channel.connection_start_ok(
            client_properties={"product": "cloudcore", "capabilities": CAPABILITIES},
            mechanism=client.mechanism, response=client.response, locale=client.locale,
        )  # fmt: skip

    def connection_tune(self, channel: Any, message: Any) -> None:
        """0 means "no limit" for all three; the smaller of two limits holds."""
        frame_max = min(message.frame_max or FRAME_MAX, FRAME_MAX)
        heartbeat = min(message.heartbeat or self._heartbeat, self._heartbeat)
        channel.connection_tune_ok(message.channel_max, frame_max, heartbeat)
        self.client.tuned(frame_max, heartbeat)
        self.client.started.fire()

    def connection_blocked(self, channel: Any, message: Any) -> None:
        self.client.log.warn("the broker blocks publishers: {reason}", reason=message.reason)
        self.client.valve.close("broker")

    def connection_unblocked(self, channel: Any, message: Any) -> None:
        self.client.valve.open("broker")

    def channel_close(self, channel: Any, message: Any) -> None:
        channel.channel_close_ok()
        self.client.close_channel(channel, ChannelClosed(f"{message.reply_code} {message.reply_text}"))
