//! TLS to RabbitMQ, S3 and MongoDB, whose certificates an authority of our own has
//! signed: with it trusted everything works, and nothing else is taken.

use futures::future::join_all;
use maskline_tests::{
    collection::{Collection, books_of},
    collector::Collector,
    place::{Place, Server},
    process::{Pipeline, Process},
    tls::{Authority, Front},
};

/// A variable of the environment.
type Variable = (String, String);

fn variable(name: &str, value: &str) -> Variable {
    (name.to_owned(), value.to_owned())
}

/// Where an address says whom to trust.
#[derive(Clone, Copy)]
enum Trust<'a> {
    /// In itself.
    Own(&'a Authority),
    /// For all at once.
    Usual(&'a Authority),
    Nobody,
}

/// The variables that lead to a server by way of its front, with TLS.
fn by_tls(place: &Place, front: &Front, server: Server, trust: Trust) -> Vec<Variable> {
    let (name, plain) = place.by_way_of(front.address, server);
    let mut address = match server {
        Server::Broker => plain.replacen("amqp:", "amqps:", 1),
        Server::Objects => plain.replacen("endpoint=http%3A", "endpoint=https%3A", 1),
        Server::Catalog => format!("{plain}&tls=true"),
    };
    assert_ne!(address, plain, "it is without TLS still");
    let file = |authority: &Authority| authority.file().display().to_string();
    let mut variables = vec![];
    match (trust, server) {
        (Trust::Own(authority), Server::Broker) => {
            address += &format!("?cacertfile={}", file(authority));
        }
        (Trust::Own(authority), Server::Objects) => {
            variables.push(variable("AWS_CA_BUNDLE", &file(authority)));
        }
        (Trust::Own(authority), Server::Catalog) => {
            address += &format!("&tlsCAFile={}", file(authority));
        }
        // The test's own environment may have one, too.
        (_, Server::Objects) => variables.push(variable("AWS_CA_BUNDLE", "")),
        _ => {}
    }
    if let Trust::Usual(authority) = trust {
        variables.push(variable("SSL_CERT_FILE", &file(authority)));
    }
    variables.push((name, address));
    variables
}

async fn fronts(place: &Place, authority: &Authority) -> Vec<(Server, Front)> {
    let fronts = Server::ALL.map(async |server| {
        let front = Front::before(place.listens(server), authority).await;
        (server, front)
    });
    join_all(fronts).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_through_all_services_by_tls_alone() {
    let place = Place::servers().await;
    let authority = Authority::certifies("IP:127.0.0.1");
    let fronts = fronts(&place, &authority).await;
    let variables: Vec<_> = fronts
        .iter()
        .flat_map(|(server, front)| by_tls(&place, front, *server, Trust::Own(&authority)))
        .collect();
    let start = |name| Process::start_with(&place, name, &variables);
    let mut services = join_all(Pipeline::STAGES.map(start)).await;

    let collection = Collection::faces(40_000, 20).with_dirt(41_000);
    let photos = place.folder().join("photos");
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
    let job = place.json_with(&args, &variables).await;

    assert_eq!(job[0]["state"], "frozen", "{job:#?}");
    assert_eq!(books_of(&job[0]), collection.books());
    for service in &mut services {
        assert!(service.stop().await.success());
    }
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_variable_can_say_for_all_servers_whom_to_trust() {
    let place = Place::servers().await;
    let authority = Authority::certifies("IP:127.0.0.1");
    let fronts = fronts(&place, &authority).await;
    let variables: Vec<_> = fronts
        .iter()
        .flat_map(|(server, front)| by_tls(&place, front, *server, Trust::Usual(&authority)))
        .collect();
    let mut storer = Process::start_with(&place, "storer", &variables).await;
    let (status, answer) = storer.get("/readyz").await;
    assert_eq!(status, 200, "{answer}");
    assert!(storer.stop().await.success());
    place.remove().await;
}

/// What a service says that may not speak to a server.
async fn refused(place: &Place, variables: &[Variable]) -> String {
    let ended = place.run(&["run", "--only", "storer"], variables).await;
    assert!(!ended.well, "it runs:\n{}{}", ended.out, ended.err);
    assert!(!ended.err.contains("guest:guest"), "{}", ended.err);
    ended.err
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_is_not_spoken_to_and_it_is_said_what_to_do() {
    let place = Place::servers().await;
    let authority = Authority::certifies("IP:127.0.0.1");
    for (server, front) in fronts(&place, &authority).await {
        let variables = by_tls(&place, &front, server, Trust::Nobody);
        let said = refused(&place, &variables).await;
        assert!(said.contains("SSL_CERT_FILE"), "{server:?}: {said}");
    }
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_host_is_not_taken() {
    let place = Place::servers().await;
    let authority = Authority::certifies("DNS:elsewhere.example,IP:127.0.0.9");
    for (server, front) in fronts(&place, &authority).await {
        let variables = by_tls(&place, &front, server, Trust::Own(&authority));
        let said = refused(&place, &variables).await;
        assert!(said.contains("another host's"), "{server:?}: {said}");
    }
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_without_tls_is_said_to_be_one() {
    let place = Place::servers().await;
    let (_, plain) = place.by_way_of(
        place
            .listens(Server::Broker)
            .parse()
            .expect("an IP address"),
        Server::Broker,
    );
    let variables = [variable(
        "MASKLINE_BROKER",
        &plain.replacen("amqp:", "amqps:", 1),
    )];
    let said = refused(&place, &variables).await;
    assert!(said.contains("TLS at this port"), "{said}");
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_by_tls_too() {
    let place = Place::embedded();
    let authority = Authority::certifies("IP:127.0.0.1");
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let (_, address) = endpoint.split_once("://").expect("an address");
    let front = Front::before(address.to_owned(), &authority).await;
    let variables = [
        variable(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("https://{}", front.address),
        ),
        variable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        variable("SSL_CERT_FILE", &authority.file().display().to_string()),
    ];
    let folder = place.folder().display().to_string();
    let args = ["enqueue", "folder", &folder, "--label-from", "folder"];
    place.json_with(&args, &variables).await;
    assert!(
        !collector.named("").is_empty(),
        "a command sends its spans before it ends"
    );
}
