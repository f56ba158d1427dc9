//! The command line: its commands, and what is common to all of them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use maskline_runtime::telemetry;

use crate::{
    commands::{
        check::Check, collections::Collections, datasets::Datasets, dead_letters::DeadLetters,
        demo::Demo, enqueue::Enqueue, evaluate::Evaluate, freeze::Freeze, models::Models,
        predict::Predict, rejects::Rejects, remove::Remove, report::Report, run::Run,
        status::Status, trace::Trace, train::Train, tune::Tune, weights::Weights,
    },
    output,
};

/// Turns sources of images on the web into a trained face-mask classifier.
///
/// If no addresses are given, everything is kept in ./maskline-data, which all
/// processes share that are started in this folder.
#[derive(Debug, Parser)]
#[command(
    name = "maskline",
    version,
    after_help = "Begin with: maskline demo\n\n\
                  Your own images:\n  \
                  maskline run &\n  \
                  maskline enqueue folder photos/ --label-from folder --train --wait"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try everything at once on drawn faces: pipeline, training, report
    Demo(Demo),
    /// Run the services in this process until they are stopped
    Run(Box<Run>),
    /// Bring the images of a source into a collection
    Enqueue(Enqueue),
    /// List the collections and what is in them
    Collections(Collections),
    /// Make a version of a collection as it is now
    Freeze(Freeze),
    /// Take a source or an image out of a collection
    Remove(Remove),
    /// Show how far the jobs are, and their counts
    Status(Status),
    /// List the candidates of a job that were rejected or have failed, and why
    Rejects(Rejects),
    /// Show the trace of an image and of its job
    Trace(Trace),
    /// List the frozen datasets
    Datasets(Datasets),
    /// List the published models
    Models(Models),
    /// Show where the report of a training run is
    Report(Report),
    /// Ask the trainers for more runs on a dataset
    Train(Train),
    /// Ask the trainers to find good settings for a network, by training it several times
    Tune(Box<Tune>),
    /// List and download the pretrained weights that torchvision publishes
    Weights(Weights),
    /// List, replay or drop the messages that the services gave up
    DeadLetters(DeadLetters),
    /// Print the validator's verdict on local files, without a pipeline
    Check(Check),
    /// Measure how well a model does on a folder with a folder for each class, or on a dataset
    Evaluate(Evaluate),
    /// Print what a model predicts for files
    Predict(Predict),
}

impl Cli {
    /// Runs the command. An error is printed and makes the exit code a failure.
    pub fn run(self) -> ExitCode {
        // A person who runs the services wants to see what they do.
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
                Command::Collections(collections) => collections.run().await,
                Command::Freeze(freeze) => freeze.run().await,
                Command::Remove(remove) => remove.run().await,
                Command::Status(status) => status.run().await,
                Command::Rejects(rejects) => rejects.run().await,
                Command::Trace(trace) => trace.run().await,
                Command::Datasets(datasets) => datasets.run().await,
                Command::Models(models) => models.run().await,
                Command::Report(report) => report.run().await,
                Command::Train(train) => train.run().await,
                Command::Tune(tune) => tune.run().await,
                Command::Weights(weights) => weights.run().await,
                Command::DeadLetters(dead_letters) => dead_letters.run().await,
                Command::Check(check) => check.run().await,
                Command::Evaluate(evaluate) => evaluate.run().await,
                Command::Predict(predict) => predict.run().await,
            };
            output::unless_closed(result)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::CommandFactory;

    use super::Cli;

    /// The command lines under "Example:" and "Examples:" of a command and of its subcommands.
    ///
    /// A line that ends in a backslash goes on in the next one. What stands behind three spaces
    /// is a remark, and what stands behind a bar is another program.
    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string);
        let joined = help
            .unwrap_or_default()
            .split("\\\n")
            .map(str::trim_start)
            .collect::<String>();
        let own = joined
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| line.starts_with("maskline"))
            .map(|line| line.split("   ").next().unwrap_or(line))
            .map(|line| line.split(" | ").next().unwrap_or(line))
            .map(|line| line.trim_end_matches('&').to_owned());
        own.chain(command.get_subcommands().flat_map(examples))
            .collect()
    }

    /// The words of a command line, as a shell splits it.
    fn words(line: &str) -> Vec<String> {
        let has_more = line.contains(['>', '<', ';', '$', '`', '(']);
        assert!(!has_more, "the shell would do more than split this: {line}");
        let shell = Command::new("sh")
            .args(["-c", &format!("printf '%s\\n' {line}")])
            .output();
        let printed = shell.expect("a shell splits the line").stdout;
        let printed = String::from_utf8(printed).expect("the line is text");
        printed.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_examples_of_the_help_are_command_lines_that_are_taken() {
        let programs = [
            (Cli::command(), 20),
            (maskline_scraper::Args::command(), 1),
            (maskline_validator::Args::command(), 1),
            (maskline_labeler::Args::command(), 1),
            (maskline_storer::Args::command(), 1),
            (maskline_trainer::Args::command(), 1),
        ];
        for (program, at_least) in programs {
            let examples = examples(&program);
            let name = program.get_name();
            assert!(examples.len() >= at_least, "{name}: {examples:?}");
            for line in examples {
                let taken = program.clone().try_get_matches_from(words(&line));
                assert!(taken.is_ok(), "{line}: {}", taken.unwrap_err());
            }
        }
    }
}
