//! Flickr, with a key.
//!
//! The API is described at <https://www.flickr.com/services/api/flickr.photos.search.html>.

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::{License, Search};
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::OnceCell;

use super::{
    error::SearchError,
    license::normalized,
    provider::{Provider, page_number},
    result::{NumberOrText, ResultPage, SearchResult},
    service::{Service, exposed},
};

const PAGE_SIZE: u64 = 500;

/// How many results of one search are given. Beyond them the same ones come again.
const MOST: u64 = 4000;

/// The code of an answer about a key that is not valid.
const BAD_KEY: u64 = 100;

/// The codes of answers about a service that is away.
const AWAY: [u64; 2] = [105, 106];

pub(super) struct Flickr {
    service: Service,
    key: SecretString,
    /// The licences that Flickr knows, asked for once.
    licenses: OnceCell<Vec<KnownLicense>>,
}

/// A licence by the number that photographs have.
struct KnownLicense {
    id: String,
    name: Option<String>,
    url: Option<String>,
}

/// An answer, which may be about an error although its status is a success.
#[derive(Deserialize)]
struct Status {
    stat: String,
    code: Option<NumberOrText>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct LicensesAnswer {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    license: Vec<LicenseEntry>,
}

#[derive(Deserialize)]
struct LicenseEntry {
    id: NumberOrText,
    name: String,
    url: Option<String>,
}

#[derive(Deserialize)]
struct PhotosAnswer {
    photos: Photos,
}

#[derive(Deserialize)]
struct Photos {
    pages: NumberOrText,
    photo: Vec<Photo>,
}

#[derive(Deserialize)]
struct Photo {
    id: String,
    owner: String,
    title: Option<String>,
    license: Option<NumberOrText>,
    ownername: Option<String>,
    url_o: Option<String>,
    width_o: Option<NumberOrText>,
    height_o: Option<NumberOrText>,
    url_l: Option<String>,
    width_l: Option<NumberOrText>,
    height_l: Option<NumberOrText>,
}

impl Flickr {
    pub(super) fn new(service: Service, key: SecretString) -> Self {
        Self {
            service,
            key,
            licenses: OnceCell::new(),
        }
    }

    /// Calls a method of the API.
    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, SearchError> {
        let common = [
            ("method", method),
            ("api_key", exposed(&self.key)),
            ("format", "json"),
            ("nojsoncallback", "1"),
        ];
        let all = [&common, parameters].concat();
        let path = "services/rest/";
        let answer: serde_json::Value = self.service.get(path, &all, HeaderMap::new()).await?;
        self.check(&answer)?;
        self.service.read_value(answer)
    }

    fn check(&self, answer: &serde_json::Value) -> Result<(), SearchError> {
        let status: Status = self.service.read_value(answer.clone())?;
        if status.stat == "ok" {
            return Ok(());
        }
        let code = status.code.and_then(|code| code.number());
        let message = status.message.unwrap_or_default();
        let said = self.service.presentable(&message);
        let said = format!("it answered {} ({said})", code.unwrap_or_default());
        Err(match code {
            Some(BAD_KEY) => SearchError::Refused(said),
            Some(code) if AWAY.contains(&code) => SearchError::busy(anyhow!(said)),
            _ => SearchError::BadRequest(said),
        })
    }

    async fn licenses(&self) -> Result<&[KnownLicense], SearchError> {
        let asking = || async {
            let answer: LicensesAnswer = self.call("flickr.photos.licenses.getInfo", &[]).await?;
            let known = answer
                .licenses
                .license
                .into_iter()
                .map(|entry| KnownLicense {
                    id: entry.id.text(),
                    name: normalized(entry.url.as_deref(), Some(&entry.name)),
                    url: entry.url.filter(|url| !url.is_empty()),
                });
            Ok::<_, SearchError>(known.collect())
        };
        let known: &Vec<_> = self.licenses.get_or_try_init(asking).await?;
        Ok(known)
    }
}

#[async_trait]
impl Provider for Flickr {
    async fn page(&self, search: &Search, at: Option<&str>) -> Result<ResultPage, SearchError> {
        let number = page_number(at, 1)?;
        let licenses = self.licenses().await?;
        let is_wanted = |license: &&KnownLicense| {
            let code = license.name.as_deref().and_then(License::of_provenance);
            code.is_some_and(|code| search.licenses.contains(&code))
        };
        let wanted = licenses.iter().filter(is_wanted);
        let wanted: Vec<_> = wanted.map(|license| license.id.as_str()).collect();
        let wanted = wanted.join(",");
        if wanted.is_empty() && !search.licenses.is_empty() {
            // Nothing at Flickr has such a licence.
            return Ok(ResultPage::default());
        }
        let (page, size) = (number.to_string(), PAGE_SIZE.to_string());
        let mut parameters = vec![
            ("text", search.query.as_str()),
            ("media", "photos"),
            ("sort", "relevance"),
            ("extras", "license,owner_name,url_l,url_o"),
            ("per_page", &size),
            ("page", &page),
        ];
        if !wanted.is_empty() {
            parameters.push(("license", &wanted));
        }
        let PhotosAnswer { photos } = self.call("flickr.photos.search", &parameters).await?;
        let Some(pages) = photos.pages.number() else {
            return Err(SearchError::Changed {
                field: "photos.pages".to_owned(),
                problem: "it is no number".to_owned(),
            });
        };
        let goes_on =
            number < pages && !photos.photo.is_empty() && number.saturating_mul(PAGE_SIZE) < MOST;
        let results = photos
            .photo
            .into_iter()
            .map(|photo| result(photo, licenses));
        Ok(ResultPage {
            results: results.collect(),
            next: goes_on.then(|| (number + 1).to_string()),
        })
    }
}

fn result(photo: Photo, licenses: &[KnownLicense]) -> SearchResult {
    let license = photo.license.map(|license| license.text());
    let license = license.and_then(|id| licenses.iter().find(|known| known.id == id));
    let number = |number: Option<NumberOrText>| number.and_then(|number| number.number());
    // Not every owner lets the original be loaded.
    let (image, width, height) = match photo.url_o {
        Some(url) => (Some(url), photo.width_o, photo.height_o),
        None => (photo.url_l, photo.width_l, photo.height_l),
    };
    SearchResult {
        image,
        width: number(width),
        height: number(height),
        // These two addresses are documented, and the answer does not have them.
        landing_page: Some(format!(
            "https://www.flickr.com/photos/{}/{}",
            photo.owner, photo.id
        )),
        creator_url: Some(format!("https://www.flickr.com/people/{}/", photo.owner)),
        title: photo.title,
        creator: photo.ownername,
        license: license.and_then(|license| license.name.clone()),
        license_url: license.and_then(|license| license.url.clone()),
        source: Some("flickr".to_owned()),
        ..SearchResult::default()
    }
}
