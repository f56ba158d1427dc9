//! `maskline run`: the services in one process.

use anyhow::Result;
use clap::{Args, ValueEnum};
use maskline_labeler::OpinionArgs;
use maskline_runtime::{RuntimeArgs, Service};
use maskline_scraper::FetchArgs;
use maskline_storage::StorageArgs;
use maskline_trainer::TrainerArgs;
use maskline_validator::LimitArgs;

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  maskline run
  maskline run --only validator,labeler --broker amqp://guest:guest@localhost/")]
pub struct Run {
    /// Only these services
    #[arg(long, value_enum, value_name = "STAGE", value_delimiter = ',')]
    only: Vec<StageName>,
    #[command(flatten)]
    services: Services,
}

/// The flags of all services.
#[derive(Debug, Clone, Args)]
pub struct Services {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub fetch: FetchArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub opinion: OpinionArgs,
    #[command(flatten)]
    pub trainer: TrainerArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    Scraper,
    Validator,
    Labeler,
    Storer,
    Trainer,
}

impl Run {
    pub async fn run(self) -> Result<()> {
        let only = match self.only.as_slice() {
            [] => StageName::value_variants(),
            only => only,
        };
        let stop = maskline_runtime::stop_on_signals()?;
        let services = self.services.start(only).await?;
        let runtime = &self.services.runtime;
        let broker = runtime.at.open_broker().await?;
        let result = maskline_runtime::run(services, runtime, broker.clone(), stop).await;
        broker.close().await;
        result
    }
}

impl Services {
    /// The services, each connected to its stores.
    pub async fn start(&self, stages: &[StageName]) -> Result<Vec<Service>> {
        let mut services = vec![];
        for stage in stages {
            services.push(self.service(*stage).await?);
        }
        Ok(services)
    }

    async fn service(&self, stage: StageName) -> Result<Service> {
        let (runtime, storage) = (self.runtime.clone(), self.storage.clone());
        match stage {
            StageName::Scraper => {
                let fetch = self.fetch.clone();
                maskline_scraper::service(&maskline_scraper::Args {
                    runtime,
                    storage,
                    fetch,
                })
                .await
            }
            StageName::Validator => {
                let limits = self.limits.clone();
                maskline_validator::service(&maskline_validator::Args {
                    runtime,
                    storage,
                    limits,
                })
                .await
            }
            StageName::Labeler => {
                let opinion = self.opinion.clone();
                maskline_labeler::service(&maskline_labeler::Args {
                    runtime,
                    storage,
                    opinion,
                })
                .await
            }
            StageName::Storer => {
                maskline_storer::service(&maskline_storer::Args { runtime, storage }).await
            }
            StageName::Trainer => {
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
