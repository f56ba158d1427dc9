//! An error of lapin by what can be done about it.

use lapin::{Error, ErrorKind};
use maskline_foundation::tls;

use super::address::Node;
use crate::broker::BrokerError;

// The protocol's reply codes.
pub const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// What the broker answered, if it did.
pub fn reply_code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Says of an error while connecting what to do about it.
pub fn explain(error: &Error, node: &Node) -> BrokerError {
    let user = &node.uri.authority.userinfo.username;
    let said = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    };
    match reply_code(error) {
        Some(ACCESS_REFUSED) => BrokerError::Misconfigured(format!(
            "RabbitMQ at {node} refuses the user {user} ({said}): check the user, the password \
             and the user's permissions; guest may come from the broker's own machine only"
        )),
        Some(NOT_ALLOWED) => BrokerError::Misconfigured(format!(
            "RabbitMQ at {node} does not let {user} in ({said}): check that the virtual host \
             exists and that the user may use it"
        )),
        Some(PRECONDITION_FAILED) => BrokerError::Misconfigured(format!(
            "RabbitMQ at {node} has a queue or an exchange that was made otherwise ({said}): \
             delete it, use another virtual host, or give the max_length that it was made with"
        )),
        _ => BrokerError::Unavailable(match tls::advice(&said, "?cacertfile=FILE") {
            Some(advice) => format!("RabbitMQ at {node} ({said}): {advice}"),
            None => format!("RabbitMQ at {node}: {said}"),
        }),
    }
}
