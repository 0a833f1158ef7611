"""How messages travel: loopback in one process, AMQP between processes."""
