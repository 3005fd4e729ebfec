//! `rbee embed`.

use anyhow::Result;
use rbee_protocol::{EmbedRequest, Operation, SubmitRequest};

use crate::cli::Embed;
use crate::commands::infer::model;
use crate::connection::Connection;
use crate::follow::{View, follow};
use crate::printer::Printer;
use crate::prompt;
use crate::signals::Signals;

/// Submits the texts, and prints their vectors as they come.
pub(crate) async fn embed(arguments: Embed, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    let Embed { texts, model: named, truncate, keep_alive, no_stdin } = arguments;
    let model = named.as_deref().map(model).transpose()?;
    let input = prompt::read_texts(texts, no_stdin, printer).await?;
    let keep_alive_s = keep_alive.keep_alive_s;
    let request = EmbedRequest { model, input, truncate, keep_alive_s, ..EmbedRequest::default() };
    let operation = Operation::Embed(request);

    let mut connection = Connection::open(printer).await?;
    let name = operation.name();
    let submitted = connection.client.submit(&SubmitRequest::new(operation)).await?;
    let view = View::of_ours(submitted.job_id, name);
    Ok(follow(view, &mut connection, signals, printer).await?.exit_code()?)
}
