//! A cluster of RabbitMQ nodes that speak TLS: what becomes of a job when something happens
//! to the cluster. Each test has a cluster of its own.

mod alarm;
mod cluster;
mod failover;
