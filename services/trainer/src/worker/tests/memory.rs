//! Runs whose device has too little memory for their batches.

use super::*;
use crate::{
    checkpoint,
    learner::faults::{Fault, faulty},
};

#[tokio::test]
async fn a_run_whose_device_lacks_memory_goes_on_in_parts_from_its_checkpoint() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    // Half a batch is four images, which are still too many.
    let fault = Fault::Memory {
        from_epoch: 2,
        images: 3,
    };
    let resources = Resources {
        compute: faulty("a device with memory for three images", fault),
        ..fixtures::resources(&store)
    };
    let (record, interrupt) = (run(&store, id).await, Interrupt::default());
    let training = resources.training(record, &interrupt, LeaseProgress::default());
    let runtime = Handle::current();
    let executed = tokio::task::spawn_blocking(move || training.execute(&runtime));
    let trained = executed.await.unwrap().unwrap();
    let trained = trained.expect("nobody interrupts it");

    let report: serde_json::Value = serde_json::from_slice(&trained.report).unwrap();
    let epochs = report["epochs"].as_array().unwrap().iter();
    let parts: Vec<_> = epochs.map(|epoch| epoch["parts"].as_u64()).collect();
    // The first epoch is that of the checkpoint.
    assert_eq!(parts, [Some(1), Some(4)]);
    let page = String::from_utf8(trained.report_page.into()).unwrap();
    let sentence = "8 images, computed in 4 parts, because the device had no memory for more";
    assert!(page.contains(sentence));
    let saved = checkpoint::load(&store.objects, id).await.unwrap().unwrap();
    assert_eq!(saved.progress.parts.count(), 4);
    assert_eq!(saved.progress.epochs.len(), 2);
    assert_eq!(run(&store, id).await.epoch, 2);
}

#[tokio::test]
async fn a_run_fails_for_good_if_there_is_no_memory_for_one_image() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    let fault = Fault::Memory {
        from_epoch: 1,
        images: 0,
    };
    let device = faulty("a device with memory for no image", fault);
    let trainer = trainer_on(&store, device);
    assert!(trainer.work(&store.context("one")).await.unwrap());
    let run = run(&store, id).await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    let error = run.error.unwrap();
    assert!(error.contains("no memory for a single image"), "{error}");
}
