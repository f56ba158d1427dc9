//! An answer of two parts: a value as JSON, and bytes that would be large in JSON.

use serde::{Serialize, de::DeserializeOwned};

/// The bytes in which the length of the JSON stands.
const HEAD: usize = 4;

/// An answer of both parts.
pub fn join(value: &impl Serialize, bytes: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; HEAD];
    serde_json::to_writer(&mut answer, value).expect("an answer of ours can be written as JSON");
    let length = u32::try_from(answer.len() - HEAD).expect("the JSON of an answer is short");
    answer[..HEAD].copy_from_slice(&length.to_le_bytes());
    answer.extend_from_slice(bytes);
    answer
}

/// The parts of an answer. The error says why it has none: a worker that was taken over may
/// answer anything.
pub fn split<T: DeserializeOwned>(mut answer: Vec<u8>) -> Result<(T, Vec<u8>), String> {
    let length = answer.first_chunk::<HEAD>().ok_or("it has no length")?;
    let end = HEAD + u32::from_le_bytes(*length) as usize;
    let json = answer.get(HEAD..end).ok_or("its JSON is cut off")?;
    let value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    answer.drain(..end);
    Ok((value, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_come_back_and_damage_is_noticed() {
        let answer = join(&("size", 7), b"pixels");
        let (value, bytes): ((String, u8), _) = split(answer.clone()).unwrap();
        assert_eq!(
            (value, &bytes[..]),
            (("size".to_owned(), 7), &b"pixels"[..])
        );
        for cut in [0, 3, 8] {
            let mut cut_off = answer.clone();
            cut_off.truncate(cut);
            assert!(split::<(String, u8)>(cut_off).is_err());
        }
        assert!(split::<String>(answer).is_err(), "another type");
    }
}
