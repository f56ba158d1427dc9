//! Objects that come in pieces.

use bytes::Bytes;

use crate::{
    environment::Environment,
    samples::{key, names_of},
};

contract! {
    an_object_in_pieces_is_there_whole_when_it_is_finished,
    an_upload_replaces_what_is_there_and_one_that_is_dropped_does_not,
}

/// The objects are smaller and larger than S3's parts, and the pieces have another size.
async fn an_object_in_pieces_is_there_whole_when_it_is_finished(environment: &Environment) {
    let store = environment.objects().await;
    for pieces in [0, 1, 5, 13] {
        let pieces = (0..pieces).map(|piece| Bytes::from(vec![piece; 1_000_003]));
        let pieces: Vec<Bytes> = pieces.collect();
        let key = key(&format!("datasets/pieces/{}.parquet", pieces.len()));
        let mut upload = store.upload(&key).await.expect("it begins");
        for piece in &pieces {
            upload.write(piece.clone()).await.expect("it is taken");
        }
        assert_eq!(store.size(&key).await.expect("an answer"), None);
        upload.finish().await.expect("it is finished");
        let got = store.get(&key).await.expect("it is there");
        assert!(got == pieces.concat(), "{key} differs");
    }
}

async fn an_upload_replaces_what_is_there_and_one_that_is_dropped_does_not(
    environment: &Environment,
) {
    let store = environment.objects().await;
    let key = key("datasets/pieces/again.parquet");
    let piece = |byte: u8| Bytes::from(vec![byte; 6_000_000]);
    for byte in [1, 2] {
        let mut upload = store.upload(&key).await.expect("it begins");
        upload.write(piece(byte)).await.expect("it is taken");
        upload.finish().await.expect("it is finished");
    }
    let mut dropped = store.upload(&key).await.expect("it begins");
    dropped.write(piece(3)).await.expect("it is taken");
    drop(dropped);
    let got = store.get(&key).await.expect("it is there");
    assert!(got == piece(2), "not what was finished last");
    let listed = store.list("datasets", None, 10).await.expect("it answers");
    assert_eq!(names_of(&listed), [key.as_str()]);
}
