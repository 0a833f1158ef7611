"""AMQP 0-9-1 against RabbitMQ: txAMQP for handshake and cold methods, our own hot path, connection and bus."""
