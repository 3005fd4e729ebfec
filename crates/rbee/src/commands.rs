//! The commands, each in the file of its kind.

mod chat;
mod doctor;
mod embed;
mod events;
mod explain;
mod infer;
mod job;
mod key;
mod man;
mod overview;
mod queen;
pub(crate) mod question;
mod service;
mod uninstall;

use anyhow::{Context, Result};
use rbee_protocol::{HiveId, Operation, WorkerId};
use tokio::runtime;

use crate::cli::{Command, Hive, Model, Queen, Worker};
use crate::complete;
use crate::printer::Printer;
use crate::signals::Signals;

/// Runs a command and gives its exit code.
pub(crate) fn run(command: Option<Command>, printer: &mut Printer) -> Result<u8> {
    let Some(command) = command else {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(overview::show(printer));
    };
    match command {
        Command::Completions { shell } => {
            let script = complete::script(&shell.to_string()).context("there is no script for this shell")?;
            printer.page(&String::from_utf8(script).context("the script for the shell is no text")?)?;
            Ok(0)
        }
        Command::Man { folder } => {
            man::write(&folder).with_context(|| format!("cannot write into {}", folder.display()))?;
            Ok(0)
        }
        Command::Queen(Queen::Run) => Err(queen::run()),
        command => {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(run_with_signals(command, printer));
            // A read of stdin that is still pending must not hold us up.
            runtime.shutdown_background();
            result
        }
    }
}

async fn run_with_signals(command: Command, printer: &mut Printer) -> Result<u8> {
    let signals = &mut Signals::listen().context("cannot listen for signals")?;
    let question = match command {
        Command::Infer(arguments) => return infer::infer(*arguments, signals, printer).await,
        Command::Chat(arguments) => return chat::chat(*arguments, signals, printer).await,
        Command::Embed(arguments) => return embed::embed(arguments, signals, printer).await,
        Command::Job(command) => return job::run(command, signals, printer).await,
        Command::Events { after } => return events::run(after, signals, printer).await,
        Command::Key(command) => return key::run(command, printer).await,
        Command::Queen(command) => return queen::control(command, signals, printer).await,
        Command::Doctor(arguments) => return doctor::run(arguments, printer).await,
        Command::Uninstall(arguments) => return uninstall::run(arguments, printer).await,
        Command::Completions { .. } | Command::Man { .. } => unreachable!("it needs no runtime"),
        Command::Status => Operation::Status {},
        Command::Hive(Hive::Status { hive }) => Operation::HiveStatus { hive: hive.map(HiveId::new) },
        Command::Hive(Hive::List) => Operation::HiveList {},
        Command::Hive(Hive::Pause { hive }) => Operation::HivePause { hive: hive.map(HiveId::new) },
        Command::Hive(Hive::Resume { hive }) => Operation::HiveResume { hive: hive.map(HiveId::new) },
        Command::Worker(Worker::List) => Operation::WorkerList {},
        Command::Worker(Worker::Start { model, keep_alive, pin }) => Operation::WorkerStart {
            model: model.as_deref().map(infer::model).transpose()?,
            keep_alive_s: keep_alive.keep_alive_s,
            pinned: pin,
        },
        Command::Worker(Worker::Stop { worker }) => {
            Operation::WorkerStop { worker: WorkerId::new(worker), deadline_s: None }
        }
        Command::Worker(Worker::Drain { worker, deadline }) => {
            let deadline_s = u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX);
            Operation::WorkerStop { worker: WorkerId::new(worker), deadline_s: Some(deadline_s) }
        }
        Command::Worker(Worker::Logs { lines, follow }) => {
            return queen::logs_of("worker", lines, follow, signals, printer).await;
        }
        Command::Model(Model::List) => Operation::ModelList {},
        Command::Model(Model::Pull { model }) => Operation::ModelPull { model: infer::model(&model)? },
        Command::Model(Model::Show { model }) => {
            Operation::ModelShow { model: model.as_deref().map(infer::model).transpose()? }
        }
        Command::Model(Model::Rm { model }) => Operation::ModelRemove { model: infer::model(&model)? },
        Command::Model(Model::Search { words, limit }) => {
            Operation::ModelSearch { query: words.join(" "), limit: Some(limit) }
        }
        Command::Model(Model::Verify { model }) => {
            Operation::ModelVerify { model: model.as_deref().map(infer::model).transpose()? }
        }
        Command::Model(Model::Alias { name, model, .. }) => {
            let model = model.as_deref().map(infer::model).transpose()?;
            Operation::ModelAlias { alias: name, model }
        }
    };
    question::ask(question, signals, printer).await
}
