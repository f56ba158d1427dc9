//! A list of URLs: one a line, or a CSV with a column `url` and perhaps one `label`.
//!
//! The list is read from a file, a step at a time: a list on the web is written
//! to a temporary file first. A line that names no URL becomes a candidate too,
//! rejected with its number and what is wrong with it, so that the books tell.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use anyhow::Context as _;
use csv::{ByteRecord, Position, ReaderBuilder};
use maskline_messages::{Label, Labeling, Location, MAX_URL, Reason, is_too_long, shown};
use tempfile::NamedTempFile;
use url::Url;

use super::{ExpandError, Found, STEP, Step, found_at};
use crate::fetch::{Fetcher, address, web::Wanted};

/// Of a list on the web. A hundred million URLs go into a few files of this size.
const MOST_BYTES: u64 = 1 << 30;

/// Of a line of text. More than a URL has, which may be written at more length than
/// it is: with white space around it, or with its scheme's usual port.
const LONGEST_LINE: u64 = 2 * MAX_URL as u64;

/// Of a CSV's record, all of its columns together. A quote that is never closed makes
/// one record of all that follows.
const LONGEST_RECORD: u64 = 1 << 20;

/// A list as a local file.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// Changes when the list does.
    version: String,
    csv: bool,
    // Removes the file when dropped.
    _temporary: Option<NamedTempFile>,
}

impl Spool {
    /// Fetches the list where it is on the web.
    pub async fn open(fetcher: &Fetcher, list: &Location) -> Result<Self, ExpandError> {
        match list {
            Location::Path(path) => {
                let at = path.clone();
                let opened = tokio::task::spawn_blocking(move || Self::local(&at)).await;
                opened
                    .context("opening a list")
                    .map_err(ExpandError::retry)?
            }
            Location::Url(url) => Self::fetched(fetcher, url).await,
            Location::Line { .. } => Err(ExpandError::Source(format!("{list} is no list"))),
        }
    }

    /// One that lies in a file of this machine.
    pub fn local(path: &Path) -> Result<Self, ExpandError> {
        let opened = || -> io::Result<Self> {
            let about = path.metadata()?;
            if !about.is_file() {
                let problem = "it is no plain file";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
            let changed = about.modified()?.duration_since(UNIX_EPOCH);
            let changed = changed.unwrap_or_default().as_nanos();
            Ok(Self {
                path: path.to_owned(),
                version: format!("{}-{changed}", about.len()),
                csv: is_csv(path, path.to_str().unwrap_or_default())?,
                _temporary: None,
            })
        };
        opened().map_err(|error| {
            ExpandError::Source(format!(
                "the list {} can't be read: {error}. The path must be one that the scraper sees",
                path.display()
            ))
        })
    }

    async fn fetched(fetcher: &Fetcher, url: &Url) -> Result<Self, ExpandError> {
        let what = format!("the list {}", shown(url));
        let fetching = |error| ExpandError::fetching(&what, error);
        let answer = fetcher
            .web()
            .get(url, Wanted::List)
            .await
            .map_err(fetching)?;
        let declared = answer.content_type().unwrap_or_default();
        let mut file = NamedTempFile::with_prefix("maskline-list-").map_err(ExpandError::retry)?;
        let version = answer
            .spool(&mut file, MOST_BYTES)
            .await
            .map_err(fetching)?;
        let path = file.path().to_owned();
        let name = if declared.starts_with("text/csv") {
            ".csv"
        } else {
            url.path()
        };
        Ok(Self {
            csv: is_csv(&path, name).map_err(ExpandError::retry)?,
            path,
            version,
            _temporary: Some(file),
        })
    }
}

/// By its name, or by its first line having a column `url` beside others.
fn is_csv(path: &Path, name: &str) -> io::Result<bool> {
    if name.to_ascii_lowercase().ends_with(".csv") {
        return Ok(true);
    }
    let mut first = vec![];
    BufReader::new(File::open(path)?.take(LONGEST_LINE)).read_until(b'\n', &mut first)?;
    let first = String::from_utf8_lossy(&first);
    Ok(first.split(',').any(|column| is_named(column, "url")))
}

fn is_named(column: &str, name: &str) -> bool {
    let column = column.trim_start_matches('\u{feff}').trim();
    column.trim_matches('"').eq_ignore_ascii_case(name)
}

/// Finds the candidates of the next [`STEP`] lines after `cursor`. `list` is what
/// the list is called in messages.
pub async fn step(
    spool: Arc<Spool>,
    list: &Location,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
) -> Result<Step, ExpandError> {
    let (list, labeling) = (list.shown(), labeling.cloned());
    let at = cursor.map(|cursor| Cursor::parse(cursor, &spool, &list));
    let at = at.transpose()?;
    tokio::task::spawn_blocking(move || {
        let reading = Reading {
            list: &list,
            labeling: labeling.as_ref(),
        };
        let mut file = File::open(&spool.path)
            .with_context(|| format!("reading {list}"))
            .map_err(ExpandError::retry)?;
        let (found, next) = if spool.csv {
            reading.csv(&mut file, at)?
        } else {
            reading.text(&mut file, at).map_err(ExpandError::retry)?
        };
        if found.is_empty() && next.is_none() && at.is_none() {
            return Err(ExpandError::Source(format!(
                "no URLs in the list {list}: write one a line, or a CSV with a column `url`"
            )));
        }
        let next = next.map(|at| at.text(&spool));
        Ok(Step { found, next })
    })
    .await
    .context("reading a list")
    .map_err(ExpandError::retry)?
}

/// A place in a list.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    byte: u64,
    /// Of what comes next, counted from 1.
    line: u64,
}

impl Cursor {
    fn text(self, spool: &Spool) -> String {
        format!("{}:{}:{}", self.byte, self.line, spool.version)
    }

    fn parse(text: &str, spool: &Spool, list: &str) -> Result<Self, ExpandError> {
        let mut parts = text.splitn(3, ':');
        let (byte, line, version) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part?.parse().ok();
        let (Some(byte), Some(line)) = (number(byte), number(line)) else {
            return Err(ExpandError::Source(format!(
                "{text:?} is no place in the list {list}: enqueue it again"
            )));
        };
        if version != Some(spool.version.as_str()) {
            return Err(ExpandError::Source(format!(
                "the list {list} was changed while it was read, at line {line}: enqueue it again"
            )));
        }
        Ok(Self { byte, line })
    }
}

struct Reading<'a> {
    list: &'a str,
    labeling: Option<&'a Labeling>,
}

/// The line that a record begins in: it stands after the line ends that `last`,
/// the end of the record before, has not passed.
fn line_of(bytes: &File, last: &Position) -> io::Result<u64> {
    let (mut at, mut line) = (last.byte(), last.line());
    let mut next = [0];
    while bytes.read_at(&mut next, at)? == 1 && matches!(&next, b"\r" | b"\n") {
        line += u64::from(next == *b"\n");
        at += 1;
    }
    Ok(line)
}

/// What was found, and where to go on.
type Stretch = (Vec<Found>, Option<Cursor>);

impl Reading<'_> {
    fn text(&self, file: &mut File, at: Option<Cursor>) -> io::Result<Stretch> {
        let mut at = at.unwrap_or(Cursor { byte: 0, line: 1 });
        file.seek(SeekFrom::Start(at.byte))?;
        let mut file = BufReader::new(file);
        let mut found = vec![];
        for _ in 0..STEP {
            let mut line = vec![];
            let mut read = file
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                return Ok((found, None));
            }
            if read == LONGEST_LINE && line.last() != Some(&b'\n') {
                read += file.skip_until(b'\n')? as u64;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_start_matches('\u{feff}').trim();
            if !text.is_empty() && !text.starts_with('#') {
                found.push(self.found(text, None, at.line));
            }
            at.byte += read;
            at.line += 1;
        }
        Ok((found, Some(at)))
    }

    fn csv(&self, file: &mut File, at: Option<Cursor>) -> Result<Stretch, ExpandError> {
        let broken = |error: csv::Error| match error.into_kind() {
            csv::ErrorKind::Io(error) if error.kind() == ErrorKind::FileTooLarge => {
                ExpandError::Source(format!("the list {}: {error}", self.list))
            }
            csv::ErrorKind::Io(error) => ExpandError::retry(error),
            other => ExpandError::Source(format!("the list {} is no CSV: {other:?}", self.list)),
        };
        let bytes = file.try_clone().map_err(ExpandError::retry)?;
        let left = Cell::new(LONGEST_RECORD);
        let bounded = Bounded { file, left: &left };
        let mut csv = ReaderBuilder::new().flexible(true).from_reader(bounded);
        let columns = self.columns(csv.byte_headers().map_err(broken)?)?;
        if let Some(at) = at {
            let mut position = Position::new();
            position.set_byte(at.byte).set_line(at.line);
            csv.seek(position).map_err(broken)?;
        }
        let (mut found, mut record) = (vec![], ByteRecord::new());
        for _ in 0..STEP {
            left.set(LONGEST_RECORD);
            if !csv.read_byte_record(&mut record).map_err(broken)? {
                return Ok((found, None));
            }
            let line = match record.position() {
                Some(end_of_last) => line_of(&bytes, end_of_last).map_err(ExpandError::retry)?,
                None => 0,
            };
            let field = |column: usize| {
                let text = String::from_utf8_lossy(record.get(column).unwrap_or_default());
                text.trim().to_owned()
            };
            let label = columns.label.map(field);
            found.push(self.found(&field(columns.url), label.as_deref(), line));
        }
        let end = csv.position();
        let next = Cursor {
            byte: end.byte(),
            line: end.line(),
        };
        Ok((found, Some(next)))
    }

    fn columns(&self, headers: &ByteRecord) -> Result<Columns, ExpandError> {
        let named = |name: &str| {
            let mut columns = headers.iter().map(String::from_utf8_lossy);
            columns.position(|column| is_named(&column, name))
        };
        let url = named("url").ok_or_else(|| {
            ExpandError::Source(format!(
                "{}:1: the CSV has no column `url`: its first line must name the columns",
                self.list
            ))
        })?;
        let label = match self.labeling {
            Some(Labeling::Column) => Some(named("label").ok_or_else(|| {
                ExpandError::Source(format!(
                    "{}:1: the CSV has no column `label`: add one, or use --label CLASS",
                    self.list
                ))
            })?),
            _ => None,
        };
        Ok(Columns { url, label })
    }

    /// What a line says. `label` is its column's text, where there is one.
    fn found(&self, url: &str, label: Option<&str>, line: u64) -> Found {
        let bad = |text: &str, problem: String| Reason::BadSourceLine {
            line,
            text: address::shortened(text, 200),
            problem,
        };
        let parsed = match parse(url) {
            Ok(parsed) => parsed,
            Err(problem) => {
                return Found {
                    location: Location::Line {
                        list: self.list.to_owned(),
                        line,
                    },
                    label: None,
                    rejected: Some(bad(&legible(url), problem)),
                };
            }
        };
        let mut found = found_at(parsed, self.labeling);
        if let Some(text) = label.filter(|text| !text.is_empty()) {
            match text.parse::<Label>() {
                Ok(label) => found.label = Some(label),
                Err(error) => found.rejected = Some(bad(text, error.to_string())),
            }
        }
        found
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let too_long = || Err("longer than a URL may be".to_owned());
    if text.len() as u64 >= LONGEST_LINE {
        return too_long();
    }
    match text.parse::<Url>() {
        Ok(url) if is_too_long(&url) => too_long(),
        Ok(url) if url.has_host() => Ok(url),
        Ok(_) => Err("not a URL with a host".to_owned()),
        Err(error) => Err(format!("not a URL ({error})")),
    }
}

/// A text that is no URL as records may show it: without what would be user, password,
/// query and fragment if it were one, and rather less than more.
fn legible(text: &str) -> String {
    let (before, behind) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    // Then the `?` or `#` may be a password's own, and what is before it the password.
    if behind.contains('@') {
        return "…".to_owned();
    }
    let Some((_, host)) = before.rsplit_once('@') else {
        return before.to_owned();
    };
    let mut schemes = ["http://", "https://"].into_iter();
    let scheme = schemes.find(|scheme| before.starts_with(*scheme));
    format!("{}{host}", scheme.unwrap_or_default())
}

/// A file of which no more is read than `left` until somebody sets that again: the
/// CSV reader holds a whole record, however long it is.
struct Bounded<'a> {
    file: &'a mut File,
    left: &'a Cell<u64>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            let problem =
                format!("a record of more than {LONGEST_RECORD} bytes: is a quote not closed?");
            return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
        }
        let read = self.file.read(bytes)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[derive(Debug, Clone, Copy)]
struct Columns {
    url: usize,
    label: Option<usize>,
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Everything in the list, step by step, with the steps' sizes.
    async fn all(
        name: &str,
        text: &[u8],
        labeling: Option<Labeling>,
    ) -> Result<(Vec<Found>, Vec<usize>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        File::create(&path).unwrap().write_all(text).unwrap();
        let list = Location::Path(path.clone());
        let (mut found, mut sizes, mut cursor) = (vec![], vec![], None);
        loop {
            let spool = Arc::new(Spool::local(&path).map_err(|e| e.to_string())?);
            let step = step(spool, &list, labeling.as_ref(), cursor.as_deref())
                .await
                .map_err(|e| e.to_string().replace(path.to_str().unwrap(), name))?;
            sizes.push(step.found.len());
            found.extend(step.found);
            cursor = step.next;
            if cursor.is_none() {
                return Ok((found, sizes));
            }
        }
    }

    fn shown(found: &[Found]) -> Vec<String> {
        let one = |found: &Found| match (&found.rejected, &found.location, &found.label) {
            (Some(reason), _, _) => reason.to_string(),
            (None, at, Some(label)) => format!("{at} {label}"),
            (None, at, None) => at.to_string(),
        };
        found.iter().map(one).collect()
    }

    #[tokio::test]
    async fn a_text_list_skips_blanks_and_comments_and_names_broken_lines() {
        let text = b"\xef\xbb\xbf# faces\nhttp://a/1.jpg\r\n\n  https://b/2.jpg  \nnonsense\nhttp://\n\xff\xfe\nmailto:a@b.c";
        let (found, _) = all("list.txt", text, None).await.unwrap();
        let expected = [
            "http://a/1.jpg",
            "https://b/2.jpg",
            "line 5: not a URL (relative URL without a base): nonsense",
            "line 6: not a URL (empty host): http://",
            "line 7: not a URL (relative URL without a base): \u{fffd}\u{fffd}",
            "line 8: not a URL with a host: b.c",
        ];
        assert_eq!(shown(&found), expected);
        assert!(matches!(&found[2].location, Location::Line { line: 5, .. }));
    }

    #[tokio::test]
    async fn a_csv_gives_urls_and_labels_by_the_names_of_its_columns() {
        let text = "id,Label,URL\n1,with_mask,http://a/1.jpg\n2,,\"http://a/2.jpg\"\n3,no good,http://a/3.jpg\n\n4\n";
        let (found, _) = all("list", text.as_bytes(), Some(Labeling::Column))
            .await
            .unwrap();
        let expected = [
            "http://a/1.jpg with_mask",
            "http://a/2.jpg",
            "line 4: \"no good\" is not a label (1 to 64 letters, digits, `_`, `-` or `.`): no good",
            "line 6: not a URL (relative URL without a base): ",
        ];
        assert_eq!(shown(&found), expected);
    }

    #[tokio::test]
    async fn a_csv_with_line_ends_of_windows_names_the_same_lines() {
        let text = "url\r\nhttp://a/1.jpg\r\n\r\nnonsense\r\n";
        let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
        assert!(matches!(found[1].location, Location::Line { line: 4, .. }));
    }

    #[tokio::test]
    async fn long_lists_come_in_steps_and_whole() {
        let urls: Vec<String> = (0..2 * STEP + 3)
            .map(|n| format!("http://a/{n}.jpg"))
            .collect();
        let text = urls.join("\n");
        let csv = format!("url\n{}\n", urls.join("\n"));
        for (name, text) in [("list.txt", text), ("list.csv", csv)] {
            let (found, sizes) = all(name, text.as_bytes(), None).await.unwrap();
            assert_eq!(shown(&found), urls, "{name}");
            assert_eq!(sizes, [STEP, STEP, 3], "{name}");
        }
    }

    #[tokio::test]
    async fn lists_that_are_none_say_what_to_do() {
        let column = || Some(Labeling::Column);
        let cases = [
            ("list.txt", "# nothing\n\n", None, "no URLs in the list"),
            ("list.csv", "url,label\n", None, "no URLs in the list"),
            (
                "list.csv",
                "address\nhttp://a/",
                None,
                "list.csv:1: the CSV has no column `url`",
            ),
            (
                "list.csv",
                "url\nhttp://a/",
                column(),
                "list.csv:1: the CSV has no column `label`",
            ),
        ];
        for (name, text, labeling, expected) in cases {
            let error = all(name, text.as_bytes(), labeling).await.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let error = Spool::local(Path::new("/no/such/list")).unwrap_err();
        assert!(error.to_string().contains("/no/such/list can't be read"));
    }

    #[tokio::test]
    async fn a_list_that_changes_between_steps_is_not_mixed_up() {
        let file = NamedTempFile::new().unwrap();
        let list = Location::Path(file.path().to_owned());
        let write = |from: usize| {
            let urls: Vec<String> = (from..from + 2 * STEP)
                .map(|n| format!("http://a/{n}"))
                .collect();
            std::fs::write(file.path(), urls.join("\n")).unwrap();
        };
        write(0);
        let spool = Arc::new(Spool::local(file.path()).unwrap());
        let next = step(spool, &list, None, None).await.unwrap().next;
        write(100_000);
        let spool = Arc::new(Spool::local(file.path()).unwrap());
        let error = step(spool, &list, None, next.as_deref()).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("was changed while it was read, at line 1001")
        );
    }

    #[tokio::test]
    async fn an_endless_line_is_one_broken_line() {
        let text = format!(
            "http://a/{}\nhttp://b/\n",
            "x".repeat(3 * LONGEST_LINE as usize)
        );
        let (found, _) = all("list.txt", text.as_bytes(), None).await.unwrap();
        assert_eq!(found.len(), 2);
        assert!(shown(&found)[0].starts_with("line 1: longer than a URL may be"));
        assert_eq!(shown(&found)[1], "http://b/");
    }

    #[tokio::test]
    async fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
        let rest = "http://a/1.jpg\n".repeat(LONGEST_RECORD as usize / 5);
        let before = "url\nhttp://a/0.jpg\n".repeat(2);
        let text = format!("{before}\"{rest}");
        let error = all("list.csv", text.as_bytes(), None).await.unwrap_err();
        assert!(error.contains("is a quote not closed?"), "{error}");
    }

    #[tokio::test]
    async fn a_line_that_is_no_url_is_shown_without_its_secrets() {
        let lines = [
            ("http://me:hunter2@/a.jpg?sig=hunter2", "http:///a.jpg"),
            ("http://me:hunter2@h:port/", "http://h:port/"),
            ("http://me:hunter2/@h/a.jpg", "http://h/a.jpg"),
            ("http://h:port/#hunter2", "http://h:port/"),
            ("me:hunter2@example.org/a.jpg", "example.org/a.jpg"),
            ("me:hunter2?@h/a.jpg", "…"),
            ("me:@hunter2#@h/a.jpg", "…"),
            ("x?hunter2", "x"),
        ];
        let text = lines.map(|(line, _)| line).join("\n");
        let (found, _) = all("list.txt", text.as_bytes(), None).await.unwrap();
        assert_eq!(found.len(), lines.len());
        for (said, (_, expected)) in shown(&found).iter().zip(lines) {
            assert!(said.contains("not a URL"), "{said}");
            assert!(said.ends_with(&format!(": {expected}")), "{said}");
        }
    }

    #[tokio::test]
    async fn a_url_is_measured_as_it_is_asked_for_and_not_as_it_is_written() {
        let begin = "http://a/";
        let longest = format!("{begin}{}", "x".repeat(MAX_URL - begin.len()));
        let lines = [
            longest.clone(),
            longest.replacen(begin, "http://a:80/", 1),
            format!("{longest}x"),
            format!("{begin}{}", "ä".repeat(MAX_URL / 4)),
        ];
        let text = lines.join("\r\n");
        let csv = format!("url\r\n{text}\r\n");
        for (name, text) in [("list.txt", text), ("list.csv", csv)] {
            let (found, _) = all(name, text.as_bytes(), None).await.unwrap();
            let found = shown(&found);
            assert_eq!(found.len(), lines.len(), "{name}");
            assert!(found[..2].iter().all(|url| *url == longest), "{name}");
            for line in &found[2..] {
                assert!(line.contains("longer than a URL may be"), "{name}: {line}");
            }
        }
    }
}
