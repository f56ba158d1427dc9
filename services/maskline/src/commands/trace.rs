//! `maskline trace`: the traces of an image and of its job.

use std::{env, io::IsTerminal};

use anyhow::{Context, Result};
use clap::Args;
use maskline_foundation::text::printable;
use maskline_messages::{CandidateId, ImageId};
use maskline_runtime::Address;
use maskline_storage::{Catalog, records::Candidate};
use serde::Serialize;
use url::Url;

use crate::{
    connection::ConnectionArgs,
    jaeger::Jaeger,
    job_view::{self, JobView},
    lookup, output,
    span::Span,
    trace_tree,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline trace 01a20e2c
  maskline trace 3f2a9c…  --show     an image by its SHA-256, with its spans
  maskline trace ID --show --jaeger https://jaeger.example.org")]
pub(crate) struct Trace {
    /// The SHA-256 of an image, the id of a candidate, or the id of a job or its beginning
    id: String,
    /// Fetch the spans from Jaeger and draw them as a tree
    #[arg(long)]
    show: bool,
    /// Print each trace as one line of JSON
    #[arg(long)]
    json: bool,
    /// The address of Jaeger's pages. If it holds a password, give it by the environment,
    /// or in a file that MASKLINE_JAEGER_FILE names
    #[arg(
        long,
        env = "MASKLINE_JAEGER",
        value_name = "URL",
        default_value = "http://localhost:16686",
        hide_env_values = true
    )]
    jaeger: Address,
    /// The address of Jaeger's query API, if it is not that of its pages. If it holds a
    /// password, give it by the environment, or in a file that MASKLINE_JAEGER_API_FILE
    /// names
    #[arg(
        long,
        env = "MASKLINE_JAEGER_API",
        value_name = "URL",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    jaeger_api: Address,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What is printed about one trace.
#[derive(Debug, Serialize)]
struct TraceView {
    /// What the trace is about: `image` or `job`.
    what: &'static str,
    /// The location of the image, or the id of the job.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<CandidateId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<ImageId>,
    /// How far the image or the job is, or how it ended.
    state: &'static str,
    /// An image's trace is recorded when the image has ended.
    trace_id: Option<String>,
    /// The trace's page in Jaeger.
    link: Option<Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans: Option<Vec<Span>>,
}

impl Trace {
    /// Prints the trace of the image and that of its job, or that of the job.
    pub(crate) async fn run(self) -> Result<()> {
        let jaeger = self.jaeger()?;
        let stores = self.connection.stores().await?;
        let catalog = stores.catalog.as_ref();
        let candidates = self.candidates(catalog).await?;
        if candidates.is_empty() {
            let job = lookup::job(catalog, &self.id)
                .await
                .with_context(|| format!("{} names no image and no candidate", self.id))?;
            let job = job_view::job(catalog, job).await?;
            return self.print(of_job(job), &jaeger, self.show).await;
        }
        for candidate in candidates {
            let job = job_view::job(catalog, candidate.job).await?;
            self.print(of_image(candidate), &jaeger, self.show).await?;
            self.print(of_job(job), &jaeger, false).await?;
        }
        Ok(())
    }

    fn jaeger(&self) -> Result<Jaeger> {
        let api = Some(&self.jaeger_api).filter(|api| !api.expose().is_empty());
        let api = api.map(|api| url(api, "MASKLINE_JAEGER_API")).transpose()?;
        Jaeger::new(url(&self.jaeger, "MASKLINE_JAEGER")?)?.with_api(api)
    }

    async fn candidates(&self, catalog: &dyn Catalog) -> Result<Vec<Candidate>> {
        if let Ok(image) = self.id.parse::<ImageId>() {
            return Ok(catalog.candidates_of(&image).await?);
        }
        match self.id.parse::<CandidateId>() {
            Ok(id) => Ok(catalog.candidate(id).await?.into_iter().collect()),
            Err(_) => Ok(vec![]),
        }
    }

    async fn print(&self, mut trace: TraceView, jaeger: &Jaeger, show: bool) -> Result<()> {
        trace.link = trace.trace_id.as_deref().map(|id| jaeger.trace_page(id));
        if let (true, Some(id)) = (show, &trace.trace_id) {
            trace.spans = Some(jaeger.trace(id).await?.unwrap_or_default());
        }
        match self.json {
            true => output::print_json(&trace),
            false => output::print_coloured(trace.text()),
        }
    }
}

/// Parses an address. The error leaves the address out, because it may hold a password.
fn url(address: &Address, variable: &str) -> Result<Url> {
    let url = address.expose().parse::<Url>();
    url.with_context(|| format!("the address in {variable} is not valid: write http://HOST:16686"))
}

fn of_image(candidate: Candidate) -> TraceView {
    TraceView {
        what: "image",
        name: candidate.location.shown(),
        candidate: Some(candidate.id),
        image: candidate.image,
        state: candidate.state.as_str(),
        trace_id: candidate.trace_id,
        link: None,
        spans: None,
    }
}

fn of_job(job: JobView) -> TraceView {
    TraceView {
        what: "job",
        name: job.id.to_string(),
        candidate: None,
        image: None,
        state: job.state.name(),
        trace_id: job.trace_id,
        link: None,
        spans: None,
    }
}

impl TraceView {
    /// The trace as a person reads it.
    fn text(&self) -> String {
        let name = printable(&self.name);
        let mut lines = vec![format!("{} {name} · {}", self.what, self.state)];
        if let Some(candidate) = self.candidate {
            lines.push(format!("  candidate {candidate}"));
        }
        if let Some(image) = self.image {
            lines.push(format!("  image {image}"));
        }
        match (&self.trace_id, &self.link) {
            (Some(id), Some(link)) => lines.extend([format!("  trace {id}"), format!("  {link}")]),
            _ => lines.push("  no trace yet: it is recorded at the end".to_owned()),
        }
        let colours = std::io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
        match self.spans.as_deref() {
            None => {}
            Some([]) => lines.push(
                "  Jaeger has no such trace: it was not sampled, it is no longer kept, or the \
                 services\n  send their spans elsewhere (see OTEL_EXPORTER_OTLP_ENDPOINT)"
                    .to_owned(),
            ),
            Some(spans) => lines.push(format!("\n{}", trace_tree::draw(spans, colours))),
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct TestCommand {
        #[command(flatten)]
        trace: Trace,
    }

    fn parse(flags: &[&str]) -> Result<TestCommand, clap::Error> {
        TestCommand::try_parse_from([&["trace", "ID"][..], flags].concat())
    }

    #[test]
    fn an_address_of_jaeger_is_a_flag_unless_it_holds_a_password() {
        let command = parse(&["--jaeger", "http://pages", "--jaeger-api", "http://api"]);
        let jaeger = command.unwrap().trace.jaeger().unwrap();
        assert_eq!(jaeger.trace_page("ab").as_str(), "http://pages/trace/ab");
        for (flag, variable) in [
            ("--jaeger", "MASKLINE_JAEGER"),
            ("--jaeger-api", "MASKLINE_JAEGER_API"),
        ] {
            let refused = parse(&[flag, "http://me:hunter2@h"]).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.contains(variable), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
            let command = parse(&[flag, "http://h:hunter2"]).unwrap();
            let refused = command.trace.jaeger().err().expect("a port is a number");
            let refused = format!("{refused:#}");
            assert!(refused.contains(variable), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
