//! Addresses that may hold a password: where they are read from, and who may see them.
//!
//! Every user of a machine can read the command lines of its processes. So a password is
//! taken from the environment or from a file, and never from a flag.

use std::{env, ffi::OsStr, fs};

use clap::{
    Arg, Command, Error,
    builder::{TypedValueParser, ValueParserFactory},
    error::ErrorKind,
    parser::ValueSource,
};
use secrecy::{ExposeSecret, SecretString};

/// The schemes of files. They hold no password, though a file's name may look as if it did.
const LOCAL: [&str; 3] = ["embedded", "file", "sqlite"];

/// Parts of the names of an address's options that hold a password or work like one.
const SECRET_OPTIONS: [&str; 3] = ["password", "token", "secret"];

/// Where a server is, perhaps with user and password. Debug output does not show it.
///
/// An argument of this type is read from its flag, which must not hold a password. Without
/// the flag it is read from the argument's environment variable. Without that it is read from
/// the file that the variable of the same name with `_FILE` at its end names.
#[derive(Debug, Clone)]
pub struct Address(SecretString);

impl Address {
    /// The address itself, to connect to. It must never be logged.
    pub fn expose(&self) -> &str {
        self.0.expose_secret().trim()
    }
}

impl From<&str> for Address {
    fn from(address: &str) -> Self {
        Self(address.into())
    }
}

impl From<String> for Address {
    fn from(address: String) -> Self {
        Self(address.into())
    }
}

impl ValueParserFactory for Address {
    type Parser = AddressParser;

    fn value_parser() -> AddressParser {
        AddressParser
    }
}

/// Reads an [`Address`] from the command line.
#[derive(Debug, Clone, Copy)]
pub struct AddressParser;

impl TypedValueParser for AddressParser {
    type Value = Address;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Address, Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Address, Error> {
        let variable = arg.and_then(Arg::get_env).and_then(OsStr::to_str);
        let parsed = parse(value, source, variable.unwrap_or_default(), |name| {
            env::var_os(name)
        });
        parsed.map_err(|problem| {
            Error::raw(ErrorKind::ValueValidation, format!("{problem}\n")).with_cmd(command)
        })
    }
}

/// Reads the address of an argument with the environment variable `variable`. `environment`
/// looks variables up.
fn parse(
    value: &OsStr,
    source: ValueSource,
    variable: &str,
    environment: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<Address, String> {
    let by_file = format!("{variable}_FILE");
    if source == ValueSource::DefaultValue
        && let Some(file) = environment(&by_file).filter(|file| !file.is_empty())
    {
        let file = std::path::PathBuf::from(file);
        let explain = |problem| format!("{by_file} names {}, which {problem}", file.display());
        let address = fs::read_to_string(&file)
            .map_err(|error| explain(format!("can't be read: {error}")))?;
        if address.trim().is_empty() {
            return Err(explain("is empty: write the address into it".to_owned()));
        }
        return Ok(address.into());
    }
    // No error repeats the value, since it may hold a password.
    let address = value
        .to_str()
        .ok_or_else(|| format!("the address of {variable} is not UTF-8"))?;
    if source == ValueSource::CommandLine && holds_secret(address) {
        return Err(format!(
            "an address with a password can't be a flag, because everybody on this machine may \
             read the command lines of processes: put it into the environment as {variable}, or \
             into a file that {by_file} names"
        ));
    }
    Ok(address.into())
}

/// True if the address is like `scheme://user:password@…` or has an option such as
/// `?…Password=`.
fn holds_secret(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else {
        return false;
    };
    if LOCAL.contains(&scheme.trim()) {
        return false;
    }
    // The last `@` counts, since an `@` in a password may not be escaped.
    let user = rest.rsplit_once('@').map(|(user, _)| user);
    let options = rest.split_once('?').map_or("", |(_, options)| options);
    let options = options.to_ascii_lowercase();
    user.is_some_and(|user| user.contains(':'))
        || SECRET_OPTIONS.iter().any(|secret| options.contains(secret))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, io::Write};

    use super::*;

    const VARIABLE: &str = "MASKLINE_BROKER";

    fn given(value: &str, source: ValueSource, file: Option<&OsStr>) -> Result<String, String> {
        let environment = |name: &str| {
            assert_eq!(name, "MASKLINE_BROKER_FILE");
            file.map(OsString::from)
        };
        let parsed = parse(value.as_ref(), source, VARIABLE, environment);
        parsed.map(|address| address.expose().to_owned())
    }

    #[test]
    fn a_flag_may_hold_an_address_but_no_password() {
        for address in [
            "amqp://me:hunter2@host/",
            "amqps://me:hunter2@host:5671/%2f?max_length=7",
            "mongodb://me:hunter2@one:1,two:2/faces",
            "mongodb://me:a/hunter2@host/faces",
            "mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
            "mongodb://host/?tls=true&tlsCertificateKeyFilePassword=hunter2",
        ] {
            let refused = given(address, ValueSource::CommandLine, None).unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
            assert!(refused.contains("MASKLINE_BROKER_FILE"), "{refused}");
            let from_environment = given(address, ValueSource::EnvVariable, None);
            assert_eq!(from_environment.as_deref(), Ok(address));
        }
        for address in [
            "amqp://host:5672/%2f",
            "amqp://me@host",
            "mongodb://one:1,two:2/faces?replicaSet=rs0",
            "embedded:/a:b@c/queue.db",
            "sqlite:///a:b@c/catalog.db",
        ] {
            let flag = given(address, ValueSource::CommandLine, None);
            assert_eq!(flag.as_deref(), Ok(address));
        }
    }

    #[test]
    fn the_address_is_read_from_a_file_if_neither_flag_nor_variable_is_given() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "amqp://me:hunter2@host/").unwrap();
        let path = Some(file.path().as_os_str());
        let found = given("embedded:", ValueSource::DefaultValue, path);
        assert_eq!(found.as_deref(), Ok("amqp://me:hunter2@host/"));
        for source in [ValueSource::CommandLine, ValueSource::EnvVariable] {
            let found = given("embedded:", source, path);
            assert_eq!(found.as_deref(), Ok("embedded:"));
        }
        let found = given("embedded:", ValueSource::DefaultValue, None);
        assert_eq!(found.as_deref(), Ok("embedded:"));
    }

    #[test]
    fn a_file_that_is_missing_or_empty_is_named() {
        let missing = Some(OsStr::new("/no/such/secret"));
        let error = given("embedded:", ValueSource::DefaultValue, missing).unwrap_err();
        assert!(
            error.contains("MASKLINE_BROKER_FILE names /no/such/secret"),
            "{error}"
        );
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = Some(empty.path().as_os_str());
        let error = given("embedded:", ValueSource::DefaultValue, empty).unwrap_err();
        assert!(error.contains("is empty"), "{error}");
    }

    #[test]
    fn debug_output_does_not_show_the_address() {
        let address = Address::from("amqp://me:hunter2@h/");
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
