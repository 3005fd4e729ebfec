//! Where the messages of a chat come from: a line editor on a terminal, else the lines of stdin.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rbee_protocol::{Client, ErrorCode, JobEvent, ModelList, Operation, SubmitRequest};
use rustyline::completion::Completer;
use rustyline::config::BellStyle;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Cmd, CompletionType, Config, Context, Editor, Helper, KeyEvent};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ahead::Ahead;
use super::command;
use crate::error::Failure;
use crate::printer::Printer;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// The exit code that Ctrl-C asks for.
pub(super) const INTERRUPTED: u8 = 130;
/// More than this is no message: the longest contexts hold about a million tokens.
pub(super) const MESSAGE_MAX_BYTES: usize = 4 << 20;
/// Whoever presses Tab waits no longer for the names of models.
const MODELS_TIMEOUT: Duration = Duration::from_secs(2);
const PROMPT: &str = "> ";

/// Where the messages come from.
pub(super) struct Input {
    kind: Kind,
    /// Whether the line editor has taken what was typed, so that Ctrl-C is no key any more.
    is_taken: Arc<AtomicBool>,
    /// What reads, while nothing is being read.
    reader: Option<Reader>,
    /// Reads on, also while the program does something else.
    reading: Option<JoinHandle<(Reader, Result<Typed, Failure>)>>,
}

enum Kind {
    /// A terminal that can be edited on.
    Editor(Box<Ahead>),
    /// A terminal that shows what is written to it, and nothing more.
    Plain,
    /// No terminal.
    Pipe,
}

enum Reader {
    Editor(Box<Editor<Words, DefaultHistory>>),
    Stdin,
}

/// What was typed.
pub(super) enum Typed {
    /// A message, or a command.
    Text(String),
    /// What is neither, and why.
    Nonsense(Failure),
    /// Ctrl-C, which takes back what was typed.
    Interrupted,
    /// Ctrl-D, or the end of stdin.
    End,
    /// A signal that asks the program to leave, with this exit code.
    Signal(u8),
}

impl Input {
    /// The input of this process. Names of conversations are those of files in `conversations`.
    ///
    /// # Errors
    /// What the line editor says.
    pub(super) fn open(conversations: PathBuf, signals: &Signals) -> Result<Self, Failure> {
        let is_taken = Arc::new(AtomicBool::new(false));
        let is_plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let (kind, reader) = match Terminal::on_stdin().map(Arc::new) {
            Some(terminal) if !is_plain => {
                let editor = editor(conversations, is_taken.clone()).map_err(|error| unreadable(&error))?;
                signals.give_back(terminal.clone());
                let ahead = Ahead::of_terminal(terminal).map_err(|error| unreadable(&error))?;
                (Kind::Editor(Box::new(ahead)), Reader::Editor(Box::new(editor)))
            }
            Some(_) => (Kind::Plain, Reader::Stdin),
            None => (Kind::Pipe, Reader::Stdin),
        };
        Ok(Self { kind, is_taken, reader: Some(reader), reading: None })
    }

    /// Has the line editor ask this queen for the names of models.
    pub(super) fn ask_for_models(&mut self, client: &Client) {
        if let Some(Reader::Editor(editor)) = &mut self.reader
            && let Some(words) = editor.helper_mut()
        {
            words.queen = Some((client.clone(), Handle::current()));
        }
    }

    /// Whether a person types.
    pub(super) fn is_interactive(&self) -> bool {
        !matches!(self.kind, Kind::Pipe)
    }

    /// Has the line editor offer `text` again.
    pub(super) fn remember(&mut self, text: &str) {
        if let Some(Reader::Editor(editor)) = &mut self.reader {
            // A history in memory takes everything.
            let _ = editor.add_history_entry(text);
        }
    }

    /// Waits for this work, and keeps what is typed meanwhile for the next line.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        match &mut self.kind {
            Kind::Editor(ahead) => tokio::select! {
                biased;
                done = work => done,
                never = ahead.collect() => match never {},
            },
            Kind::Plain | Kind::Pipe => work.await,
        }
    }

    /// Waits for what is typed next.
    ///
    /// # Errors
    /// When stdin cannot be read, or is no text.
    pub(super) async fn next(
        &mut self,
        signals: &mut Signals,
        printer: &mut Printer,
    ) -> Result<Typed, Failure> {
        if matches!(self.kind, Kind::Plain) {
            printer.prompt(PROMPT);
        }
        let ahead = match &mut self.kind {
            Kind::Editor(ahead) => {
                tokio::select! {
                    biased;
                    () = ahead.collect_rest() => {}
                    exit_code = signals.first() => match exit_code {
                        // Whoever pastes without end gets to see what there is of it.
                        INTERRUPTED => signals.settle(),
                        _ => return Ok(Typed::Signal(exit_code)),
                    },
                }
                if ahead.is_full() {
                    printer.note("More than 4 MiB was typed ahead: the rest is left out")?;
                }
                ahead.take()
            }
            Kind::Plain | Kind::Pipe => String::new(),
        };
        let reader = &mut self.reader;
        let is_taken = &self.is_taken;
        let reading = self.reading.get_or_insert_with(|| {
            is_taken.store(false, Ordering::SeqCst);
            let mut reader = reader.take().expect("it is back once nothing is being read");
            tokio::task::spawn_blocking(move || {
                let typed = reader.read(&ahead);
                (reader, typed)
            })
        });
        let read = loop {
            tokio::select! {
                biased;
                read = &mut *reading => break read,
                exit_code = signals.first() => match &self.kind {
                    // The terminal has taken back what was typed, and the same reading goes on.
                    Kind::Plain if exit_code == INTERRUPTED => {
                        signals.settle();
                        printer.prompt("\n");
                        return Ok(Typed::Interrupted);
                    }
                    // It is for what comes of what was typed, where it is heard again.
                    Kind::Editor(_) if exit_code == INTERRUPTED && is_taken.load(Ordering::SeqCst) => {
                        break reading.await;
                    }
                    // The editor reads Ctrl-C as a key: this one was for an answer that was over just then.
                    Kind::Editor(_) if exit_code == INTERRUPTED => signals.settle(),
                    Kind::Editor(_) => {
                        printer.leave_line_editor();
                        return Ok(Typed::Signal(exit_code));
                    }
                    Kind::Plain | Kind::Pipe => return Ok(Typed::Signal(exit_code)),
                },
            }
        };
        let (reader, typed) = read.expect("reading does not panic");
        self.reader = Some(reader);
        self.reading = None;
        typed
    }
}

impl Reader {
    /// Reads on a terminal what goes on from `ahead`.
    fn read(&mut self, ahead: &str) -> Result<Typed, Failure> {
        match self {
            Self::Editor(editor) => match editor.readline_with_initial(PROMPT, (ahead, "")) {
                Ok(text) => Ok(Typed::Text(text)),
                Err(ReadlineError::Interrupted) => Ok(Typed::Interrupted),
                Err(ReadlineError::Eof) => Ok(Typed::End),
                Err(error) => Err(unreadable(&error)),
            },
            Self::Stdin => read_lines(&mut io::stdin().lock()),
        }
    }
}

/// Reads a message: a line, and those after it that belong to it.
fn read_lines(stdin: &mut impl BufRead) -> Result<Typed, Failure> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let room = (MESSAGE_MAX_BYTES + 1 - before) as u64;
        stdin.by_ref().take(room).read_until(b'\n', &mut bytes).map_err(|error| unreadable(&error))?;
        if bytes.len() > MESSAGE_MAX_BYTES {
            let hint = "that is more than is read at once: give it less";
            return Err(Failure::new(
                ErrorCode::BadData,
                "there is a message of more than 4 MiB on stdin",
                hint,
            ));
        }
        let is_over = bytes.len() == before;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match (is_over, bytes.is_empty()) {
            (true, true) => return Ok(Typed::End),
            (false, _) if !command::is_whole(text) => {}
            _ if std::str::from_utf8(&bytes).is_err() => {
                let hint = "convert it, e.g. with iconv";
                let failure = Failure::new(ErrorCode::BadData, "a message on stdin is not UTF-8", hint);
                return Ok(Typed::Nonsense(failure));
            }
            _ => return Ok(Typed::Text(text.to_owned())),
        }
    }
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    let hint = "give it a terminal, a file or a pipe";
    Failure::new(ErrorCode::Io, format!("cannot read stdin: {error}"), hint)
}

fn editor(
    conversations: PathBuf,
    is_taken: Arc<AtomicBool>,
) -> Result<Editor<Words, DefaultHistory>, ReadlineError> {
    let config = Config::builder()
        // What is typed belongs to the terminal, also where the answers go to a file.
        .behavior(Behavior::PreferTerm)
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        .build();
    let mut editor = Editor::with_config(config)?;
    // The editor stops the process for it, and often takes the terminal back before the other threads have stopped.
    editor.bind_sequence(KeyEvent::ctrl('Z'), Cmd::Noop);
    editor.set_helper(Some(Words { conversations, queen: None, is_taken }));
    Ok(editor)
}

/// What the line editor knows of what is typed.
struct Words {
    conversations: PathBuf,
    /// Who knows the models, and what talks to it: the editor has a thread of its own.
    queen: Option<(Client, Handle)>,
    is_taken: Arc<AtomicBool>,
}

impl Words {
    /// What the word at `at` could become.
    fn candidates(&self, typed: &str) -> (usize, Vec<String>) {
        if let Some(begun) = typed.strip_prefix("/load ") {
            let files = std::fs::read_dir(&self.conversations).into_iter().flatten().flatten();
            let names = files.filter_map(|file| file.file_name().into_string().ok());
            let names = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()));
            let mut names: Vec<_> = names.filter(|name| name.starts_with(begun)).collect();
            names.sort_unstable();
            return (typed.len() - begun.len(), names);
        }
        if let Some(begun) = typed.strip_prefix("/model ") {
            let models = self.queen.as_ref().map(|(client, handle)| {
                handle.block_on(async { timeout(MODELS_TIMEOUT, models(client)).await })
            });
            // Whatever keeps the names from coming, it is no reason to keep somebody from typing one.
            let names = models.and_then(Result::ok).flatten().unwrap_or_default();
            let names = names.into_iter().filter(|name| name.starts_with(begun)).collect();
            return (typed.len() - begun.len(), names);
        }
        (0, command::completions(typed).map(str::to_owned).collect())
    }
}

/// What models are called.
async fn models(client: &Client) -> Option<Vec<String>> {
    let job = client.submit(&SubmitRequest::new(Operation::ModelList {})).await.ok()?.job_id;
    let mut events = client.follow(&job, 0);
    loop {
        if let JobEvent::Result { result } = events.next().await.ok()??.event {
            let list: ModelList = serde_json::from_value(result).ok()?;
            let models = list.models.into_iter().map(|model| model.model);
            return Some(models.chain(list.aliases.into_keys()).collect());
        }
    }
}

impl Helper for Words {}

impl Highlighter for Words {}

impl Hinter for Words {
    type Hint = String;
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..at).unwrap_or_default();
        Ok(if typed.starts_with('/') { self.candidates(typed) } else { (at, Vec::new()) })
    }
}

impl Validator for Words {
    fn validate(&self, typed: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_whole = command::is_whole(typed.input());
        self.is_taken.store(is_whole, Ordering::SeqCst);
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(mut stdin: &[u8]) -> Result<Vec<String>, Failure> {
        let mut messages = Vec::new();
        while let Typed::Text(text) = read_lines(&mut stdin)? {
            messages.push(text);
        }
        Ok(messages)
    }

    #[test]
    fn each_line_is_a_message_or_a_part_of_one() {
        let check = |stdin: &str, expected: &[&str]| {
            assert_eq!(messages(stdin.as_bytes()).expect("text"), expected, "{stdin:?}");
        };
        check("", &[]);
        check("a\nb", &["a", "b"]);
        check("a\r\n\nb\n", &["a", "", "b"]);
        check("a\\\nb\nc\n", &["a\\\nb", "c"]);
        check("\"\"\"\na\n\nb\n\"\"\"\nc", &["\"\"\"\na\n\nb\n\"\"\"", "c"]);
        check("\"\"\"\nnever closed", &["\"\"\"\nnever closed"]);
        check("a\\", &["a\\"]);
    }

    #[test]
    fn what_is_no_text_or_too_much_is_refused() {
        let mut stdin = &b"\"\"\"\ngr\xfcn\n\"\"\"\ngreen\n"[..];
        let typed = read_lines(&mut stdin).expect("it goes on");
        assert!(matches!(typed, Typed::Nonsense(failure) if failure.exit_code() == 65));
        assert_eq!(messages(stdin).expect("text"), ["green"]);
        let long = vec![b'a'; MESSAGE_MAX_BYTES + 1];
        assert_eq!(messages(&long).expect_err("too long").exit_code(), 65);
        assert_eq!(messages(&long[1..]).expect("just as much").len(), 1);
    }

    #[test]
    fn commands_and_names_of_conversations_are_completed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["poems.json", "politics.json", "other.json", "poems.new-1"] {
            std::fs::write(folder.path().join(name), "").expect("our own folder");
        }
        let words = Words {
            conversations: folder.path().to_owned(),
            queen: None,
            is_taken: Arc::new(AtomicBool::new(false)),
        };
        let check = |typed: &str, at, expected: &[&str]| {
            assert_eq!(words.candidates(typed), (at, expected.iter().map(|&word| word.into()).collect()));
        };
        check("/re", 0, &["/regenerate"]);
        check("/load po", 6, &["poems", "politics"]);
        check("/load x", 6, &[]);
        check("/model x", 7, &[]);
    }
}
