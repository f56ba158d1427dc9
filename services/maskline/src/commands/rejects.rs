//! `maskline rejects`: the candidates of a job that were rejected or have failed.

use anyhow::Result;
use clap::Args;
use maskline_foundation::text::printable;
use maskline_messages::{JobId, Reason};
use maskline_storage::{
    Catalog,
    records::{Candidate, CandidateState},
};

use crate::{connection::ConnectionArgs, lookup, output};

/// How many candidates are read from the catalog at a time.
const PAGE: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Rejects {
    /// The id of a job or its beginning
    job: String,
    /// Print each candidate as one line of JSON
    #[arg(long)]
    json: bool,
    /// Print only candidates that were rejected for this reason, such as `blurred`
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Rejects {
    pub(crate) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let catalog = stores.catalog.as_ref();
        let job = lookup::job(catalog, &self.job).await?;
        if let Some(wanted) = &self.reason {
            let reasons = catalog.counts(job).await?.rejected_by_reason;
            if !reasons.contains_key(wanted) {
                let codes: Vec<&str> = reasons.keys().map(String::as_str).collect();
                let known = match codes.as_slice() {
                    [] => "nothing was rejected".to_owned(),
                    codes => format!("its reasons are {}", codes.join(", ")),
                };
                output::note(format!("Job {job} rejected nothing for {wanted}: {known}."));
                return Ok(());
            }
        }
        for state in [CandidateState::Rejected, CandidateState::Failed] {
            self.print_all(catalog, job, state).await?;
        }
        Ok(())
    }

    async fn print_all(
        &self,
        catalog: &dyn Catalog,
        job: JobId,
        state: CandidateState,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = catalog.candidates_in(job, state, after, PAGE).await?;
            for candidate in page.iter().filter(|candidate| self.wants(candidate)) {
                match self.json {
                    true => output::print_json(candidate)?,
                    false => {
                        let original = original(catalog, candidate).await?;
                        output::print(line(candidate, original.as_ref()))?;
                    }
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.last().map(|candidate| candidate.id);
        }
    }

    fn wants(&self, candidate: &Candidate) -> bool {
        let code = candidate.reason.as_ref().map(|reason| reason.code());
        self.reason
            .as_deref()
            .is_none_or(|wanted| code == Some(wanted))
    }
}

/// The candidate that this one is a copy of.
async fn original(catalog: &dyn Catalog, candidate: &Candidate) -> Result<Option<Candidate>> {
    let original = match candidate.reason {
        Some(Reason::ExactDuplicate { of }) => of,
        Some(Reason::Unchanged { since }) => since,
        _ => return Ok(None),
    };
    Ok(catalog.candidate(original).await?)
}

/// `location: code: what was measured`, or `location: failed: error`. Others wrote the names and
/// the texts in it, so nothing in it moves the cursor of a terminal.
fn line(candidate: &Candidate, original: Option<&Candidate>) -> String {
    let location = candidate.location.shown();
    let line = match (&candidate.reason, &candidate.error) {
        (Some(reason), _) => {
            let why = match (reason, original) {
                (Reason::ExactDuplicate { .. }, Some(original)) => {
                    format!("the same bytes as {}", original.location.shown())
                }
                (Reason::Unchanged { .. }, Some(original)) => {
                    format!("the same as {} found before", original.location.shown())
                }
                _ => measured(reason),
            };
            format!("{location}: {}: {why}", reason.code())
        }
        (None, Some(error)) => format!("{location}: failed: {error}"),
        (None, None) => format!("{location}: {}", candidate.state.as_str()),
    };
    printable(&line)
}

/// A reason's text without its code, with which some texts begin.
fn measured(reason: &Reason) -> String {
    let text = reason.to_string();
    let without_code = text.strip_prefix(&format!("{}: ", reason.code()));
    without_code.map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use maskline_messages::{CandidateId, Location, Provenance};

    use super::*;

    fn rejected(file: &str, reason: Reason) -> Candidate {
        let (job, location) = (JobId::draw(), Location::Path(file.into()));
        Candidate {
            id: CandidateId::of(job, &location),
            collection: "masks".parse().unwrap(),
            job,
            location,
            label: None,
            provenance: Provenance::default(),
            state: CandidateState::Rejected,
            image: None,
            fetched: None,
            stage: None,
            reason: Some(reason),
            error: None,
            history: vec![],
            trace_id: None,
        }
    }

    #[test]
    fn a_line_names_the_original_of_a_copy_and_nothing_in_it_moves_the_cursor() {
        let original = rejected("/photos/a.jpg", Reason::Empty);
        let copy = rejected("/photos/b.jpg", Reason::ExactDuplicate { of: original.id });
        assert_eq!(
            line(&copy, Some(&original)),
            "/photos/b.jpg: exact_duplicate: the same bytes as /photos/a.jpg"
        );
        assert!(line(&copy, None).contains(&original.id.to_string()));
        let bad = Reason::BadSourceLine {
            line: 3,
            text: "a\u{1b}[2J\nb".to_owned(),
            problem: "no address".to_owned(),
        };
        assert_eq!(
            line(&rejected("/c\u{7}.csv", bad), None),
            "/c\\u{7}.csv: bad_source_line: line 3: no address: a\\u{1b}[2J\\nb"
        );
    }
}
