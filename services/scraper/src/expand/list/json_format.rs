//! JSON Lines: an object in each line, whose fields are the columns.

use std::fs::File;

use serde_json::{Map, Value};

use super::{
    lines::Lines,
    position::ListPosition,
    row::{ListContext, ListRow, RowsRead, unreadable},
};
use crate::expand::{
    candidate::{STEP_BYTES, STEP_SIZE, SourceCandidate},
    columns,
    error::ExpandError,
    json, provenance,
};

/// How many bytes a line may have.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Reads the objects up to the [`STEP_SIZE`]th, or [`STEP_BYTES`] of them.
pub(super) fn read(
    file: File,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> Result<RowsRead, ExpandError> {
    let mut is_first = begin.is_none();
    let begin = begin.unwrap_or(ListPosition::START);
    let mut lines = Lines::open(file, begin).map_err(ExpandError::retry)?;
    let mut candidates = vec![];
    while candidates.len() < STEP_SIZE && lines.position().byte - begin.byte < STEP_BYTES {
        let Some(line) = lines.read(MAX_LINE).map_err(ExpandError::retry)? else {
            return Ok(RowsRead {
                candidates,
                next: None,
            });
        };
        let (number, text) = (line.number, line.text);
        if line.is_cut {
            let problem = format!("longer than {MAX_LINE} bytes");
            candidates.push(unreadable(number, "", problem, context));
        } else if !text.trim_ascii().is_empty() {
            match serde_json::from_slice::<Map<String, Value>>(&text) {
                Ok(object) => {
                    if is_first {
                        check_first(&object, number, context)?;
                    }
                    candidates.push(candidate(&object, number, context));
                }
                Err(error) => {
                    // The parser counts lines and columns within this one line.
                    let error = error.to_string();
                    let what = error.split(" at line ").next().unwrap_or_default();
                    let problem = format!("not a JSON object ({what})");
                    candidates.push(unreadable(number, "", problem, context));
                }
            }
            is_first = false;
        }
    }
    Ok(RowsRead {
        candidates,
        next: Some(lines.position()),
    })
}

/// A list whose first object has no URL is not one of URLs.
fn check_first(
    object: &Map<String, Value>,
    number: u64,
    context: &ListContext,
) -> Result<(), ExpandError> {
    let name = &context.name;
    let names = || object.keys().map(String::as_str);
    let lacks = |field: &str, asked: Option<&str>, flag: &str| {
        Err(ExpandError::Source(format!(
            "{name}:{number}: the object has no field `{}` (its fields: {}): name the field with \
             {flag}",
            asked.unwrap_or(field),
            columns::listed(names())
        )))
    };
    let column = context.column.as_deref();
    if columns::find(names(), column, context.usual_columns()).is_none() {
        return lacks(context.target(), column, "--url-column");
    }
    if let Some(asked) = context.label_column()
        && columns::find(names(), asked, &columns::LABEL).is_none()
    {
        return lacks("label", asked, "--label-column, or use --label CLASS");
    }
    Ok(())
}

fn candidate(object: &Map<String, Value>, number: u64, context: &ListContext) -> SourceCandidate {
    let names = object.keys().map(String::as_str);
    let column = context.column.as_deref();
    let target = columns::find(names.clone(), column, context.usual_columns());
    let label = context
        .label_column()
        .and_then(|asked| columns::find(names, asked, &columns::LABEL));
    let text = |index: Option<usize>| {
        let (_, value) = index.and_then(|index| object.iter().nth(index))?;
        json::text(value)
    };
    let target_text = text(target);
    let label_text = text(label);
    let others = object.iter().enumerate();
    let others = others.filter(|(index, _)| ![target, label].contains(&Some(*index)));
    let others = others.filter_map(|(_, (name, value))| Some((name.as_str(), json::text(value)?)));
    let row = ListRow {
        number,
        target: target_text.as_deref().unwrap_or_default().trim(),
        label: label_text.as_deref(),
        provenance: provenance::of_columns(others),
    };
    match target_text {
        Some(_) => row.candidate(context),
        None => {
            let problem = format!("no field `{}`", column.unwrap_or(context.target()));
            row.bad(context, "", problem)
        }
    }
}
