//! `maskline run`: the services in one process.

use anyhow::Result;
use clap::{Args, ValueEnum};
use maskline_labeler::ModelCheckArgs;
use maskline_runtime::{RuntimeArgs, Service};
use maskline_scraper::{FetchArgs, SearchArgs};
use maskline_storage::StorageArgs;
use maskline_trainer::TrainerArgs;
use maskline_validator::{FaceArgs, LimitArgs};

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  maskline run
  maskline run --only validator,labeler --broker amqp://localhost")]
pub(crate) struct Run {
    /// Run only these services
    #[arg(long, value_enum, value_name = "SERVICE", value_delimiter = ',')]
    only: Vec<ServiceName>,
    #[command(flatten)]
    services: Services,
}

/// The flags of all five services.
#[derive(Debug, Clone, Args)]
pub(crate) struct Services {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    #[command(flatten)]
    pub(crate) fetch: FetchArgs,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) faces: FaceArgs,
    #[command(flatten)]
    pub(crate) model_check: ModelCheckArgs,
    #[command(flatten)]
    pub(crate) trainer: TrainerArgs,
}

/// The services by the names that `--only` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceName {
    Scraper,
    Validator,
    Labeler,
    Storer,
    Trainer,
}

impl Run {
    pub(crate) async fn run(self) -> Result<()> {
        let only = match self.only.as_slice() {
            [] => ServiceName::value_variants(),
            only => only,
        };
        let stop = maskline_runtime::stop_on_signals()?;
        let services = self.services.start(only).await?;
        let runtime = &self.services.runtime;
        let broker = runtime.connection.open_broker().await?;
        let result = maskline_runtime::run(services, runtime, broker.clone(), stop).await;
        broker.close().await;
        result
    }
}

impl Services {
    /// Makes the named services. Each opens its own stores.
    pub(crate) async fn start(&self, names: &[ServiceName]) -> Result<Vec<Service>> {
        let mut services = vec![];
        for name in names {
            services.push(self.service(*name).await?);
        }
        Ok(services)
    }

    async fn service(&self, name: ServiceName) -> Result<Service> {
        let (runtime, storage) = (self.runtime.clone(), self.storage.clone());
        match name {
            ServiceName::Scraper => {
                let (fetch, search) = (self.fetch.clone(), self.search.clone());
                maskline_scraper::service(&maskline_scraper::Args {
                    runtime,
                    storage,
                    fetch,
                    search,
                })
                .await
            }
            ServiceName::Validator => {
                let (limits, faces) = (self.limits.clone(), self.faces.clone());
                maskline_validator::service(&maskline_validator::Args {
                    runtime,
                    storage,
                    limits,
                    faces,
                })
                .await
            }
            ServiceName::Labeler => {
                let model_check = self.model_check.clone();
                maskline_labeler::service(&maskline_labeler::Args {
                    runtime,
                    storage,
                    model_check,
                })
                .await
            }
            ServiceName::Storer => {
                maskline_storer::service(&maskline_storer::Args { runtime, storage }).await
            }
            ServiceName::Trainer => {
                let trainer = self.trainer.clone();
                maskline_trainer::service(&maskline_trainer::Args {
                    runtime,
                    storage,
                    trainer,
                })
                .await
            }
        }
    }
}
