//! The flags and environment variables that every service takes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use maskline_foundation::{Address, RetryPolicy, private_folder};

use crate::broker::{self, Broker, BrokerError};

const BROKER: &str = "embedded:";
const DATA: &str = "./maskline-data";
const HTTP: &str = "127.0.0.1:0";
const GRACE: u64 = 25;
const WORKER_INTERVAL: f64 = 2.0;

/// The flags that say where the broker is.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST, with TLS amqps://…, a
    /// cluster's nodes as HOST:PORT,HOST:PORT, or embedded:[FILE] (default file:
    /// queue.db in the data folder). An address with a password must come
    /// from the environment, or from a file that MASKLINE_BROKER_FILE names
    #[arg(
        long,
        env = "MASKLINE_BROKER",
        value_name = "URL",
        default_value = BROKER,
        hide_default_value = true,
        hide_env_values = true
    )]
    pub broker: Address,
    /// The folder of everything that has no address of its own
    #[arg(long, env = "MASKLINE_DATA", value_name = "FOLDER", default_value = DATA)]
    pub data: PathBuf,
}

/// The flags that say where the broker is and how a service runs.
#[derive(Debug, Clone, Args)]
pub struct RuntimeArgs {
    #[command(flatten)]
    pub connection: BrokerArgs,
    /// Messages handled at a time from each queue (default: the service's own choice)
    #[arg(
        long,
        env = "MASKLINE_CONCURRENCY",
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub concurrency: Option<u16>,
    /// Where /healthz, /readyz and /metrics are served: ADDRESS:PORT (port 0: a
    /// free one, which is logged) or off
    #[arg(long, env = "MASKLINE_HTTP", value_name = "ADDRESS", default_value = HTTP)]
    pub http: HttpAddress,
    /// Seconds to finish what is in hand when asked to stop
    #[arg(long, env = "MASKLINE_GRACE", value_name = "SECONDS", default_value_t = GRACE)]
    pub grace: u64,
    /// Seconds between searches for work that a replica left behind
    #[arg(
        long,
        env = "MASKLINE_WORKER_INTERVAL",
        value_name = "SECONDS",
        default_value_t = WORKER_INTERVAL,
        hide = true
    )]
    pub worker_interval: f64,
    #[command(flatten)]
    pub retry: RetryPolicy,
}

impl Default for BrokerArgs {
    fn default() -> Self {
        Self {
            broker: BROKER.into(),
            data: DATA.into(),
        }
    }
}

impl Default for RuntimeArgs {
    fn default() -> Self {
        Self {
            connection: BrokerArgs::default(),
            concurrency: None,
            http: HTTP.parse().expect("the default address is one"),
            grace: GRACE,
            worker_interval: WORKER_INTERVAL,
            retry: RetryPolicy::DEFAULT,
        }
    }
}

impl BrokerArgs {
    /// The broker's address. For the embedded queue it names the file, which is in the data
    /// folder unless another was named.
    fn broker_url(&self) -> Address {
        match self.broker.expose() {
            BROKER => embedded(&self.data).into(),
            _ => self.broker.clone(),
        }
    }

    /// Connects to the broker.
    pub async fn open_broker(&self) -> Result<Arc<dyn Broker>, BrokerError> {
        if self.broker.expose() == BROKER {
            private_folder::keep(&self.data);
        }
        broker::open(self.broker_url().expose()).await
    }
}

impl RuntimeArgs {
    /// The defaults with everything in the folder `data`.
    pub fn for_data(data: impl Into<PathBuf>) -> Self {
        let connection = BrokerArgs {
            data: data.into(),
            ..BrokerArgs::default()
        };
        Self {
            connection,
            ..Self::default()
        }
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }

    /// The interval, which is between 10 ms and an hour whatever was asked for.
    pub(crate) fn worker_interval(&self) -> Duration {
        Duration::try_from_secs_f64(self.worker_interval)
            .unwrap_or(Duration::from_secs_f64(WORKER_INTERVAL))
            .clamp(Duration::from_millis(10), Duration::from_secs(3600))
    }
}

fn embedded(data: &Path) -> String {
    format!("embedded:{}", data.join("queue.db").display())
}

/// The address that the HTTP port is bound to, if it is not off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpAddress {
    Off,
    At(SocketAddr),
}

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            "not an address with a port, such as 127.0.0.1:8080 or 0.0.0.0:8080, nor off".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        runtime: RuntimeArgs,
    }

    fn parse(args: &[&str]) -> Result<RuntimeArgs, clap::Error> {
        Cli::try_parse_from([&["service"], args].concat()).map(|cli| cli.runtime)
    }

    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_code() {
        let parsed = parse(&[]).expect("no flag is needed");
        assert_eq!(
            format!("{parsed:?}"),
            format!("{:?}", RuntimeArgs::default())
        );
        assert_eq!(parsed.connection.broker.expose(), BROKER);
    }

    #[test]
    fn the_embedded_queue_lies_in_the_data_folder_unless_a_file_is_named() {
        let url = |args: &[&str]| {
            let args = parse(args).expect("the flags are right");
            args.connection.broker_url().expose().to_owned()
        };
        assert_eq!(url(&["--data", "d"]), "embedded:d/queue.db");
        assert_eq!(url(&["--broker", "embedded:/x/y.db"]), "embedded:/x/y.db");
        assert_eq!(url(&["--broker", "amqp://h:1/"]), "amqp://h:1/");
    }

    #[test]
    fn a_flag_with_a_password_is_refused_and_not_repeated() {
        let refused = parse(&["--broker", "amqp://me:hunter2@h/"]).expect_err("a password");
        let refused = refused.to_string();
        assert!(refused.contains("MASKLINE_BROKER_FILE"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn the_http_port_is_on_the_loopback_interface_unless_an_address_is_given() {
        let is_loopback = |args: &[&str]| match parse(args).expect("the flags are right").http {
            HttpAddress::At(address) => address.ip().is_loopback(),
            HttpAddress::Off => panic!("it is on"),
        };
        assert!(is_loopback(&[]));
        assert!(!is_loopback(&["--http", "0.0.0.0:8080"]));
    }

    #[test]
    fn the_http_port_can_be_closed_and_nonsense_is_refused() {
        assert_eq!(
            parse(&["--http", "off"]).expect("fine").http,
            HttpAddress::Off
        );
        let error = parse(&["--http", "8080"])
            .expect_err("no address")
            .to_string();
        assert!(error.contains("127.0.0.1:8080"), "{error}");
        assert!(parse(&["--concurrency", "0"]).is_err());
    }
}
