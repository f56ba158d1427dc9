//! The predictions of the cross-validation as a table, for looking at labels later.

use anyhow::Result;
use bytes::Bytes;
use maskline_messages::{ImageId, Label};
use maskline_models::prediction::Prediction;

/// Writes a line for each training image: its id, its label, its fold, and the probability of each
/// class by the probe that has not seen the image's group. `out_of_fold` is empty if there was no
/// cross-validation, and then there is only the heading.
///
/// # Errors
/// If the table cannot be written, which memory always can.
pub(crate) fn csv(
    labels: &[Label],
    images: &[ImageId],
    classes: &[usize],
    out_of_fold: &[(usize, Prediction)],
) -> Result<Bytes> {
    let mut writer = csv::Writer::from_writer(vec![]);
    let heading = ["image_id", "label", "fold"].map(ToOwned::to_owned);
    let probabilities = labels.iter().map(|label| format!("p_{label}"));
    writer.write_record(heading.into_iter().chain(probabilities))?;
    for ((image, &class), (fold, prediction)) in images.iter().zip(classes).zip(out_of_fold) {
        let about = [
            image.to_string(),
            labels[class].to_string(),
            fold.to_string(),
        ];
        let probabilities = (0..labels.len()).map(|class| prediction.probability(class));
        let probabilities = probabilities.map(|probability| format!("{probability:.6}"));
        writer.write_record(about.into_iter().chain(probabilities))?;
    }
    Ok(writer.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use maskline_test_support::messages::label;

    use super::*;

    #[test]
    fn each_image_has_a_line_with_the_probabilities_of_all_classes() {
        let labels = ["blue", "red"].map(label);
        let images = [ImageId::of(b"one"), ImageId::of(b"two")];
        let predictions = [
            (0, Prediction::of(&[0.0, 0.0])),
            (1, Prediction::of(&[9.0, -9.0])),
        ];
        let table = csv(&labels, &images, &[1, 0], &predictions).unwrap();
        let [one, two] = images;
        let expected = format!(
            "image_id,label,fold,p_blue,p_red\n{one},red,0,0.500000,0.500000\n\
             {two},blue,1,1.000000,0.000000\n"
        );
        assert_eq!(String::from_utf8(table.to_vec()).unwrap(), expected);
    }
}
