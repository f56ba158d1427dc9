//! An archive of images: zip or tar, the latter perhaps compressed.
//!
//! Nothing is unpacked to the disk. A step reads members up to about [`STEP_CONTENT`] bytes, and
//! hands them over. The cursor is the position of the next member: in a zip its index, in a tar
//! its offset. A compressed tar can't be entered in the middle: a process that takes over passes
//! over what comes before, and the one that takes the next step still has it open.
//!
//! * `limits`: what a member and an archive may have.
//! * `member`: the names of members, and what an archive owes whoever reads it.
//! * `position`: the position at which a step ends and the next one begins.
//! * `tar_members`, `tar_stream`, `zip_members`: the two formats.
//! * `group`: the members that belong together become candidates.

mod group;
mod limits;
mod member;
mod position;
mod tar_members;
mod tar_stream;
#[cfg(test)]
mod tests;
mod zip_members;

use maskline_messages::{Labeling, Location};

use super::{
    blocking,
    candidate::{ExpansionStep, STEP_CONTENT, STEP_SIZE},
    compression::{Compression, first_bytes},
    error::ExpandError,
    source_file::SourceFile,
};
use crate::fetch::Fetcher;
use group::Group;
use limits::{MAX_BYTES, MAX_MEMBERS, STEP_SCAN};
use member::Members;
use position::ArchivePosition;
use tar_members::TarMembers;
use zip_members::ZipMembers;

/// An archive that is open, with the position of the next member.
pub(super) struct OpenArchive {
    location: Location,
    file: SourceFile,
    members: Box<dyn Members>,
    /// Whether the members can't be read on.
    is_broken: bool,
}

/// Finds the candidates in the members from `cursor` on. `kept` is the archive that an earlier
/// step of the same source returned, if this process still has it.
pub(super) async fn step(
    fetcher: &Fetcher,
    location: &Location,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
    kept: Option<OpenArchive>,
) -> Result<(ExpansionStep, OpenArchive), ExpandError> {
    let kept = kept.filter(|kept| !kept.file.has_changed() && !kept.is_broken);
    let file = match &kept {
        Some(kept) => kept.file.clone(),
        None => SourceFile::open(fetcher, location, "archive", MAX_BYTES).await?,
    };
    let name = location.shown();
    let position = cursor
        .map(|cursor| ArchivePosition::parse(cursor, file.version(), &name))
        .transpose()?;
    let (location, labeling) = (location.clone(), labeling.cloned());
    let most = fetcher.most_bytes();
    blocking(&name.clone(), move || {
        let begin = position.unwrap_or_default();
        let kept = kept.and_then(|mut kept| {
            let is_there = kept.members.go_to(begin).is_ok_and(|is_there| is_there);
            is_there.then_some(kept)
        });
        let mut archive = match kept {
            Some(kept) => kept,
            None => OpenArchive::open(location, file, begin)?,
        };
        let step = archive.take_step(most, labeling.as_ref())?;
        if step.candidates.is_empty() && step.next_cursor.is_none() && position.is_none() {
            return Err(ExpandError::Source(format!(
                "no images in the archive {name}: it has no files (hidden ones don't count)"
            )));
        }
        Ok((step, archive))
    })
    .await
}

impl OpenArchive {
    fn open(
        location: Location,
        file: SourceFile,
        begin: ArchivePosition,
    ) -> Result<Self, ExpandError> {
        let name = location.shown();
        let refused =
            |problem: String| ExpandError::Source(format!("the archive {name} {problem}"));
        const KINDS: &str = "an archive is zip, tar, tar.gz or tar.zst";
        let mut opened = file.read()?;
        let first = first_bytes(&mut opened).map_err(ExpandError::retry)?;
        if first.is_empty() {
            return Err(refused(format!("has no bytes: {KINDS}")));
        }
        if zip_members::is_zip(&first) {
            let members = ZipMembers::open(file.read()?, begin).map_err(refused)?;
            return Ok(Self {
                location,
                file,
                members: Box::new(members),
                is_broken: false,
            });
        }
        let compression = Compression::of(&first).map_err(|other| {
            refused(format!("is packed by {other}, which is not read: {KINDS}"))
        })?;
        if compression == Compression::None && !tar_members::is_tar(&first) {
            return Err(refused(format!(
                "has none of the formats that are read: {KINDS}"
            )));
        }
        let mut members = TarMembers::open(file.read()?, compression)
            .map_err(|problem| refused(format!("{problem}: {KINDS}")))?;
        members
            .go_to(begin)
            .map_err(|problem| refused(format!("can't be read on: {problem}")))?;
        Ok(Self {
            location,
            file,
            members: Box::new(members),
            is_broken: false,
        })
    }

    fn take_step(
        &mut self,
        most: u64,
        labeling: Option<&Labeling>,
    ) -> Result<ExpansionStep, ExpandError> {
        let name = self.location.shown();
        let version = self.file.version();
        let stays = match self.members.position().index {
            0 => "",
            _ => ". What was found before stays in the collection, and `maskline freeze` takes it",
        };
        // What was found before stays: the step ends there, and the next one fails.
        let is_broken = &mut self.is_broken;
        let mut broken = |mut step: ExpansionStep, group: Option<Group>, at, problem: String| {
            *is_broken = true;
            let ArchivePosition { index, .. } = at;
            let last = group.into_iter();
            let last = last.flat_map(|group| group.candidates(&self.location, labeling));
            step.candidates.extend(last);
            if step.candidates.is_empty() {
                return Err(ExpandError::Source(format!(
                    "the archive {name} can't be read on from member {index}: {problem}. Pack or \
                     download it again, and enqueue it again{stays}"
                )));
            }
            step.next_cursor = Some(at.cursor(version));
            Ok(step)
        };
        let members = &mut self.members;
        let begin = members.position();
        let mut step = ExpansionStep::default();
        let (mut group, mut content) = (None::<Group>, 0);
        loop {
            let before = members.position();
            if before.index >= MAX_MEMBERS {
                let problem = format!("it has more than {MAX_MEMBERS} members, so split it");
                return broken(step, group, before, problem);
            }
            let head = match members.next() {
                Ok(head) => head,
                Err(problem) => return broken(step, group, before, problem),
            };
            let Some(head) = head else {
                let last = group.into_iter();
                let last = last.flat_map(|group| group.candidates(&self.location, labeling));
                step.candidates.extend(last);
                return Ok(step);
            };
            if group.as_ref().is_none_or(|group| !group.takes(&head)) {
                let done = group.take().into_iter();
                let done = done.flat_map(|group| group.candidates(&self.location, labeling));
                step.candidates.extend(done);
                let is_full = step.candidates.len() >= STEP_SIZE
                    || content >= STEP_CONTENT
                    || before.offset - begin.offset >= STEP_SCAN;
                if is_full {
                    members.put_back();
                    step.next_cursor = Some(before.cursor(version));
                    return Ok(step);
                }
            }
            let bytes = match members.content(&head, most) {
                Ok(bytes) => bytes,
                Err(problem) => return broken(step, group, before, problem),
            };
            content += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
            group.get_or_insert_default().add(head, bytes);
        }
    }
}
