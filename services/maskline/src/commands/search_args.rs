//! The flags of a search for images.

use anyhow::{Result, bail};
use clap::Args;
use maskline_messages::{License, Search, SearchProvider, Source};

/// The most characters of the words. No provider takes more.
const MAX_QUERY: usize = 400;

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// The words to search for. At Commons also a category, such as "Category:Surgical masks"
    #[arg(value_name = "WORDS")]
    query: String,
    /// The services to ask, one after the other: openverse and commons need no key; flickr,
    /// serpapi-google, serpapi-bing and brave need one, which the scraper reads from its
    /// environment
    #[arg(
        long,
        value_name = "PROVIDERS",
        value_delimiter = ',',
        required = true,
        value_parser = provider
    )]
    provider: Vec<SearchProvider>,
    /// The most results to take, of all providers together
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// Take only results under one of these licences, in any version: cc0, pdm, by, by-sa,
    /// by-nc, by-nd, by-nc-sa, by-nc-nd
    #[arg(long, value_name = "LICENCES", value_delimiter = ',')]
    license: Vec<License>,
}

impl SearchArgs {
    /// The source that the flags describe.
    pub(super) fn source(self) -> Result<Source> {
        let query = self.query.trim().to_owned();
        if query.is_empty() || query.chars().count() > MAX_QUERY {
            bail!("the words to search for must have 1 to {MAX_QUERY} characters");
        }
        if query.chars().any(char::is_control) {
            bail!("the words to search for have a control character: leave it out");
        }
        let silent = self.provider.iter().find(|name| !name.tells_licenses());
        if let Some(silent) = silent.filter(|_| !self.license.is_empty()) {
            bail!(
                "{silent} says nothing about licences, so that --license would reject all of its \
                 results: leave one of the two out, or search at openverse, commons or flickr"
            );
        }
        Ok(Source::Search(Search {
            query,
            providers: each_once(self.provider),
            limit: self.limit,
            licenses: each_once(self.license),
        }))
    }
}

/// Reads the name of a provider. For a name that people expect, the error says what there is
/// in its place.
fn provider(text: &str) -> Result<SearchProvider, String> {
    match text {
        "google" => Err(
            "Google's own search (the Custom Search JSON API) is closed to new customers: use \
             serpapi-google with a key of SerpApi, or openverse or commons, which need no key"
                .to_owned(),
        ),
        "bing" => Err(
            "Microsoft has closed Bing's own search API: use serpapi-bing with a key of SerpApi, \
             or openverse or commons, which need no key"
                .to_owned(),
        ),
        "serpapi" => Err(
            "SerpApi asks several search engines: write serpapi-google or serpapi-bing".to_owned(),
        ),
        _ => text.parse().map_err(|unknown| format!("{unknown}")),
    }
}

fn each_once<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut once = vec![];
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
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

    fn source(args: &[&str]) -> Result<Source, String> {
        let parsed = Cli::try_parse_from([&["search"], args].concat());
        let parsed = parsed.map_err(|error| error.to_string())?;
        parsed.search.source().map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_become_a_search_in_which_each_provider_is_asked_once() {
        let args = [
            " face  mask ",
            "--provider",
            "commons,openverse,commons",
            "--license",
            "by-sa,cc0",
            "--license",
            "by-sa",
        ];
        let expected = Search {
            query: "face  mask".to_owned(),
            providers: vec![SearchProvider::Commons, SearchProvider::Openverse],
            limit: 1000,
            licenses: vec![License::BySa, License::Cc0],
        };
        assert_eq!(source(&args), Ok(Source::Search(expected)));
    }

    #[test]
    fn what_can_not_be_searched_is_refused_with_what_can() {
        let long = "x".repeat(MAX_QUERY + 1);
        let cases: [(&[&str], &str); 10] = [
            (
                &["a", "--provider", "google"],
                "closed to new customers: use serpapi-google",
            ),
            (&["a", "--provider", "bing"], "use serpapi-bing"),
            (
                &["a", "--provider", "serpapi"],
                "serpapi-google or serpapi-bing",
            ),
            (
                &["a", "--provider", "openverse,altavista"],
                "not a provider of image search (openverse, commons, flickr, serpapi-google, \
                 serpapi-bing, brave)",
            ),
            (&["a"], "--provider"),
            (
                &["a", "--provider", "commons", "--license", "gpl"],
                "(cc0, pdm, by, by-sa",
            ),
            (
                &["a", "--provider", "openverse,brave", "--license", "by"],
                "brave says nothing about licences",
            ),
            (&["  ", "--provider", "commons"], "1 to 400 characters"),
            (&[&long, "--provider", "commons"], "1 to 400 characters"),
            (
                &["a\u{1b}[2J", "--provider", "commons"],
                "control character",
            ),
        ];
        for (args, expected) in cases {
            let refused = source(args).unwrap_err();
            // Clap may break lines anywhere.
            let refused = refused.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(refused.contains(expected), "{args:?}: {refused}");
        }
        assert!(source(&["a", "--provider", "commons", "--limit", "0"]).is_err());
    }
}
