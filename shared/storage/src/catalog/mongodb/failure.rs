//! Turns the driver's errors into errors of a store that say what can be done.

use std::fmt;

use maskline_foundation::tls;
use mongodb::error::{Error, ErrorKind, IndexedWriteError, InsertManyError, WriteFailure};

use crate::error::StorageError;

const DUPLICATE_KEY: i32 = 11000;

/// The codes of errors after which the same operation may succeed later, or on another
/// member: <https://www.mongodb.com/docs/manual/reference/error-codes/>.
const TRANSIENT: [i32; 24] = [
    6,     // HostUnreachable
    7,     // HostNotFound
    24,    // LockTimeout
    43,    // CursorNotFound: the server forgot it, a new query makes a new one
    46,    // LockBusy
    50,    // MaxTimeMSExpired
    64,    // WriteConcernTimeout
    89,    // NetworkTimeout
    91,    // ShutdownInProgress
    100,   // UnsatisfiableWriteConcern
    112,   // WriteConflict
    134,   // ReadConcernMajorityNotAvailableYet
    175,   // QueryPlanKilled
    189,   // PrimarySteppedDown
    202,   // NetworkInterfaceExceededTimeLimit
    262,   // ExceededTimeLimit
    9001,  // SocketException
    10058, // LegacyNotPrimary
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11602, // InterruptedDueToReplStateChange
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
    14031, // OutOfDiskSpace
];

/// Says whether a document of the same `_id` was in the way.
pub(super) fn is_duplicate_key(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(refused)) => refused.code == DUPLICATE_KEY,
        ErrorKind::Command(refused) => refused.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// Says whether, of many inserts, only those failed whose documents were there before.
pub(super) fn are_only_duplicates(error: &Error) -> bool {
    let ErrorKind::InsertMany(refused) = &*error.kind else {
        return false;
    };
    let mut errors = refused.write_errors.iter().flatten();
    refused.write_concern_error.is_none() && errors.all(|error| error.code == DUPLICATE_KEY)
}

/// The driver's error, with a text that a person can read: the cause alone, without the
/// driver's labels and the server's whole answer.
pub(super) struct DriverError(Error);

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_server = |code: i32, message: &str| write!(f, "{message} (code {code})");
        match &*self.0.kind {
            ErrorKind::Io(error) => write!(f, "{error}"),
            ErrorKind::ConnectionPoolCleared { message, .. }
            | ErrorKind::DnsResolve { message, .. }
            | ErrorKind::ServerSelection { message, .. }
            | ErrorKind::Authentication { message, .. }
            | ErrorKind::InvalidTlsConfig { message, .. }
            | ErrorKind::IncompatibleServer { message, .. } => f.write_str(message),
            ErrorKind::Command(error) => by_server(error.code, &error.message),
            ErrorKind::Write(WriteFailure::WriteError(error)) => {
                by_server(error.code, &error.message)
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(error)) => {
                by_server(error.code, &error.message)
            }
            ErrorKind::InsertMany(errors) => match (&errors.write_concern_error, refused(errors)) {
                (Some(error), _) => by_server(error.code, &error.message),
                (None, Some(error)) => by_server(error.code, &error.message),
                (None, None) => write!(f, "{}", self.0.kind),
            },
            kind => write!(f, "{kind}"),
        }
    }
}

/// Shows the text alone, because the driver's own debug output may hold anything.
impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl std::error::Error for DriverError {}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The first of the inserts that failed for another reason than a duplicate.
fn refused(errors: &InsertManyError) -> Option<&IndexedWriteError> {
    let mut errors = errors.write_errors.iter().flatten();
    errors.find(|error| error.code != DUPLICATE_KEY)
}

/// The store's error for an error of the driver. `display_name` says which server and database
/// it was about.
pub(super) fn explain(error: Error, display_name: &str) -> StorageError {
    let unavailable = |what: &str| StorageError::unavailable(format!("{display_name} {what}"));
    let explained = match &*error.kind {
        ErrorKind::Io(_) => unavailable("is cut off: the connection broke"),
        ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::DnsResolve { .. } => {
            unavailable("can't be reached")
        }
        ErrorKind::ServerSelection { message, .. } => {
            let advice = tls::advice(message, "?tlsCAFile=FILE");
            let advice = advice.unwrap_or_else(|| "check that it runs, and its address".to_owned());
            unavailable(&format!("does not answer: {advice}"))
        }
        ErrorKind::Authentication { .. } => refused_user(display_name),
        ErrorKind::InvalidTlsConfig { .. } | ErrorKind::IncompatibleServer { .. } => {
            StorageError::misconfigured(format!("{display_name} can't be used"))
        }
        ErrorKind::Command(error) => by_code(error.code, display_name),
        ErrorKind::Write(WriteFailure::WriteError(error)) => by_code(error.code, display_name),
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => unavailable(NOT_NOW),
        ErrorKind::InsertMany(errors) => match (&errors.write_concern_error, refused(errors)) {
            (Some(_), _) => unavailable(NOT_NOW),
            (None, Some(error)) => by_code(error.code, display_name),
            (None, None) => failed(display_name),
        },
        _ if error.contains_label(mongodb::error::RETRYABLE_ERROR) => unavailable(NOT_NOW),
        _ => failed(display_name),
    };
    explained.caused_by(DriverError(error))
}

const NOT_NOW: &str = "can't do it now";

fn by_code(code: i32, display_name: &str) -> StorageError {
    match code {
        _ if TRANSIENT.contains(&code) => {
            StorageError::unavailable(format!("{display_name} {NOT_NOW}"))
        }
        // Unauthorized
        13 => StorageError::misconfigured(format!(
            "{display_name} forbids it: give the user the role readWrite on this database"
        )),
        // UserNotFound, AuthenticationFailed, MongoDB Atlas's own
        11 | 18 | 8000 => refused_user(display_name),
        // IndexOptionsConflict, IndexKeySpecsConflict
        85 | 86 => StorageError::misconfigured(format!(
            "{display_name} has other indexes than this version of maskline makes: drop them, or \
             name another database"
        )),
        _ => failed(display_name),
    }
}

fn failed(display_name: &str) -> StorageError {
    StorageError::internal(format!("{display_name} failed"))
}

fn refused_user(display_name: &str) -> StorageError {
    StorageError::misconfigured(format!(
        "{display_name} refuses the user: check the user and the password in the catalog's \
         address, and ?authSource=DATABASE if the user is kept in another database"
    ))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, deserialize_from_document, doc};

    use super::*;

    const DISPLAY_NAME: &str = "MongoDB at here:1, database faces";

    fn command_error(code: i32) -> Error {
        let answer = doc! { "code": code, "codeName": "Name", "errmsg": "why" };
        let refused = deserialize_from_document(answer).expect("the server's own shape");
        ErrorKind::Command(refused).into()
    }

    fn insert_error(answer: Document) -> Error {
        let refused = deserialize_from_document(answer).expect("the server's own shape");
        ErrorKind::InsertMany(refused).into()
    }

    #[test]
    fn the_servers_code_decides() {
        let kinds = [
            (91, "unavailable"),
            (64, "unavailable"),
            (10107, "unavailable"),
            (14031, "unavailable"),
            (18, "misconfigured"),
            (13, "misconfigured"),
            (86, "misconfigured"),
            (2, "internal"),
        ];
        for (code, kind) in kinds {
            let error = explain(command_error(code), DISPLAY_NAME);
            assert_eq!(error.kind().as_str(), kind, "{code}: {error}");
            assert!(error.to_string().contains(DISPLAY_NAME), "{error}");
            assert!(format!("{error:#}").contains("why"), "{error:#}");
        }
    }

    #[test]
    fn a_broken_connection_may_come_back() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(
            explain(broken.into(), DISPLAY_NAME).kind().as_str(),
            "unavailable"
        );
    }

    #[test]
    fn duplicates_are_distinguished_from_other_failures() {
        assert!(is_duplicate_key(&command_error(DUPLICATE_KEY)));
        assert!(!is_duplicate_key(&command_error(91)));

        let refused = |code: i32| doc! { "index": 0, "code": code, "errmsg": "why" };
        let duplicate = refused(DUPLICATE_KEY);
        let only = insert_error(doc! { "writeErrors": [&duplicate, &duplicate] });
        assert!(are_only_duplicates(&only));

        let full = insert_error(doc! { "writeErrors": [&duplicate, refused(14031)] });
        assert!(!are_only_duplicates(&full));
        assert_eq!(explain(full, DISPLAY_NAME).kind().as_str(), "unavailable");

        let late = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
        let late = insert_error(doc! { "writeErrors": [duplicate], "writeConcernError": late });
        assert!(!are_only_duplicates(&late));
        assert_eq!(explain(late, DISPLAY_NAME).kind().as_str(), "unavailable");
    }
}
