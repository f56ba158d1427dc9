//! A result of a search, and the candidate that it becomes.

use std::collections::BTreeMap;

use maskline_messages::{Labeling, License, Provenance, Reason, Search, SearchProvider};
use serde::Deserialize;

use super::text::{cleaned, web_address};
use crate::expand::candidate::SourceCandidate;

/// The most characters of a title, a name or another text that is kept.
const MAX_TEXT: usize = 500;

/// The most characters of an attribution, which names title, creator and licence.
const MAX_ATTRIBUTION: usize = 2000;

/// One page of results.
#[derive(Debug, Default)]
pub(super) struct ResultPage {
    /// The results in the provider's order.
    pub(super) results: Vec<SearchResult>,
    /// The next page, in the provider's own words. After the last page it is `None`.
    pub(super) next: Option<String>,
}

/// What a provider says about one image. All texts are as the provider writes them.
#[derive(Debug, Default)]
pub(super) struct SearchResult {
    /// The address of the image.
    pub(super) image: Option<String>,
    /// The address of a smaller picture, for a result whose image has no usable address.
    pub(super) thumbnail: Option<String>,
    pub(super) landing_page: Option<String>,
    pub(super) title: Option<String>,
    pub(super) creator: Option<String>,
    pub(super) creator_url: Option<String>,
    /// The licence by its normalized name, see [`normalized`](super::license::normalized).
    pub(super) license: Option<String>,
    pub(super) license_url: Option<String>,
    pub(super) attribution: Option<String>,
    /// The site that the provider has the image from.
    pub(super) source: Option<String>,
    pub(super) width: Option<u64>,
    pub(super) height: Option<u64>,
    /// The address of the original, where `image` is a smaller picture of it.
    pub(super) original: Option<String>,
}

/// What all results of a page have in common.
pub(super) struct PageContext<'a> {
    pub(super) search: &'a Search,
    pub(super) provider: SearchProvider,
    pub(super) labeling: Option<&'a Labeling>,
}

impl SearchResult {
    /// The candidate of the result with this rank, counted from 1. It is rejected if its
    /// licence is none of those that the search asks for. The result is `None` if it has no
    /// address that could be fetched.
    pub(super) fn candidate(self, rank: u64, context: &PageContext) -> Option<SourceCandidate> {
        let address = |text: &Option<String>| web_address(text.as_deref()?);
        let image = address(&self.image);
        let is_thumbnail = image.is_none();
        let url = image.or_else(|| address(&self.thumbnail))?;
        let mut candidate = SourceCandidate::at_url(url, context.labeling);
        candidate.provenance = self.provenance(rank, is_thumbnail, context);
        let licenses = &context.search.licenses;
        let license = &candidate.provenance.license;
        if candidate.rejected.is_none() && !is_wanted(license.as_deref(), licenses) {
            candidate.rejected = Some(Reason::License {
                license: license.clone(),
            });
        }
        Some(candidate)
    }

    fn provenance(self, rank: u64, is_thumbnail: bool, context: &PageContext) -> Provenance {
        let text = |text: Option<String>, limit| {
            let text = cleaned(&text?, limit);
            (!text.is_empty()).then_some(text)
        };
        let url = |text: Option<String>| web_address(&text?);
        let other = [
            ("provider", Some(context.provider.to_string())),
            ("query", Some(context.search.query.clone())),
            ("rank", Some(rank.to_string())),
            ("source", text(self.source, MAX_TEXT)),
            ("width", self.width.map(|width| width.to_string())),
            ("height", self.height.map(|height| height.to_string())),
            ("original", url(self.original).map(String::from)),
            ("thumbnail", is_thumbnail.then(|| "true".to_owned())),
        ];
        let present = other.into_iter().filter_map(|(name, value)| {
            let value = value?;
            Some((name.to_owned(), value))
        });
        Provenance {
            landing_page: url(self.landing_page),
            title: text(self.title, MAX_TEXT),
            creator: text(self.creator, MAX_TEXT),
            creator_url: url(self.creator_url),
            license: self.license,
            license_url: url(self.license_url),
            attribution: text(self.attribution, MAX_ATTRIBUTION),
            other: present.collect::<BTreeMap<_, _>>(),
        }
    }
}

/// An unknown licence is none that anybody could have asked for.
fn is_wanted(license: Option<&str>, wanted: &[License]) -> bool {
    let known = license.and_then(License::of_provenance);
    wanted.is_empty() || known.is_some_and(|license| wanted.contains(&license))
}

/// A number that some providers write as a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}
