//! The images in a page's JSON-LD (schema.org): `image`, `contentUrl`, `thumbnailUrl`.

use serde_json::Value;

/// How deep objects may lie within objects.
const MAX_DEPTH: usize = 32;

/// An address, with the text that describes the image.
pub(super) type Named = (String, Option<String>);

/// The images in a block of JSON-LD. A block that is no JSON has none.
pub(super) fn images(block: &str) -> Vec<Named> {
    let mut found = vec![];
    if let Ok(value) = serde_json::from_str::<Value>(block) {
        search(&value, MAX_DEPTH, &mut found);
    }
    found
}

fn search(value: &Value, depth: usize, found: &mut Vec<Named>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::Array(values) => {
            for value in values {
                search(value, depth, found);
            }
        }
        Value::Object(object) => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            let description = text("caption").or(text("name")).or(text("headline"));
            let description = description.map(str::to_owned);
            let is_image = match object.get("@type") {
                Some(Value::String(kind)) => kind == "ImageObject",
                Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "ImageObject"),
                _ => false,
            };
            if is_image && let Some(url) = text("contentUrl").or(text("url")) {
                found.push((url.to_owned(), description.clone()));
            }
            for (name, value) in object {
                match (name.as_str(), value) {
                    ("image" | "thumbnailUrl", value) => {
                        addresses(value, depth, description.as_ref(), found);
                    }
                    (_, Value::Object(_) | Value::Array(_)) => search(value, depth, found),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// The value of `image`: an address, an `ImageObject`, or several of them.
fn addresses(value: &Value, depth: usize, description: Option<&String>, found: &mut Vec<Named>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match value {
        Value::String(url) => found.push((url.clone(), description.cloned())),
        Value::Array(values) => {
            for value in values {
                addresses(value, depth, description, found);
            }
        }
        Value::Object(object) if !object.contains_key("@type") => {
            let url = object.get("contentUrl").or(object.get("url"));
            found.extend(
                url.and_then(Value::as_str)
                    .map(|url| (url.to_owned(), description.cloned())),
            );
        }
        Value::Object(_) => search(value, depth, found),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_in_every_form() {
        let block = r#"{"@graph": [
            {"@type": "Article", "headline": "Masks", "image": ["1.jpg", {"@type": "ImageObject", "url": "2.jpg", "caption": "two"}]},
            {"@type": "ImageObject", "contentUrl": "3.jpg", "url": "page.html"},
            {"@type": "Product", "image": {"url": "4.jpg"}, "thumbnailUrl": "5.jpg"},
            {"@type": "Person", "url": "person.html"}]}"#;
        let found = images(block);
        let urls: Vec<_> = found.iter().map(|(url, _)| url.as_str()).collect();
        assert_eq!(urls, ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]);
        assert_eq!(found[0].1.as_deref(), Some("Masks"));
        assert_eq!(found[1].1.as_deref(), Some("two"));
        assert_eq!(images("no json"), []);
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(images(&deep), []);
    }
}
