//! Where the providers are, and what the scraper has for them.

use maskline_messages::SearchProvider;
use url::Url;

use super::keys::ApiKeys;

const OPENVERSE: &str = "https://api.openverse.org/";
const COMMONS: &str = "https://commons.wikimedia.org/";
const FLICKR: &str = "https://api.flickr.com/";
const SERPAPI: &str = "https://serpapi.com/";
const BRAVE: &str = "https://api.search.brave.com/";

/// Where the providers of image search are. Their keys come from the environment or from files,
/// never from flags, because everybody on a machine can read its command lines.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Image search")]
pub struct SearchArgs {
    /// The address of Openverse's API. It is asked with a key if MASKLINE_OPENVERSE_CLIENT_ID
    /// and MASKLINE_OPENVERSE_CLIENT_SECRET are set. To read any key from a file, add _FILE to
    /// the variable's name
    #[arg(long, env = "MASKLINE_OPENVERSE_URL", value_name = "URL", default_value = OPENVERSE,
        value_parser = endpoint)]
    pub openverse_url: Url,
    /// The address of Wikimedia Commons
    #[arg(long, env = "MASKLINE_COMMONS_URL", value_name = "URL", default_value = COMMONS,
        value_parser = endpoint)]
    pub commons_url: Url,
    /// The address of Flickr's API. Its key is MASKLINE_FLICKR_KEY
    #[arg(long, env = "MASKLINE_FLICKR_URL", value_name = "URL", default_value = FLICKR,
        value_parser = endpoint)]
    pub flickr_url: Url,
    /// The address of SerpApi. Its key is MASKLINE_SERPAPI_KEY
    #[arg(long, env = "MASKLINE_SERPAPI_URL", value_name = "URL", default_value = SERPAPI,
        value_parser = endpoint)]
    pub serpapi_url: Url,
    /// The address of Brave's search API. Its key is MASKLINE_BRAVE_KEY
    #[arg(long, env = "MASKLINE_BRAVE_URL", value_name = "URL", default_value = BRAVE,
        value_parser = endpoint)]
    pub brave_url: Url,
}

/// An address below which the paths of an API lie.
fn endpoint(text: &str) -> Result<Url, String> {
    let wrong = || "not an http(s) address, such as https://api.example.org/".to_owned();
    let mut url: Url = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_web || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong());
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("an address without user and password is needed".to_owned());
    }
    if !url.path().ends_with('/') {
        let folder = format!("{}/", url.path());
        url.set_path(&folder);
    }
    Ok(url)
}

/// What the scraper knows about the providers.
#[derive(Debug, Clone)]
pub(crate) struct SearchSettings {
    pub(crate) endpoints: SearchArgs,
    pub(crate) keys: ApiKeys,
    /// The `User-Agent` has the operator's contact, which some providers reward.
    pub(crate) has_contact: bool,
}

/// The address of an API.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    base: Url,
    /// The operator has named it, so that it may be private.
    pub(super) is_operators: bool,
}

impl Endpoint {
    /// The key under which all replicas keep the quota of a provider, whose own API has the key
    /// `usual`. Another server counts its requests by itself.
    pub(super) fn quota_key(&self, usual: &str) -> String {
        match self.is_operators {
            true => format!("{usual}/{}", self.base.authority()),
            false => usual.to_owned(),
        }
    }

    /// The URL of a path of the API.
    pub(super) fn at(&self, path: &str) -> Url {
        let joined = self.base.join(path);
        joined.expect("a plain path can be joined to any http(s) address")
    }
}

impl SearchSettings {
    pub(super) fn endpoint(&self, provider: SearchProvider) -> Endpoint {
        let endpoints = &self.endpoints;
        let (base, usual) = match provider {
            SearchProvider::Openverse => (&endpoints.openverse_url, OPENVERSE),
            SearchProvider::Commons => (&endpoints.commons_url, COMMONS),
            SearchProvider::Flickr => (&endpoints.flickr_url, FLICKR),
            SearchProvider::SerpapiGoogle | SearchProvider::SerpapiBing => {
                (&endpoints.serpapi_url, SERPAPI)
            }
            SearchProvider::Brave => (&endpoints.brave_url, BRAVE),
        };
        Endpoint {
            base: base.clone(),
            is_operators: base.as_str() != usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        search: SearchArgs,
    }

    fn settings(args: &[&str]) -> Result<SearchSettings, clap::Error> {
        Ok(SearchSettings {
            endpoints: Cli::try_parse_from([&["scraper"], args].concat())?.search,
            keys: ApiKeys::default(),
            has_contact: false,
        })
    }

    #[test]
    fn only_an_address_that_the_operator_has_named_may_be_private() {
        let usual = settings(&[]).unwrap();
        for &provider in SearchProvider::ALL {
            let endpoint = usual.endpoint(provider);
            assert!(!endpoint.is_operators, "{provider}");
            assert_eq!(endpoint.at("a/b").scheme(), "https");
        }
        let own = settings(&["--brave-url", "http://127.0.0.1:8080/brave"]).unwrap();
        let endpoint = own.endpoint(SearchProvider::Brave);
        assert!(endpoint.is_operators);
        let url = endpoint.at("res/v1/images/search");
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:8080/brave/res/v1/images/search"
        );
        assert!(!own.endpoint(SearchProvider::Flickr).is_operators);
    }

    #[test]
    fn an_address_that_no_path_can_be_added_to_is_refused() {
        for bad in ["brave", "ftp://h/", "https://h/?a=b", "https://me:word@h/"] {
            let Err(error) = settings(&["--brave-url", bad]) else {
                panic!("{bad} was taken");
            };
            assert!(error.to_string().contains("address"), "{error}");
        }
    }
}
