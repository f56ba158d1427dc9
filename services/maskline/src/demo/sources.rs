//! The sources of the demo. They do what people did by hand before: search the web for faces with
//! masks, search again for faces without, add a page and open data, and train on all of it.

use maskline_messages::{Labeling, License, Location, Search, SearchProvider, Source, SourceRole};

use super::site::{Addresses, CLASSES};

/// The words that find faces of each class.
pub(crate) const QUERIES: [&str; 2] = ["person wearing a face mask", "portrait of a person"];

/// The most results of each search on the web. They are enough to train on, and the providers give
/// so many in a few minutes without a key.
const ONLINE_LIMIT: u64 = 300;

/// The licences under which images may be used and changed by anybody.
const FREE: [License; 4] = [License::Cc0, License::Pdm, License::By, License::BySa];

/// A source, and what it is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DemoSource {
    pub(crate) source: Source,
    pub(crate) labeling: Labeling,
    pub(crate) role: SourceRole,
}

/// The sources of the site on this machine: two searches, a page, a list of photographs from
/// elsewhere to test with, and a list.
pub(crate) fn offline(site: &Addresses) -> Vec<DemoSource> {
    let limit = site.results.max(1);
    let mut sources = searches(&[SearchProvider::Openverse], limit, &[]);
    let page = Source::Page {
        url: site.page.clone(),
        depth: 0,
        same_site: false,
    };
    sources.push(train(page, declared(CLASSES[1])));
    let list = |url: &url::Url| Source::Urls {
        list: Location::Url(url.clone()),
        url_column: None,
    };
    sources.push(DemoSource {
        role: SourceRole::Test,
        ..train(list(&site.elsewhere), Labeling::column())
    });
    sources.push(train(list(&site.list), Labeling::column()));
    sources
}

/// The same searches at the real providers.
pub(crate) fn online() -> Vec<DemoSource> {
    let providers = [SearchProvider::Openverse, SearchProvider::Commons];
    searches(&providers, ONLINE_LIMIT, &FREE)
}

fn searches(providers: &[SearchProvider], limit: u64, licenses: &[License]) -> Vec<DemoSource> {
    let search = |(query, class): (&str, &str)| {
        let search = Search {
            query: query.to_owned(),
            providers: providers.to_vec(),
            limit,
            licenses: licenses.to_vec(),
        };
        train(Source::Search(search), declared(class))
    };
    QUERIES.into_iter().zip(CLASSES).map(search).collect()
}

fn train(source: Source, labeling: Labeling) -> DemoSource {
    DemoSource {
        source,
        labeling,
        role: SourceRole::Train,
    }
}

fn declared(class: &str) -> Labeling {
    Labeling::Declared {
        label: class.parse().expect("a plain name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(query: &str, class: &str) -> DemoSource {
        let search = Search {
            query: query.to_owned(),
            providers: vec![SearchProvider::Openverse, SearchProvider::Commons],
            limit: 300,
            licenses: vec![License::Cc0, License::Pdm, License::By, License::BySa],
        };
        train(Source::Search(search), declared(class))
    }

    #[test]
    fn online_both_classes_are_searched_for_at_the_providers_that_need_no_key() {
        let expected = [
            search("person wearing a face mask", "with_mask"),
            search("portrait of a person", "without_mask"),
        ];
        assert_eq!(online(), expected);
    }

    #[test]
    fn offline_there_are_two_searches_a_page_a_list_and_a_list_to_test_with() {
        let url = |path: &str| format!("http://127.0.0.1:1/{path}").parse().unwrap();
        let addresses = Addresses {
            base: url(""),
            page: url("page.html"),
            list: url("faces.csv"),
            elsewhere: url("elsewhere.csv"),
            results: 100,
        };
        let sources = offline(&addresses);
        let kinds = sources.iter().map(|source| {
            let shown = source.source.to_string();
            let kind = shown.split(' ').next().unwrap_or_default().to_owned();
            (kind, source.role)
        });
        let kinds: Vec<_> = kinds.collect();
        let expected = [
            ("search", SourceRole::Train),
            ("search", SourceRole::Train),
            ("page", SourceRole::Train),
            ("URL", SourceRole::Test),
            ("URL", SourceRole::Train),
        ];
        assert_eq!(kinds, expected.map(|(kind, role)| (kind.to_owned(), role)));
    }
}
