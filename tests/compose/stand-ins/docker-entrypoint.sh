#!/bin/bash
# Starts RabbitMQ with the first user that the environment names, like the official image.
cat >/etc/rabbitmq/rabbitmq.conf <<CONF
default_user = $RABBITMQ_DEFAULT_USER
default_pass = $RABBITMQ_DEFAULT_PASS
management.tcp.port = 15672
disk_free_limit.absolute = 100MB
CONF
exec "$@"
