//! One client span for each operation, after OpenTelemetry's conventions for
//! databases.

use std::future::Future;

use maskline_foundation::telemetry_names::{
    attribute::{OTEL_NAME, OTEL_STATUS_CODE, OTEL_STATUS_DESCRIPTION},
    span::CATALOG,
};
use opentelemetry_semantic_conventions::trace;
use tracing::{Instrument, Span, field, info_span};

use crate::error::StorageError;

/// The database that the operations go to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `mongodb` or `sqlite`.
    pub system: &'static str,
    /// The database, or the file.
    pub namespace: String,
    /// The host and the port. `None` for a file.
    pub server: Option<(String, u16)>,
}

impl Target {
    /// Runs `work` in a span, which records the error if it fails. Outside of a trace there
    /// is no span: polls for work and probes would otherwise each make a trace of one span.
    pub async fn traced<T>(
        &self,
        operation: &'static str,
        collection: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        if Span::current().is_none() {
            return work.await;
        }
        let span = self.span(operation, collection);
        let result = work.instrument(span.clone()).await;
        if let Err(error) = &result {
            span.record(OTEL_STATUS_CODE, "ERROR");
            span.record(OTEL_STATUS_DESCRIPTION, format!("{error:#}"));
            span.record(trace::ERROR_TYPE, error.kind().as_str());
        }
        result
    }

    fn span(&self, operation: &'static str, collection: &'static str) -> Span {
        let server = self.server.as_ref();
        info_span!(
            CATALOG,
            { OTEL_NAME } = format_args!("{operation} {collection}"),
            otel.kind = "client",
            { OTEL_STATUS_CODE } = field::Empty,
            { OTEL_STATUS_DESCRIPTION } = field::Empty,
            { trace::DB_SYSTEM_NAME } = self.system,
            { trace::DB_NAMESPACE } = self.namespace,
            { trace::DB_OPERATION_NAME } = operation,
            { trace::DB_COLLECTION_NAME } = collection,
            { trace::SERVER_ADDRESS } = server.map(|(host, _)| host.as_str()),
            // An unsigned number would be exported as text.
            { trace::SERVER_PORT } = server.map(|(_, port)| i64::from(*port)),
            { trace::ERROR_TYPE } = field::Empty,
        )
    }
}
