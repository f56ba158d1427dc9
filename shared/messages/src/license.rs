//! The licences that a person can ask for.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};

use crate::invalid::UnknownName;

/// A licence of Creative Commons in any version, by its short name, such as `by-sa`. `cc0` and
/// `pdm` stand for works that their author gave to everybody, and for works that belong to
/// everybody.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown_license
)]
pub enum License {
    Cc0,
    Pdm,
    By,
    BySa,
    ByNc,
    ByNd,
    ByNcSa,
    ByNcNd,
}

fn unknown_license(text: &str) -> UnknownName {
    UnknownName::new::<License>(text, "a licence")
}

impl License {
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

    /// The short name, such as `by-sa`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The licence that [`Provenance::license`](crate::Provenance::license) names, such as
    /// `by-sa 4.0`. It is `None` for others than these.
    pub fn of_provenance(license: &str) -> Option<Self> {
        license.split(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_the_command_line_have_the_same_names() {
        for &license in License::ALL {
            assert_eq!(license.as_str().parse(), Ok(license));
            assert_eq!(serde_json::to_value(license).unwrap(), license.as_str());
        }
        let refused = "gpl".parse::<License>().unwrap_err().to_string();
        assert_eq!(
            refused,
            "\"gpl\" is not a licence (cc0, pdm, by, by-sa, by-nc, by-nd, by-nc-sa, by-nc-nd)"
        );
    }

    #[test]
    fn the_version_of_a_licence_does_not_matter() {
        let cases = [
            ("by-sa 4.0", Some(License::BySa)),
            ("by 2.0 de", Some(License::By)),
            ("pdm", Some(License::Pdm)),
            ("by-sa-4.0", None),
            ("gfdl", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(License::of_provenance(name), expected, "{name}");
        }
    }
}
