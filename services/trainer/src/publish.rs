//! What a finished run leaves for others to find.

use anyhow::Result;
use maskline_messages::{ModelTrained, ObjectKey};
use maskline_runtime::WorkContext;
use maskline_storage::{
    Stores,
    records::{Model, Run, RunState},
};

use crate::course::Product;

/// Publishes a run's model: its files, then its record, then the run's end, then
/// the news. A trainer that dies in between leaves nothing that is not true, and
/// whoever takes over does the rest again.
pub async fn publish(
    stores: &Stores,
    run: &mut Run,
    product: Product,
    context: &WorkContext,
) -> Result<()> {
    let model = &product.model;
    let page = ObjectKey::model_report_page(model.id);
    let files = [
        (&ObjectKey::model_weights(model.id), product.weights),
        (&ObjectKey::model_report(model.id), product.report_json),
        (&page, product.report_html),
    ];
    for (key, bytes) in files {
        stores.objects.put(key, bytes).await?;
    }
    stores.catalog.publish_model(model).await?;
    run.state = RunState::Done;
    run.error = None;
    run.accuracy = Some(model.accuracy);
    run.loss = Some(model.loss);
    stores.catalog.update_run(run).await?;
    let report = stores.objects.locate(&page);
    let (accuracy, seconds) = (model.accuracy, model.seconds.round());
    tracing::info!(run = %model.id, network = %model.network, accuracy, seconds, report, "published");
    announce(model, context).await
}

/// Tells the others that there is a model.
pub async fn announce(model: &Model, context: &WorkContext) -> Result<()> {
    let trained = ModelTrained {
        dataset: model.dataset,
        run: model.id,
        network: model.network,
        accuracy: model.accuracy,
        loss: model.loss,
    };
    Ok(context.send(trained).await?)
}
