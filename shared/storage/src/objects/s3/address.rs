//! Where a bucket is: `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME]`.

use std::{env, path::PathBuf};

use maskline_messages::ObjectKey;
use url::Url;

use crate::error::StorageError;

const EXPECTED: &str = "write s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME]";
/// The region that servers other than Amazon's take.
const REGION_OF_OTHERS: &str = "us-east-1";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub bucket: String,
    /// The prefix of all keys, without a slash at its end. It may be empty.
    pub prefix: String,
    /// `None` for Amazon's, which depends on the region.
    pub endpoint: Option<Url>,
    pub region: String,
    /// The PEM file of the authorities to trust. `None` for the usual ones, or without TLS.
    pub authorities: Option<PathBuf>,
}

impl Address {
    /// Reads an address. What it does not say comes from the environment variables of AWS.
    pub fn parse(address: &str) -> Result<Self, StorageError> {
        Self::parse_with(address, |name| env::var(name).ok())
    }

    /// Reads the address of somebody else's objects, whose prefix may be any text. It is that of
    /// the objects' names, to the last slash.
    pub fn parse_source(address: &str) -> Result<Self, StorageError> {
        let (place, options) = match address.split_once('?') {
            Some((place, options)) => (place, Some(options)),
            None => (address, None),
        };
        let below = place.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = below.split_once('/').unwrap_or((below, ""));
        let options = options.map(|options| format!("?{options}"));
        let parsed = Self::parse(&format!("s3://{bucket}{}", options.unwrap_or_default()))?;
        Ok(Self {
            prefix: prefix.to_owned(),
            ..parsed
        })
    }

    fn parse_with(
        address: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StorageError> {
        // No error repeats the address, because somebody may have put a secret in it.
        let wrong = |problem: &str| {
            StorageError::misconfigured(format!("the object store's address {problem}: {EXPECTED}"))
        };
        let url = Url::parse(address).map_err(|_| wrong("can't be read"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "holds credentials, which belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| wrong("names no bucket"))?.to_owned();
        let prefix = url.path().trim_matches('/').to_owned();
        if !prefix.is_empty() && prefix.parse::<ObjectKey>().is_err() {
            return Err(wrong(
                "has a prefix of more than letters, digits and . _ - = between slashes",
            ));
        }
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let mut endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
        let mut region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        for (name, value) in url.query_pairs() {
            match &*name {
                "endpoint" => endpoint = Some(value.into_owned()),
                "region" => region = Some(value.into_owned()),
                _ => return Err(wrong(&format!("has an unknown option {name:?}"))),
            }
        }
        let endpoint = endpoint
            .map(|endpoint| {
                let url = Url::parse(&endpoint).ok();
                url.filter(is_server)
                    .ok_or_else(|| wrong("has an endpoint that is no http(s)://HOST[:PORT]"))
            })
            .transpose()?;
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            (None, Some(_)) => REGION_OF_OTHERS.to_owned(),
            (None, None) => {
                return Err(wrong(
                    "names no region, and AWS_REGION is not set. Set it, or name one \
                     (another server than Amazon's needs ?endpoint=URL)",
                ));
            }
        };
        let is_plain = endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
        let authorities = variable("AWS_CA_BUNDLE").filter(|_| !is_plain);
        Ok(Self {
            bucket,
            prefix,
            endpoint,
            region,
            authorities: authorities.map(PathBuf::from),
        })
    }
}

fn is_server(url: &Url) -> bool {
    let has_user = !url.username().is_empty() || url.password().is_some();
    matches!(url.scheme(), "http" | "https") && url.has_host() && !has_user
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StorageErrorKind;

    fn read(address: &str, environment: &[(&str, &str)]) -> Result<Address, StorageError> {
        Address::parse_with(address, |asked| {
            let found = environment.iter().find(|(name, _)| *name == asked);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn url(text: &str) -> Option<Url> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_address_says_bucket_prefix_endpoint_and_region() {
        let cases = [
            (
                "s3://faces?region=eu-west-3",
                ("faces", "", None, "eu-west-3"),
            ),
            (
                "s3://faces/a/b/?endpoint=http://127.0.0.1:9000",
                ("faces", "a/b", url("http://127.0.0.1:9000"), "us-east-1"),
            ),
            (
                "s3://my_faces.2/a?endpoint=https%3A%2F%2Fs3.example.org%2Fx&region=r",
                ("my_faces.2", "a", url("https://s3.example.org/x"), "r"),
            ),
        ];
        for (address, (bucket, prefix, endpoint, region)) in cases {
            let expected = Address {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                endpoint,
                region: region.to_owned(),
                authorities: None,
            };
            assert_eq!(read(address, &[]), Ok(expected), "{address}");
        }
    }

    #[test]
    fn the_environment_says_the_rest() {
        let environment = [
            ("AWS_REGION", "eu-north-1"),
            ("AWS_ENDPOINT_URL", "http://minio:9000"),
        ];
        let address = read("s3://faces", &environment).unwrap();
        assert_eq!(address.region, "eu-north-1");
        assert_eq!(address.endpoint, url("http://minio:9000"));

        let own = "s3://faces?endpoint=http://here:1&region=r";
        let address = read(own, &environment).unwrap();
        assert_eq!(address.region, "r");
        assert_eq!(address.endpoint, url("http://here:1"));

        let empty = [("AWS_REGION", "r"), ("AWS_ENDPOINT_URL", "")];
        assert_eq!(read("s3://faces", &empty).unwrap().endpoint, None);
    }

    #[test]
    fn with_tls_the_environment_says_whom_to_trust() {
        let authorities = |address| {
            let environment = [("AWS_CA_BUNDLE", "/ca.pem"), ("AWS_REGION", "r")];
            read(address, &environment).unwrap().authorities
        };
        let own = Some(PathBuf::from("/ca.pem"));
        assert_eq!(authorities("s3://faces"), own);
        assert_eq!(authorities("s3://faces?endpoint=https://h"), own);
        assert_eq!(authorities("s3://faces?endpoint=http://h"), None);
    }

    #[test]
    fn a_wrong_address_says_what_is_wrong_and_shows_no_secret() {
        for (address, problem) in [
            ("s3://", "names no bucket"),
            ("s3:faces", "names no bucket"),
            ("s3://faces", "AWS_REGION"),
            ("s3://key:hunter2@faces?region=r", "AWS_SECRET_ACCESS_KEY"),
            ("s3://faces/a b?region=r", "prefix"),
            ("s3://faces?endpoint=hunter2", "endpoint"),
            ("s3://faces?endpoint=ftp://h", "endpoint"),
            ("s3://faces?endpoint=http://me:hunter2@h", "endpoint"),
            ("s3://faces?regoin=r", "\"regoin\""),
        ] {
            let error = read(address, &[]).unwrap_err();
            assert_eq!(error.kind(), StorageErrorKind::Misconfigured, "{address}");
            let text = error.to_string();
            assert!(text.contains(problem), "{address}: {text}");
            assert!(text.contains("s3://BUCKET"), "{address}: {text}");
            assert!(!text.contains("hunter2"), "{address}: {text}");
        }
    }
}
