//! TLS to RabbitMQ, S3 and MongoDB, whose certificates come from a certificate authority of
//! the test. Services that trust it work, and refuse every other certificate.

use futures::future::join_all;
use maskline_test_support::{
    collector::Collector,
    environment::{Environment, Server},
};
use maskline_tests::{
    collection::{Collection, counts_of},
    process::{Pipeline, Process},
    tls::{Authority, TlsProxy},
};

/// A variable of the environment.
type Variable = (String, String);

fn variable(name: &str, value: &str) -> Variable {
    (name.to_owned(), value.to_owned())
}

/// How a process learns which authority to trust.
#[derive(Clone, Copy)]
enum Trust<'a> {
    /// From the setting of the server alone.
    OneServer(&'a Authority),
    /// From a variable that is about all servers.
    AllServers(&'a Authority),
    /// It trusts only the authorities of the system.
    Nobody,
}

/// The variables that lead to a server through its proxy, with TLS.
fn through_tls(
    environment: &Environment,
    proxy: &TlsProxy,
    server: Server,
    trust: Trust,
) -> Vec<Variable> {
    let (name, plain) = environment.variable_through(proxy.address, server);
    let mut address = match server {
        Server::Broker => plain.replacen("amqp:", "amqps:", 1),
        Server::Objects => plain.replacen("endpoint=http%3A", "endpoint=https%3A", 1),
        Server::Catalog => format!("{plain}&tls=true"),
    };
    assert_ne!(address, plain, "the address is still without TLS");
    let file = |authority: &Authority| authority.file().display().to_string();
    let mut variables = vec![];
    match (trust, server) {
        (Trust::OneServer(authority), Server::Broker) => {
            address += &format!("?cacertfile={}", file(authority));
        }
        (Trust::OneServer(authority), Server::Objects) => {
            variables.push(variable("AWS_CA_BUNDLE", &file(authority)));
        }
        (Trust::OneServer(authority), Server::Catalog) => {
            address += &format!("&tlsCAFile={}", file(authority));
        }
        // The variable may be set in this process. An empty value overrides it.
        (_, Server::Objects) => variables.push(variable("AWS_CA_BUNDLE", "")),
        _ => {}
    }
    if let Trust::AllServers(authority) = trust {
        variables.push(variable("SSL_CERT_FILE", &file(authority)));
    }
    variables.push((name, address));
    variables
}

/// The variables that lead to every server through its proxy, with TLS.
fn all_through_tls(
    environment: &Environment,
    proxies: &[(Server, TlsProxy)],
    trust: Trust,
) -> Vec<Variable> {
    let variables = proxies
        .iter()
        .map(|(server, proxy)| through_tls(environment, proxy, *server, trust));
    variables.flatten().collect()
}

/// A TLS proxy in front of each server.
async fn start_proxies(
    environment: &Environment,
    authority: &Authority,
) -> Vec<(Server, TlsProxy)> {
    let proxies = Server::ALL.map(async |server| {
        let proxy = TlsProxy::to(environment.host_and_port(server), authority).await;
        (server, proxy)
    });
    join_all(proxies).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_ends_well_when_all_servers_speak_only_tls() {
    let environment = Environment::servers().await;
    let authority = Authority::with_server_names("IP:127.0.0.1");
    let proxies = start_proxies(&environment, &authority).await;
    let trust = Trust::OneServer(&authority);
    let variables = all_through_tls(&environment, &proxies, trust);
    let start = |name| Process::start_with(&environment, name, &variables);
    let mut services = join_all(Pipeline::STAGES.map(start)).await;

    let collection = Collection::faces(40_000, 20).with_rejects(41_000);
    let photos = environment.folder().join("photos");
    collection.write(&photos);
    let photos = photos.to_str().expect("a plain path");
    let args = [
        "enqueue",
        "folder",
        photos,
        "--label-from",
        "folder",
        "--wait",
    ];
    let job = environment.json_with(&args, &variables).await;

    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    assert_eq!(counts_of(&job[0]), collection.counts());
    for service in &mut services {
        assert!(service.stop().await.success());
    }
    environment.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_variable_names_a_trusted_authority_for_all_servers() {
    let environment = Environment::servers().await;
    let authority = Authority::with_server_names("IP:127.0.0.1");
    let proxies = start_proxies(&environment, &authority).await;
    let trust = Trust::AllServers(&authority);
    let variables = all_through_tls(&environment, &proxies, trust);
    let mut storer = Process::start_with(&environment, "storer", &variables).await;
    let (status, answer) = storer.get("/readyz").await;
    assert_eq!(status, 200, "{answer}");
    assert!(storer.stop().await.success());
    environment.remove().await;
}

/// The error of a storer that refuses to talk to a server.
async fn refusal(environment: &Environment, variables: &[Variable]) -> String {
    let output = environment
        .run(&["run", "--only", "storer"], variables)
        .await;
    assert!(!output.success, "it runs: {output:#?}");
    let error = output.stderr;
    assert!(!error.contains("guest:guest"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untrusted_authority_is_refused_and_the_error_names_the_variable_to_set() {
    let environment = Environment::servers().await;
    let authority = Authority::with_server_names("IP:127.0.0.1");
    for (server, proxy) in start_proxies(&environment, &authority).await {
        let variables = through_tls(&environment, &proxy, server, Trust::Nobody);
        let error = refusal(&environment, &variables).await;
        assert!(error.contains("SSL_CERT_FILE"), "{server:?}: {error}");
    }
    environment.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_host_is_refused() {
    let environment = Environment::servers().await;
    let authority = Authority::with_server_names("DNS:elsewhere.example,IP:127.0.0.9");
    for (server, proxy) in start_proxies(&environment, &authority).await {
        let variables = through_tls(&environment, &proxy, server, Trust::OneServer(&authority));
        let error = refusal(&environment, &variables).await;
        assert!(error.contains("another host's"), "{server:?}: {error}");
    }
    environment.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_says_when_a_port_does_not_speak_tls() {
    let environment = Environment::servers().await;
    let (_, plain) = environment.variable_through(
        environment
            .host_and_port(Server::Broker)
            .parse()
            .expect("an IP address"),
        Server::Broker,
    );
    let variables = [variable(
        "MASKLINE_BROKER",
        &plain.replacen("amqp:", "amqps:", 1),
    )];
    let error = refusal(&environment, &variables).await;
    assert!(error.contains("TLS at this port"), "{error}");
    environment.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_can_be_sent_by_tls() {
    let environment = Environment::embedded();
    let authority = Authority::with_server_names("IP:127.0.0.1");
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let (_, address) = endpoint.split_once("://").expect("an address");
    let proxy = TlsProxy::to(address.to_owned(), &authority).await;
    let variables = [
        variable(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("https://{}", proxy.address),
        ),
        variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        variable("SSL_CERT_FILE", &authority.file().display().to_string()),
    ];
    let folder = environment.folder().display().to_string();
    let args = ["enqueue", "folder", &folder, "--label-from", "folder"];
    environment.json_with(&args, &variables).await;
    assert!(
        !collector.named("").is_empty(),
        "a command sends its spans before it ends"
    );
}
