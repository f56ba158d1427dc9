//! Values of JSON as the texts of columns.

use std::borrow::Cow;

use serde_json::Value;

/// The value as a text. `null` is none.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into()),
        // `1.0` is how some programs write a class that is `1`.
        Value::Number(number) => Some(match number.as_f64() {
            Some(float) if number.is_f64() => number_text(float).into(),
            _ => number.to_string().into(),
        }),
        other => Some(other.to_string().into()),
    }
}

/// A number without the fraction that it does not have.
pub(super) fn number_text(number: f64) -> String {
    number.to_string()
}
