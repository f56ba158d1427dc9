//! The address of a RabbitMQ, or of a cluster's nodes:
//! `amqp://USER:PASSWORD@HOST:PORT,HOST:PORT/VHOST?max_length=N`; with TLS `amqps://…`.
//! In a user, a password or a virtual host `/`, `?`, `#` and `@` are written as `%2F`,
//! `%3F`, `%23` and `%40`; so is every `@` of an option.

use std::{fmt, path::PathBuf};

use lapin::uri::AMQPUri;
use url::Url;

use crate::broker::error::BrokerError;

/// The most messages in a queue, unless the address says otherwise.
const MAX_LENGTH: i64 = 100_000;

/// Seconds between heartbeats. A broker that is silent for twice as long counts as gone.
const HEARTBEAT: u16 = 30;

const EXAMPLE: &str = "write amqp://USER:PASSWORD@HOST:PORT/VHOST, such as \
    amqp://guest:guest@localhost:5672/%2f, and a cluster's nodes as HOST:PORT,HOST:PORT";

/// Where the broker is.
#[derive(Debug)]
pub struct Address {
    /// The nodes, at least one. All have the same queues.
    pub nodes: Vec<Node>,
    /// The most messages in each queue.
    pub max_length: i64,
    pub security: Security,
}

/// How the connection is protected.
#[derive(Debug, PartialEq, Eq)]
pub enum Security {
    /// It is not encrypted.
    Plain,
    Tls {
        /// The PEM file of the authorities to trust. `None` means the usual ones.
        authorities: Option<PathBuf>,
    },
}

/// A broker, or one node of a cluster. It is shown without the credentials.
#[derive(Clone)]
pub struct Node {
    pub uri: AMQPUri,
}

impl Address {
    /// Reads an address. No error repeats it, because it may hold a password.
    pub fn parse(address: &str) -> Result<Self, BrokerError> {
        let (scheme, rest) = address
            .split_once("://")
            .ok_or_else(|| misconfigured(format!("the broker's address has no ://: {EXAMPLE}")))?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // Without this check the end of a password could be taken for a virtual host or an
        // option, and be shown.
        if rest.contains('@') {
            return Err(misconfigured(format!(
                "the broker's address has an @ behind its first /, ? or #: write it as %40, and \
                 /, ? and # in a user, a password or a virtual host as %2F, %3F and %23: {EXAMPLE}"
            )));
        }
        let (user, hosts) = authority
            .rsplit_once('@')
            .map_or((String::new(), authority), |(user, hosts)| {
                (format!("{user}@"), hosts)
            });
        let urls = hosts
            .split(',')
            .map(|host| read(&format!("{scheme}://{user}{host}{rest}")))
            .collect::<Result<Vec<_>, _>>()?;
        let (max_length, security) = options(&urls[0])?;
        Ok(Self {
            nodes: urls.into_iter().map(Node::at).collect::<Result<_, _>>()?,
            max_length,
            security,
        })
    }
}

fn read(address: &str) -> Result<Url, BrokerError> {
    let url = Url::parse(address)
        .map_err(|error| misconfigured(format!("the broker's address: {error}: {EXAMPLE}")))?;
    if url.host_str().unwrap_or_default().is_empty() {
        return Err(misconfigured(format!(
            "the broker's address names no host: {EXAMPLE}"
        )));
    }
    Ok(url)
}

impl Node {
    fn at(mut url: Url) -> Result<Self, BrokerError> {
        url.set_query(None);
        let mut uri: AMQPUri = url.as_str().parse().map_err(|_| {
            misconfigured(format!(
                "the user, password or virtual host in the broker's address is not \
                 percent-encoded UTF-8: {EXAMPLE}"
            ))
        })?;
        // AMQPUri does not know IPv6 addresses.
        let host = url.host_str().unwrap_or_default();
        uri.authority.host = host.trim_matches(['[', ']']).to_owned();
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        uri.query.heartbeat = Some(HEARTBEAT);
        Ok(Self { uri })
    }
}

fn options(url: &Url) -> Result<(i64, Security), BrokerError> {
    let is_tls = url.scheme() == "amqps";
    let (mut max_length, mut authorities) = (MAX_LENGTH, None);
    for (name, value) in url.query_pairs() {
        match (name.as_ref(), value.parse()) {
            ("max_length", Ok(length)) if length > 0 => max_length = length,
            ("cacertfile", _) if is_tls && !value.is_empty() => {
                authorities = Some(PathBuf::from(&*value));
            }
            _ => {
                return Err(misconfigured(format!(
                    "the option {name} of RabbitMQ's address means nothing as it is written: \
                     only max_length=NUMBER (of messages in a queue, at least 1) does and, with \
                     amqps://, cacertfile=FILE (of the authorities to trust, in PEM)"
                )));
            }
        }
    }
    let security = match is_tls {
        true => Security::Tls { authorities },
        false => Security::Plain,
    };
    Ok((max_length, security))
}

fn misconfigured(what: String) -> BrokerError {
    BrokerError::misconfigured(what)
}

impl fmt::Display for Node {
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

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> String {
        let address = Address::parse(address).expect("it is one");
        address.nodes[0].to_string()
    }

    fn refusal(address: &str) -> String {
        match Address::parse(address) {
            Err(BrokerError::Misconfigured { problem, .. }) => problem,
            Err(other) => panic!("{other:?}"),
            Ok(address) => panic!("{address:?} was taken"),
        }
    }

    #[test]
    fn missing_parts_of_an_address_have_rabbitmqs_defaults() {
        assert_eq!(shown("amqp://host"), "host:5672, virtual host /");
        assert_eq!(shown("amqp://host/"), "host:5672, virtual host /");
        let address = Address::parse("amqp://host").expect("it is one");
        assert_eq!(address.nodes[0].uri.authority.userinfo.username, "guest");
        assert_eq!(address.security, Security::Plain);
        assert_eq!(address.max_length, MAX_LENGTH);
    }

    #[test]
    fn every_part_of_an_address_is_read() {
        let address = Address::parse("amqp://me:p%40ss@h:1/a%2fb?max_length=7").expect("it is one");
        assert_eq!(address.nodes[0].uri.authority.userinfo.password, "p@ss");
        assert_eq!(address.nodes[0].to_string(), "h:1, virtual host a/b");
        assert_eq!(address.max_length, 7);
        assert_eq!(shown("amqp://[::1]:2/%2f"), "[::1]:2, virtual host /");
        assert_eq!(shown("amqp://host/a%40b"), "host:5672, virtual host a@b");
    }

    #[test]
    fn the_end_of_a_password_is_never_taken_for_another_part() {
        for address in [
            "amqp://me:?hunter2@host",
            "amqp://me:#hunter2@host",
            "amqp://me:12/hunter2@host",
            "amqp://me:12/hunter2@one:1,two:2/%2f",
            "amqp://host/hunter2@v",
        ] {
            let why = refusal(address);
            assert!(why.contains("%40") && !why.contains("hunter2"), "{why}");
        }
        let why = refusal("amqp://host?password=hunter2");
        assert!(
            why.contains("option password") && !why.contains("hunter2"),
            "{why}"
        );
    }

    #[test]
    fn the_nodes_of_a_cluster_share_all_other_parts_of_the_address() {
        let address = "amqp://me:a,b%40c@one:1,two,[::1]:3/v?max_length=7";
        let address = Address::parse(address).expect("it is one");
        let shown: Vec<_> = address.nodes.iter().map(Node::to_string).collect();
        let hosts = ["one:1", "two:5672", "[::1]:3"];
        assert_eq!(shown, hosts.map(|host| format!("{host}, virtual host v")));
        for node in &address.nodes {
            assert_eq!(node.uri.authority.userinfo.password, "a,b@c");
        }
        assert_eq!(address.max_length, 7);
    }

    #[test]
    fn tls_is_a_scheme_and_trusts_whom_the_address_says() {
        let security = |address| Address::parse(address).expect("it is one").security;
        let usual = Security::Tls { authorities: None };
        assert_eq!(security("amqps://host"), usual);
        let authorities = Some(PathBuf::from("/ca of us.pem"));
        assert_eq!(
            security("amqps://one,two/?cacertfile=/ca%20of%20us.pem"),
            Security::Tls { authorities }
        );
        assert_eq!(shown("amqps://host"), "host:5671, virtual host /");
        assert!(refusal("amqp://host?cacertfile=/ca.pem").contains("amqps"));
    }

    #[test]
    fn a_wrong_address_is_refused_without_its_password() {
        for address in [
            "amqp:me:hunter2",
            "amqp://me:hunter2@",
            "amqp://me:hunter2@host:port",
            "amqp://me:hunter2@one,,two",
            "amqp://me:hunter2@one,two:port",
            "amqp://me:hunter2%ff@host",
            "amqp://me:hunter2@host?heartbeat=1",
            "amqp://me:hunter2@host?max_length=0",
        ] {
            let why = refusal(address);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
