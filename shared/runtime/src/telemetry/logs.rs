//! Log lines on standard error: for people on a terminal, JSON otherwise.

use std::{env, fmt, io, io::IsTerminal};

use anyhow::bail;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultFields, Format, Full, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// What the libraries say below a warning is for whoever debugs them.
const QUIET: &str = "warn,opentelemetry=off";

pub fn layer<S>(level: &str) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = filter(level, env::var("RUST_LOG").ok().as_deref())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    Ok(if for_people()? {
        let layer = layer.fmt_fields(DefaultFields::new());
        let layer = layer.with_ansi(io::stderr().is_terminal());
        layer
            .event_format(Human::default())
            .with_filter(filter)
            .boxed()
    } else {
        let layer = layer.fmt_fields(JsonFields::new());
        let format = Format::default().json();
        let format = format.flatten_event(true).with_current_span(false);
        layer
            .event_format(Traced(format))
            .with_filter(filter)
            .boxed()
    })
}

fn filter(level: &str, rust_log: Option<&str>) -> anyhow::Result<EnvFilter> {
    let directives = match rust_log.map(str::trim) {
        None | Some("") => format!("{QUIET},maskline={level}"),
        Some(asked) => format!("opentelemetry=off,{asked}"),
    };
    EnvFilter::try_new(directives).map_err(|error| {
        anyhow::anyhow!("RUST_LOG can't be read: {error} (an example: info,maskline_scraper=debug)")
    })
}

fn for_people() -> anyhow::Result<bool> {
    match env::var("MASKLINE_LOG").as_deref() {
        Ok("human") => Ok(true),
        Ok("json") => Ok(false),
        Ok("") | Err(_) => Ok(io::stderr().is_terminal()),
        Ok(other) => bail!("MASKLINE_LOG is {other:?}: human or json"),
    }
}

/// The trace that a line was written in.
fn current_ids() -> Option<(String, String)> {
    let context = opentelemetry::Context::current();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid()
        .then(|| (ids.trace_id().to_string(), ids.span_id().to_string()))
}

/// `tracing-subscriber`'s lines, the trace id at the end.
#[derive(Default)]
struct Human(Format<Full>);

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        match current_ids() {
            Some((trace, _)) => writeln!(writer, "{} trace_id={trace}", line.trim_end()),
            None => writer.write_str(&line),
        }
    }
}

/// `tracing-subscriber`'s JSON object with `trace_id` and `span_id` added.
struct Traced(Format<Json>);

impl<S, N> FormatEvent<S, N> for Traced
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        let object = line.trim_end();
        match (current_ids(), object.strip_suffix('}')) {
            (Some((trace, span)), Some(open)) => {
                writeln!(
                    writer,
                    r#"{open},"trace_id":"{trace}","span_id":"{span}"}}"#
                )
            }
            _ => writeln!(writer, "{object}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_level_that_is_none_is_a_clear_error() {
        let error = filter("info", Some("maskline=loud")).expect_err("no such level");
        assert!(error.to_string().contains("RUST_LOG"), "{error}");
    }

    #[test]
    fn without_rust_log_the_libraries_are_quiet_and_we_are_not() {
        let filter = filter("info", None)
            .expect("the default is right")
            .to_string();
        assert!(filter.contains("maskline=info"), "{filter}");
        assert!(filter.contains("opentelemetry=off"), "{filter}");
        assert!(filter.contains("warn"), "{filter}");
    }
}
