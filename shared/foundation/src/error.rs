//! Errors as a person reads them.

use std::error::Error;

/// The error's text and those of all its causes, separated by colons, as `anyhow` writes
/// them with `{:#}`. Some libraries, such as lapin, end the text of an error with that of
/// its cause: that cause is not repeated.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self.1.as_deref()?)
        }
    }

    #[test]
    fn causes_follow_their_error() {
        let deep = Layer(
            "a",
            Some(Box::new(Layer("b", Some(Box::new(Layer("c", None)))))),
        );
        assert_eq!(with_causes(&deep), "a: b: c");
        assert_eq!(with_causes(&Layer("alone", None)), "alone");
        let repeated = Layer("a: b", Some(Box::new(Layer("b", None))));
        assert_eq!(with_causes(&repeated), "a: b");
    }
}
