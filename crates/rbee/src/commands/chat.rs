//! `rbee chat`.

mod ahead;
mod command;
mod conversation;
mod input;

use anyhow::Result;
use rbee_home::Home;
use rbee_narration::printable_text;
use rbee_protocol::{
    ApiError, ClientError, EndState, ErrorCode, InferRequest, JobId, Message, ModelRef, ModelReport,
    Operation, Role, SubmitRequest,
};

use self::command::Wish;
use self::conversation::{Conversation, Keeper};
use self::input::{INTERRUPTED, Input, Typed};
use super::{infer, question};
use crate::cli::{Chat, Output};
use crate::connection::Connection;
use crate::error::Failure;
use crate::follow::{Outcome, View, follow};
use crate::human::{ago, count};
use crate::printer::Printer;
use crate::signals::Signals;
use crate::table::{Look, Table};

/// Answers message after message, until there are no more.
pub(crate) async fn chat(arguments: Chat, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    let model = arguments.model.as_deref().map(infer::model).transpose()?;
    let home = Home::from_env()?;
    let mut keeper = Keeper::open(&home)?;
    let mut conversation = if arguments.goes_on { keeper.load_last()? } else { Conversation::new(None) };
    let is_asked_for = model.is_some();
    conversation.model = model.or(conversation.model);
    if let Some(system) = arguments.system {
        conversation.set_system(Some(system));
    }
    let input = Input::open(home.conversations_dir(), signals)?;
    printer.narrate_less();
    if input.is_interactive() && printer.output() == Output::Text {
        printer.render_markdown();
    }
    signals.handle();
    let request = InferRequest {
        max_tokens: arguments.max_tokens,
        stop: arguments.stop,
        keep_alive_s: arguments.keep_alive.keep_alive_s,
        // A conversation that outgrows the context goes on without its beginning.
        truncate: true,
        ..infer::sampled(&arguments.sampling)
    };
    let connection = Connection::open(printer).await?;
    let mut session = Session {
        connection,
        keeper,
        conversation,
        request,
        input,
        unanswered: None,
        repetitions: 0,
        failed: 0,
    };
    match session.see_model(signals).await {
        Ok(None) => {}
        Ok(Some(exit_code)) => return Ok(exit_code),
        // A conversation that is taken up can go on with another.
        Err(failure) if !is_asked_for => session.tell(failure, printer)?,
        Err(failure) => return Err(failure.into()),
    }
    Ok(session.run(signals, printer).await?)
}

/// A chat that is under way.
struct Session {
    connection: Connection,
    keeper: Keeper,
    conversation: Conversation,
    /// What every message is asked with.
    request: InferRequest,
    input: Input,
    /// What was asked last, as long as it has no answer.
    unanswered: Option<Question>,
    /// How often the last message has been answered again.
    repetitions: u64,
    /// The exit code of the first message or command in a pipe that failed.
    failed: u8,
}

#[derive(Clone)]
struct Question {
    text: String,
    /// Whether it is the conversation's last one, which has an answer already.
    is_repeated: bool,
}

/// How the chat goes on.
enum Then {
    Next,
    Leave(u8),
}

impl Session {
    async fn run(&mut self, signals: &mut Signals, printer: &mut Printer) -> Result<u8, Failure> {
        let is_interactive = self.input.is_interactive();
        self.recall();
        if is_interactive {
            self.greet(printer)?;
        }
        loop {
            self.input.ask_for_models(&self.connection.client);
            let typed = match self.input.next(signals, printer).await? {
                Typed::Text(text) => text,
                Typed::Nonsense(failure) => {
                    self.tell(failure, printer)?;
                    continue;
                }
                Typed::Interrupted => {
                    printer.note("Ctrl-D or /quit leaves")?;
                    continue;
                }
                Typed::End => return Ok(self.failed),
                Typed::Signal(exit_code) => return Ok(exit_code),
            };
            self.input.remember(&typed);
            let then = match command::understand(&typed) {
                Ok(wish) => self.fulfil(wish, signals, printer).await,
                Err(failure) => Err(failure),
            };
            match then {
                Ok(Then::Next) => {}
                Ok(Then::Leave(exit_code)) => return Ok(exit_code),
                Err(failure) => self.tell(failure, printer)?,
            }
        }
    }

    fn greet(&self, printer: &mut Printer) -> Result<(), Failure> {
        let model = self.conversation.model.as_ref().map_or("the default model", ModelRef::as_str);
        printer.note(&match self.conversation.messages.len() as u64 {
            0 => format!("Chatting with {model}: /help lists the commands, Ctrl-D leaves"),
            messages => {
                let messages = count(messages, "message");
                format!(
                    "Going on with {}, {messages}, and {model}: /help lists the commands",
                    self.keeper.name()
                )
            }
        })
    }

    /// Has the line editor offer what was asked in the conversation.
    fn recall(&mut self) {
        for question in self.conversation.questions() {
            self.input.remember(question);
        }
    }

    /// Says what went wrong, after which the chat goes on; what cannot be gone on after is passed on.
    fn tell(&mut self, failure: Failure, printer: &mut Printer) -> Result<(), Failure> {
        // What was shown of an answer ends here.
        printer.end_answer()?;
        match failure {
            Failure::Told { exit_code, message, hint } => {
                printer.error(&message, hint.as_deref());
                if self.failed == 0 && !self.input.is_interactive() {
                    self.failed = exit_code;
                }
                Ok(())
            }
            failure => Err(failure),
        }
    }

    async fn fulfil(
        &mut self,
        wish: Wish,
        signals: &mut Signals,
        printer: &mut Printer,
    ) -> Result<Then, Failure> {
        match wish {
            Wish::Nothing => {}
            Wish::Quit => return Ok(Then::Leave(self.failed)),
            Wish::Help => self.show(&command::help(), printer)?,
            Wish::Answer(text) => {
                self.repetitions = 0;
                return self.answer(Question { text, is_repeated: false }, signals, printer).await;
            }
            Wish::Regenerate => {
                let last = || {
                    let (_, text) = self.conversation.last_question()?;
                    Some(Question { text: text.to_owned(), is_repeated: true })
                };
                let Some(question) = self.unanswered.clone().or_else(last) else {
                    let message = "there is nothing to answer again";
                    return Err(Failure::new(ErrorCode::Usage, message, "ask something first"));
                };
                self.repetitions += 1;
                return self.answer(question, signals, printer).await;
            }
            Wish::Model(None) => return self.list_models(signals, printer).await,
            Wish::Model(Some(name)) => {
                let model = infer::model(&name)?;
                let before = self.conversation.model.replace(model.clone());
                match self.see_model(signals).await {
                    Ok(None) => printer.note(&format!("{model} answers from now on"))?,
                    seen => {
                        self.conversation.model = before;
                        return seen.map(|signal| self.after(signal, signals));
                    }
                }
            }
            Wish::System(None) => match self.conversation.system() {
                Some(text) => self.show(&format!("{}\n", printable_text(text)), printer)?,
                None => printer.note("There are no instructions; /system TEXT gives some")?,
            },
            Wish::System(Some(text)) => {
                self.conversation.set_system(Some(text).filter(|text| text != "\"\""));
                let is = if self.conversation.system().is_some() { "stand" } else { "do not stand" };
                printer.note(&format!("Instructions {is} before the conversation from now on"))?;
            }
            Wish::Save(name) => {
                if let Some(name) = name {
                    self.keeper.rename(&name)?;
                }
                self.keep(printer)?;
                printer.note(&format!("Kept in {}", self.keeper.file().display()))?;
            }
            Wish::Load(None) => {
                let list = self.keeper.list()?;
                if list.is_empty() {
                    printer.note("There are no conversations yet")?;
                    return Ok(Then::Next);
                }
                let mut table = Table::new(["NAME", "KEPT"]);
                let now_ms = question::now_ms();
                for (name, kept) in list {
                    let kept = kept.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
                    table.row([name, ago(now_ms, u64::try_from(kept).unwrap_or(now_ms))]);
                }
                let look = match printer.output() {
                    Output::Text => printer.look(),
                    _ => Look { bold: false, ..printer.look() },
                };
                self.show(&table.render(look), printer)?;
            }
            Wish::Load(Some(name)) => {
                self.conversation = self.keeper.load(&name)?;
                self.unanswered = None;
                self.recall();
                self.greet(printer)?;
                let signal = self.see_model(signals).await?;
                return Ok(self.after(signal, signals));
            }
            Wish::Clear => {
                let system = self.conversation.system().map(str::to_owned);
                self.conversation = Conversation::new(self.conversation.model.clone());
                self.conversation.set_system(system);
                self.keeper.begin();
                self.unanswered = None;
                printer.note("A new conversation begins")?;
            }
        }
        Ok(Then::Next)
    }

    /// Keeps the conversation, and says so where that is under another name than before.
    fn keep(&mut self, printer: &mut Printer) -> Result<(), Failure> {
        let before = self.keeper.name().to_owned();
        if let Some(name) = self.keeper.keep(&self.conversation)? {
            printer.warning(&format!("{before} has been changed meanwhile: this chat is kept as {name}"))?;
        }
        Ok(())
    }

    /// Shows what is no answer: where answers are JSON, among what is told on stderr.
    fn show(&self, text: &str, printer: &mut Printer) -> Result<(), Failure> {
        match printer.output() {
            Output::Text => printer.page(text),
            _ => {
                printer.prompt(text);
                Ok(())
            }
        }
    }

    /// Sees that there is the conversation's model; returns the exit code of a signal that came meanwhile.
    async fn see_model(&mut self, signals: &mut Signals) -> Result<Option<u8>, Failure> {
        let Some(model) = self.conversation.model.clone() else { return Ok(None) };
        let question = Operation::ModelShow { model: Some(model) };
        let answer = question::answer_to::<ModelReport>(&self.connection.client, question);
        let answer = self.input.during(async {
            tokio::select! {
                biased;
                exit_code = signals.first() => Err(exit_code),
                answer = answer => Ok(answer),
            }
        });
        match answer.await {
            // The next message starts another queen.
            Ok(Ok(_) | Err(ClientError::Unreachable { .. })) => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(exit_code) => Ok(Some(exit_code)),
        }
    }

    /// Answers a question, and keeps both.
    async fn answer(
        &mut self,
        question: Question,
        signals: &mut Signals,
        printer: &mut Printer,
    ) -> Result<Then, Failure> {
        let mut messages = self.conversation.messages.clone();
        if question.is_repeated
            && let Some((at, _)) = self.conversation.last_question()
        {
            messages.truncate(at);
        }
        messages.push(Message::new(Role::User, &question.text));
        let seed = self.request.seed.map(|seed| seed.wrapping_add(self.repetitions));
        let model = self.conversation.model.clone();
        let request = InferRequest { model, messages: messages.clone(), seed, ..self.request.clone() };
        self.unanswered = Some(question);
        let outcome = match self.ask(Operation::Infer(request), signals, printer).await {
            Err(Failure::Signalled { exit_code }) => return Ok(self.after_signal(exit_code, signals)),
            outcome => outcome?,
        };
        if let Some(note) = infer::cut_note(&outcome.end, self.request.max_tokens) {
            printer.note(&note)?;
        }
        let is_answered = match outcome.end.state {
            EndState::Succeeded => true,
            // Whoever stops an answer has seen enough of it to go on from there.
            EndState::Cancelled => outcome.signal.is_some() && !outcome.text.is_empty(),
            EndState::Failed => false,
        };
        if is_answered {
            messages.push(Message::new(Role::Assistant, &outcome.text));
            self.conversation.messages = messages;
            self.unanswered = None;
            if let Err(failure) = self.keep(printer) {
                self.tell(failure, printer)?;
            }
        }
        match outcome.signal {
            Some(exit_code) => Ok(self.after_signal(exit_code, signals)),
            None => outcome.exit_code().map(|_| Then::Next),
        }
    }

    /// Ctrl-C has stopped an answer; whatever else was told to stop, or nobody typed, ends.
    fn after_signal(&self, exit_code: u8, signals: &mut Signals) -> Then {
        if exit_code != INTERRUPTED || !self.input.is_interactive() {
            return Then::Leave(exit_code);
        }
        signals.settle();
        Then::Next
    }

    fn after(&self, signal: Option<u8>, signals: &mut Signals) -> Then {
        signal.map_or(Then::Next, |exit_code| self.after_signal(exit_code, signals))
    }

    async fn list_models(&mut self, signals: &mut Signals, printer: &mut Printer) -> Result<Then, Failure> {
        match self.ask(Operation::ModelList {}, signals, printer).await {
            Err(Failure::Signalled { exit_code }) => Ok(self.after_signal(exit_code, signals)),
            outcome => {
                let outcome = outcome?;
                match outcome.signal {
                    Some(exit_code) => Ok(self.after_signal(exit_code, signals)),
                    None => outcome.exit_code().map(|_| Then::Next),
                }
            }
        }
    }

    /// Has the queen do this, and shows it.
    async fn ask(
        &mut self,
        operation: Operation,
        signals: &mut Signals,
        printer: &mut Printer,
    ) -> Result<Outcome, Failure> {
        let name = operation.name();
        let job = self.submit(&SubmitRequest::new(operation), printer).await?;
        let following = follow(View::of_ours(job, name), &mut self.connection, signals, printer);
        let outcome = self.input.during(following).await?;
        // In a file or a pipe, too, the next answer begins a line.
        printer.end_line()?;
        Ok(outcome)
    }

    /// Submits to the queen, or to the next one where ours has gone since the last message.
    async fn submit(&mut self, request: &SubmitRequest, printer: &mut Printer) -> Result<JobId, Failure> {
        match self.connection.client.submit(request).await {
            Ok(submitted) => Ok(submitted.job_id),
            Err(ClientError::Unreachable { .. }) => {
                self.connection.reopen(printer).await?;
                Ok(self.connection.client.submit(request).await?.job_id)
            }
            Err(error) => Err(ApiError::from(error).into()),
        }
    }
}
