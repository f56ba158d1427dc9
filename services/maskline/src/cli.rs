//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use maskline_runtime::telemetry;

use crate::{
    commands::{
        check::CheckArgs,
        dead_letters::DeadLetters,
        demo::Demo,
        enqueue::Enqueue,
        library::{Datasets, Models, Report, Train},
        model::{Evaluate, Predict},
        run::Run,
        status::{Rejects, Status},
        trace::Trace,
    },
    output,
};

/// From sources of images on the web to a trained face-mask classifier.
///
/// Without addresses everything lives in ./maskline-data, shared by every
/// process that is started in this folder.
#[derive(Debug, Parser)]
#[command(
    name = "maskline",
    version,
    after_help = "Begin with: maskline demo\n\n\
                  Your own images:\n  \
                  maskline run &\n  \
                  maskline enqueue folder photos/ --label-from folder --train mobilenet_v3_small --wait"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything at once on drawn faces: pipeline, training, report
    Demo(Demo),
    /// Run the services in this process, until stopped
    Run(Run),
    /// Turn a source of images into a job
    Enqueue(Enqueue),
    /// How far the jobs are, and their books
    Status(Status),
    /// What a job rejected or gave up, and why
    Rejects(Rejects),
    /// The trace of an image and of its job
    Trace(Trace),
    /// The frozen datasets
    Datasets(Datasets),
    /// The published models
    Models(Models),
    /// Where a run's report lies
    Report(Report),
    /// Ask the trainers for more runs on a dataset
    Train(Train),
    /// Messages that were given up
    DeadLetters(DeadLetters),
    /// The validator's verdict on local files, without a pipeline
    Check(CheckArgs),
    /// How well a model does on a folder of classes
    Evaluate(Evaluate),
    /// What a model thinks of files
    Predict(Predict),
}

impl Cli {
    /// Runs the command; errors are printed, and are the exit code.
    pub fn run(self) -> ExitCode {
        // Whoever runs the services wants to see what they do.
        let default_level = match &self.command {
            Command::Run(_) => "info",
            _ => "warn",
        };
        let settings = telemetry::Settings {
            service: "maskline".to_owned(),
            default_level,
        };
        maskline_runtime::launch(settings, async move {
            let result = match self.command {
                Command::Demo(demo) => demo.run().await,
                Command::Run(run) => run.run().await,
                Command::Enqueue(enqueue) => enqueue.run().await,
                Command::Status(status) => status.run().await,
                Command::Rejects(rejects) => rejects.run().await,
                Command::Trace(trace) => trace.run().await,
                Command::Datasets(datasets) => datasets.run().await,
                Command::Models(models) => models.run().await,
                Command::Report(report) => report.run().await,
                Command::Train(train) => train.run().await,
                Command::DeadLetters(letters) => letters.run().await,
                Command::Check(check) => crate::commands::check::check(check).await,
                Command::Evaluate(evaluate) => evaluate.run().await,
                Command::Predict(predict) => predict.run().await,
            };
            output::unless_closed(result)
        })
    }
}
