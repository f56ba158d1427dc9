//! The address of a RabbitMQ: `amqp://USER:PASSWORD@HOST:PORT/VHOST?max_length=N`.

use std::fmt;

use lapin::uri::AMQPUri;
use url::Url;

use crate::broker::BrokerError;

/// Messages that a queue may hold, unless the address says otherwise.
const MAX_LENGTH: i64 = 100_000;

/// Seconds between heartbeats; a broker that is silent for twice as long is gone.
const HEARTBEAT: u16 = 30;

const EXAMPLE: &str = "write amqp://USER:PASSWORD@HOST:PORT/VHOST, such as \
    amqp://guest:guest@localhost:5672/%2f";

/// Where the broker is. Shown without the credentials.
pub struct Address {
    pub uri: AMQPUri,
    /// Messages that each queue may hold.
    pub max_length: i64,
}

impl Address {
    pub fn parse(address: &str) -> Result<Self, BrokerError> {
        // What is wrong is said without repeating the address: it holds a password.
        let url = Url::parse(address)
            .map_err(|error| misconfigured(format!("the broker's address: {error}: {EXAMPLE}")))?;
        if url.scheme() == "amqps" {
            return Err(misconfigured(
                "amqps: TLS is not built in: write amqp:// on a network that you trust, or put a \
                 TLS tunnel before the broker"
                    .to_owned(),
            ));
        }
        let host = url.host_str().unwrap_or_default();
        if host.is_empty() {
            return Err(misconfigured(format!(
                "the broker's address names no host: {EXAMPLE}"
            )));
        }
        let max_length = max_length(&url)?;
        let mut plain = url.clone();
        plain.set_query(None);
        let mut uri: AMQPUri = plain.as_str().parse().map_err(|_| {
            misconfigured(format!(
                "the user, password or virtual host in the broker's address is not \
                 percent-encoded UTF-8: {EXAMPLE}"
            ))
        })?;
        // AMQPUri takes an IPv6 address for none.
        uri.authority.host = host.trim_matches(['[', ']']).to_owned();
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat = Some(HEARTBEAT);
        Ok(Self { uri, max_length })
    }
}

fn max_length(url: &Url) -> Result<i64, BrokerError> {
    let mut max_length = MAX_LENGTH;
    for (name, value) in url.query_pairs() {
        max_length = match (name.as_ref(), value.parse()) {
            ("max_length", Ok(length)) if length > 0 => length,
            _ => {
                return Err(misconfigured(format!(
                    "{name}={value} means nothing to RabbitMQ's address: only max_length=NUMBER \
                     (of messages in a queue, at least 1) does"
                )));
            }
        };
    }
    Ok(max_length)
}

fn misconfigured(what: String) -> BrokerError {
    BrokerError::Misconfigured(what)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authority, vhost) = (&self.uri.authority, &self.uri.vhost);
        let (host, port) = (&authority.host, authority.port);
        if host.contains(':') {
            write!(f, "[{host}]:{port}, virtual host {vhost}")
        } else {
            write!(f, "{host}:{port}, virtual host {vhost}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> String {
        Address::parse(address).expect("it is one").to_string()
    }

    fn refusal(address: &str) -> String {
        match Address::parse(address) {
            Err(BrokerError::Misconfigured(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(address) => panic!("{address} was taken"),
        }
    }

    #[test]
    fn what_is_left_out_is_rabbitmqs_default() {
        assert_eq!(shown("amqp://host"), "host:5672, virtual host /");
        assert_eq!(shown("amqp://host/"), "host:5672, virtual host /");
        let address = Address::parse("amqp://host").expect("it is one");
        assert_eq!(address.uri.authority.userinfo.username, "guest");
        assert_eq!(address.max_length, MAX_LENGTH);
    }

    #[test]
    fn everything_can_be_said() {
        let address = Address::parse("amqp://me:p%40ss@h:1/a%2fb?max_length=7").expect("it is one");
        assert_eq!(address.uri.authority.userinfo.password, "p@ss");
        assert_eq!(address.to_string(), "h:1, virtual host a/b");
        assert_eq!(address.max_length, 7);
        assert_eq!(shown("amqp://[::1]:2/%2f"), "[::1]:2, virtual host /");
    }

    #[test]
    fn a_wrong_address_is_refused_without_its_password() {
        for address in [
            "amqp:me:hunter2",
            "amqp://me:hunter2@",
            "amqp://me:hunter2@host:port",
            "amqps://me:hunter2@host",
            "amqp://me:hunter2%ff@host",
            "amqp://me:hunter2@host?heartbeat=1",
            "amqp://me:hunter2@host?max_length=0",
        ] {
            let why = refusal(address);
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(refusal("amqps://host").contains("TLS"));
    }
}
