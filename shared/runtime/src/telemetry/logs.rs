//! Log lines on standard error, as text on a terminal and as JSON otherwise.

use std::{env, fmt, io, io::IsTerminal};

use anyhow::bail;
use maskline_foundation::text::{printable, printable_json};
use opentelemetry::trace::TraceContextExt;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::RecordFields,
    filter::{FilterExt, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{Format, Full, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// The libraries write warnings only, since the rest is for people who debug them. lapin
/// writes nothing: if somebody has to know of its errors, we log them ourselves.
const QUIET: &str = "warn,opentelemetry=off,lapin=off";

pub fn layer<S>(level: &str) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = filter(level, env::var("RUST_LOG").ok().as_deref())?;
    let filter = filter.and(filter_fn(|line| !may_contain_password(line)));
    Ok(if for_people()? {
        human(io::stderr).with_filter(filter).boxed()
    } else {
        json(io::stderr).with_filter(filter).boxed()
    })
}

fn human<S>(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        .fmt_fields(HumanFields)
        .event_format(Human::default())
}

fn json<S>(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let format = Format::default().json();
    tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .fmt_fields(JsonFields::new())
        .event_format(Traced(format.flatten_event(true).with_current_span(false)))
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

/// True if a line may contain a password. At this level lapin writes down every frame, the one
/// with user and password too, so it is silent whatever `RUST_LOG` asks for.
fn may_contain_password(line: &Metadata<'_>) -> bool {
    line.target().starts_with("lapin") && *line.level() == Level::TRACE
}

fn for_people() -> anyhow::Result<bool> {
    match env::var("MASKLINE_LOG").as_deref() {
        Ok("human") => Ok(true),
        Ok("json") => Ok(false),
        Ok("") | Err(_) => Ok(io::stderr().is_terminal()),
        Ok(other) => bail!("MASKLINE_LOG is {other:?}: human or json"),
    }
}

/// The ids of the trace and the span that a line was written in.
fn current_ids() -> Option<(String, String)> {
    let context = opentelemetry::Context::current();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid()
        .then(|| (ids.trace_id().to_string(), ids.span_id().to_string()))
}

/// `tracing-subscriber`'s lines with the trace id at the end.
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
        // Others wrote some of the values, which must neither end the line nor move the cursor.
        let line = printable(line.trim_end());
        match current_ids() {
            Some((trace, _)) => writeln!(writer, "{line} trace_id={trace}"),
            None => writeln!(writer, "{line}"),
        }
    }
}

/// Fields as `name=value`, without those that are meant for the trace (`otel.kind` …).
struct HumanFields;

impl<'writer> FormatFields<'writer> for HumanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = HumanVisitor {
            writer,
            separator: "",
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct HumanVisitor<'writer> {
    writer: Writer<'writer>,
    separator: &'static str,
    result: fmt::Result,
}

impl Visit for HumanVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_err() || field.name().starts_with("otel.") {
            return;
        }
        let separator = std::mem::replace(&mut self.separator, " ");
        self.result = match field.name() {
            "message" => write!(self.writer, "{separator}{value:?}"),
            name => write!(self.writer, "{separator}{name}={value:?}"),
        };
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
        let line = printable_json(&line);
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
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics holding it")
                .write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            let bytes = self.0.lock().expect("no test panics holding it").clone();
            String::from_utf8(bytes).expect("log lines are text")
        }
    }

    /// Logs one line in a span and says which trace that was.
    fn log_one(layer: impl Layer<Traces> + Send + Sync) -> String {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let traces = tracing_opentelemetry::layer().with_tracer(tracer);
        tracing::subscriber::with_default(Registry::default().with(traces).with(layer), || {
            let span = tracing::info_span!("process", otel.kind = "consumer", job = 7);
            let _entered = span.enter();
            tracing::info!(queue = "storer.images", "handled");
            super::super::spans::current_trace_id().expect("the span has a trace")
        })
    }

    type Traces = tracing_subscriber::layer::Layered<
        tracing_opentelemetry::OpenTelemetryLayer<Registry, opentelemetry_sdk::trace::SdkTracer>,
        Registry,
    >;

    #[test]
    fn a_json_line_is_one_object_with_its_trace() {
        let lines = Lines::default();
        let writer = lines.clone();
        let trace = log_one(json(move || writer.clone()));
        let line: serde_json::Value = serde_json::from_str(&lines.text()).expect("JSON");
        assert_eq!(line["message"], "handled");
        assert_eq!(line["queue"], "storer.images");
        assert_eq!(line["spans"][0]["job"], 7);
        assert_eq!(line["trace_id"], trace.as_str());
        assert_eq!(line["span_id"].as_str().map(str::len), Some(16));
    }

    #[test]
    fn a_line_for_people_ends_in_its_trace_and_hides_what_is_for_the_trace_alone() {
        let lines = Lines::default();
        let writer = lines.clone();
        let trace = log_one(human(move || writer.clone()));
        let text = lines.text();
        let end = format!("handled queue=\"storer.images\" trace_id={trace}\n");
        assert!(text.ends_with(&end), "{text}");
        assert!(text.contains("process{job=7}"), "{text}");
    }

    #[test]
    fn what_others_wrote_moves_no_cursor_and_begins_no_line() {
        let hostile = "a\u{1b}[2J\n2026-01-01 WARN forged\u{9b}1m\u{202e}";
        let log = |layer: Box<dyn Layer<Registry> + Send + Sync>| {
            tracing::subscriber::with_default(Registry::default().with(layer), || {
                tracing::info!(error = %hostile, file = hostile, "reading {hostile}");
            });
        };
        let (human_lines, json_lines) = (Lines::default(), Lines::default());
        let (human_writer, json_writer) = (human_lines.clone(), json_lines.clone());
        log(human(move || human_writer.clone()).boxed());
        log(json(move || json_writer.clone()).boxed());
        for text in [human_lines.text(), json_lines.text()] {
            assert_eq!(text.lines().count(), 1, "{text:?}");
            let obeyed = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!text.trim_end().contains(obeyed), "{text:?}");
        }
        let line: serde_json::Value = serde_json::from_str(&json_lines.text()).expect("JSON");
        assert_eq!(line["error"], hostile);
    }

    #[test]
    fn an_unknown_level_is_an_error_that_names_rust_log() {
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
