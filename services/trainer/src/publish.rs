//! Publishes what a run has trained.

use anyhow::Result;
use bytes::Bytes;
use maskline_messages::{ModelTrained, ObjectKey};
use maskline_runtime::WorkContext;
use maskline_storage::{
    ObjectStore,
    catalog::Library,
    records::{Model, Run, RunState},
};

/// The result of a run.
pub(crate) struct TrainedModel {
    pub(crate) record: Model,
    /// The network of the last epoch or of the probe, a safetensors file.
    pub(crate) weights: Bytes,
    /// What the cross-validation of a linear probe predicted, CSV.
    pub(crate) out_of_fold: Option<Bytes>,
    /// The report for programs, JSON.
    pub(crate) report: Bytes,
    /// The report for people, an HTML page.
    pub(crate) report_page: Bytes,
}

/// Publishes a model: its files, then its record, then the end of the run, then the
/// message. If the trainer dies in between, all that it has written is true, and the
/// trainer that takes the run over repeats the rest.
pub(crate) async fn publish(
    objects: &dyn ObjectStore,
    library: &dyn Library,
    run: &mut Run,
    model: TrainedModel,
    context: &WorkContext,
) -> Result<()> {
    let record = &model.record;
    let page = ObjectKey::model_report_page(record.id);
    let out_of_fold = ObjectKey::model_out_of_fold(record.id);
    let files = [
        (&ObjectKey::model_weights(record.id), Some(model.weights)),
        (&out_of_fold, model.out_of_fold),
        (&ObjectKey::model_report(record.id), Some(model.report)),
        (&page, Some(model.report_page)),
    ];
    for (key, bytes) in files {
        if let Some(bytes) = bytes {
            objects.put(key, bytes).await?;
        }
    }
    library.publish_model(record).await?;
    run.state = RunState::Done;
    run.error = None;
    run.epoch = run.epochs();
    run.accuracy = Some(record.accuracy);
    run.loss = Some(record.loss);
    run.evaluation = record.evaluation.clone();
    library.update_run(run).await?;
    let report = objects.locate(&page);
    let (accuracy, seconds) = (record.accuracy, record.seconds.round());
    let test = record.evaluation.as_ref().and_then(|of| of.test.as_ref());
    let test_accuracy = test.map(|test| test.accuracy);
    tracing::info!(
        run = %record.id, network = %record.network, test_accuracy, accuracy, seconds, report,
        "the model is published"
    );
    announce(record, context).await
}

/// Sends the message that there is a new model.
pub(crate) async fn announce(model: &Model, context: &WorkContext) -> Result<()> {
    let trained = ModelTrained {
        dataset: model.dataset,
        run: model.id,
        network: model.network,
        accuracy: model.accuracy,
        loss: model.loss,
    };
    Ok(context.send(trained).await?)
}
