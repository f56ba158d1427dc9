//! What can be done about an error of lapin.

use lapin::{Error, ErrorKind};
use maskline_foundation::tls;

use super::address::Node;
use crate::broker::error::BrokerError;

// The protocol's reply codes.
pub const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The code that the broker answered with, if it did.
pub fn reply_code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Says what to do about an error while connecting.
pub fn explain(error: Error, node: &Node) -> BrokerError {
    let user = &node.uri.authority.userinfo.username;
    let explained = match reply_code(&error) {
        Some(ACCESS_REFUSED) => BrokerError::misconfigured(format!(
            "RabbitMQ at {node} refuses the user {user}: check the user, the password \
             and the user's permissions; guest may come from the broker's own machine only"
        )),
        Some(NOT_ALLOWED) => BrokerError::misconfigured(format!(
            "RabbitMQ at {node} does not let {user} in: check that the virtual host \
             exists and that the user may use it"
        )),
        Some(PRECONDITION_FAILED) => BrokerError::misconfigured(format!(
            "RabbitMQ at {node} has a queue or an exchange that was made otherwise: \
             delete it, use another virtual host, or give the max_length that it was made with"
        )),
        _ => match tls::advice(&error.to_string(), "?cacertfile=FILE") {
            Some(advice) => BrokerError::unavailable(format!("RabbitMQ at {node}: {advice}")),
            None => BrokerError::unavailable(format!("RabbitMQ at {node}")),
        },
    };
    explained.caused_by(error)
}
