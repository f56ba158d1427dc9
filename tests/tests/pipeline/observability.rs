//! The page and the dashboard for operators name the metrics that the services serve.

use std::collections::{BTreeMap, BTreeSet};

use maskline_test_support::{collector::Collector, environment::Environment};
use maskline_tests::{
    collection::{Collection, EndState, class},
    process::{Pipeline, SERVICES},
    site::{Behaviour, Site},
};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docker/observability/README.md");
const DASHBOARD: &str = include_str!("../../../docker/observability/dashboard.json");

/// The kind and the labels of each metric.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_the_dashboard_name_the_metrics_that_the_services_serve() {
    let served = served_after_a_job().await;
    let names: BTreeSet<&str> = served.keys().map(String::as_str).collect();

    assert_eq!(table(), served);
    assert_eq!(named_in(PAGE, &served), names);
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let queries = expressions(&dashboard).join("\n");
    assert_eq!(named_in(&queries, &served), names);
}

/// The metrics that the five services serve after a job.
async fn served_after_a_job() -> Metrics {
    let mut environment = Environment::embedded();
    let mut collection = Collection::faces(52_000, 2);
    let page = EndState::Rejected("not_an_image");
    collection.add("page.jpg".to_owned(), class(true), "<p>".into(), page);
    let site = Site::serve(&collection, Behaviour::default()).await;
    let collector = Collector::start().await;
    environment.trace_to(&collector);
    let pipeline = Pipeline::start(&environment, &SERVICES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    environment.json(&args).await;
    let mut served = Metrics::new();
    for service in pipeline.processes() {
        read(&service.get("/metrics").await.1, &mut served);
    }
    pipeline.stop().await;
    served
}

/// Reads metrics in Prometheus' text format.
fn read(text: &str, metrics: &mut Metrics) {
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            kinds.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        let Some((series, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let name = family(name, |name| kinds.contains_key(name));
        let kind = kinds
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no type"));
        let known = metrics.entry(name.to_owned());
        let (_, known) = known.or_insert_with(|| (kind.clone(), BTreeSet::new()));
        // The values of maskline's labels contain neither quotes nor commas.
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|label| Some(label.split_once('=')?.0));
        known.extend(labels.filter(|label| *label != "le").map(str::to_owned));
    }
}

/// The metric of a series. A histogram has three series.
fn family(series: &str, is_metric: impl Fn(&str) -> bool) -> &str {
    if is_metric(series) {
        return series;
    }
    let suffixes = ["_bucket", "_sum", "_count"];
    let mut names = suffixes
        .iter()
        .filter_map(|suffix| series.strip_suffix(suffix));
    names.find(|name| is_metric(name)).unwrap_or(series)
}

/// The table of metrics on the page.
fn table() -> Metrics {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let name = cells.next()?.trim_matches('`');
        is_metric_name(name).then_some(())?;
        let (kind, labels) = (cells.next()?, cells.next()?);
        let labels = labels.split(", ").map(|label| label.trim_matches('`'));
        let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
        Some((name.to_owned(), (kind.to_owned(), labels.collect())))
    });
    rows.collect()
}

/// The metrics that a text names. A name that no service serves is returned as it is.
fn named_in<'a>(text: &'a str, served: &Metrics) -> BTreeSet<&'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words.filter(|word| is_metric_name(word));
    named
        .map(|word| family(word, |name| served.contains_key(name)))
        .collect()
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with("maskline_") || name.starts_with("process_")
}

/// The queries of all panels of the dashboard.
fn expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let inner = fields
                .iter()
                .flat_map(|(name, value)| match (name.as_str(), value) {
                    ("expr", Value::String(query)) => vec![query.as_str()],
                    _ => expressions(value),
                });
            inner.collect()
        }
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        _ => vec![],
    }
}
