//! Follows a job's stream, and shows what happens in it.

use std::pin::pin;
use std::time::{Duration, Instant};

use rbee_protocol::{
    ApiError, ClientError, Embedding, End, EndState, ErrorCode, FinishReason, Followed, JobEvent, JobId,
    Timings, TokenLogprobs, ToolCallPart, Usage,
};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::cli::Output;
use crate::commands::question;
use crate::connection::Connection;
use crate::error::Failure;
use crate::printer::Printer;
use crate::signals::Signals;

/// How often a bar moves.
const TICK: Duration = Duration::from_millis(100);
/// A queen that is lost so often without a word in between is given up.
const LOSSES_MAX: u32 = 10;
const LOSS_DELAY: Duration = Duration::from_millis(200);

/// What is seen of a job.
pub(crate) struct View {
    job: JobId,
    /// The operation's name, which says what a result is.
    operation: String,
    /// Whether the job is ours, and ends when we leave.
    is_ours: bool,
    text: String,
    reasoning: String,
    logprobs: Vec<TokenLogprobs>,
    calls: Vec<Call>,
    result: Option<Value>,
    embeddings: Vec<Embedding>,
}

/// How following a job ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How the job ended.
    pub(crate) end: End,
    /// The answer that it gave until then.
    pub(crate) text: String,
    /// The exit code that a signal asked for in the meantime.
    pub(crate) signal: Option<u8>,
}

/// A call of a tool, as far as it has come.
#[derive(Debug, Default, Serialize)]
struct Call {
    id: String,
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

/// What `--output json` prints of an inference.
#[derive(Serialize)]
struct Answer<'a> {
    job_id: &'a JobId,
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    logprobs: &'a [TokenLogprobs],
    #[serde(skip_serializing_if = "<[Call]>::is_empty")]
    tool_calls: &'a [Call],
    state: EndState,
    finish_reason: Option<FinishReason>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ApiError>,
}

/// What `--output json` prints of embeddings.
#[derive(Serialize)]
struct Vectors<'a> {
    job_id: &'a JobId,
    embeddings: &'a [Embedding],
    #[serde(flatten)]
    report: Option<&'a Value>,
    state: EndState,
    usage: Option<Usage>,
    timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ApiError>,
}

/// Shows a job from its first event to its last.
///
/// If the job is ours, it is cancelled on the first signal, and followed to the end that this has; and it is
/// cancelled when stdout is closed. A queen that has gone is started again.
pub(crate) async fn follow(
    mut view: View,
    connection: &mut Connection,
    signals: &mut Signals,
    printer: &mut Printer,
) -> Result<Outcome, Failure> {
    signals.handle();
    let mut signal = None;
    let outcome = watch(&mut view, &mut signal, connection, signals, printer).await;
    printer.end_progress();
    let stdout_failed = matches!(&outcome, Err(Lost::Stdout(_)));
    if stdout_failed && view.is_ours {
        // Nobody is left to tell whether that worked.
        let _ = connection.client.cancel(&view.job).await;
    }
    match (outcome, signal) {
        (Ok(end), _) => Ok(Outcome { end, text: view.text, signal }),
        (Err(_), Some(exit_code)) => Err(Failure::Signalled { exit_code }),
        (Err(Lost::Stdout(failure) | Lost::Stream(failure)), None) => Err(failure),
    }
}

/// What was lost when a job could not be followed to its end.
enum Lost {
    Stdout(Failure),
    Stream(Failure),
}

async fn watch(
    view: &mut View,
    signal: &mut Option<u8>,
    connection: &mut Connection,
    signals: &mut Signals,
    printer: &mut Printer,
) -> Result<End, Lost> {
    let mut events = connection.client.follow(&view.job, 0).once();
    let mut last_seq = 0;
    // How often the queen was lost since the last event came.
    let mut losses = 0;
    let mut is_another_queen = false;
    let mut cancelling = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        let next = {
            // One future until it is ready: begun anew at each tick, its attempts to resume would never get far.
            let mut next = pin!(events.next());
            loop {
                tokio::select! {
                    biased;
                    exit_code = signals.first(), if signal.is_none() => {
                        *signal = Some(exit_code);
                        if !view.is_ours {
                            return Err(Lost::Stream(Failure::Signalled { exit_code }));
                        }
                        printer.end_progress();
                        printer.note("Cancelling…").map_err(Lost::Stdout)?;
                        let (client, job) = (connection.client.clone(), view.job.clone());
                        cancelling.spawn(async move { client.cancel(&job).await });
                    }
                    Some(cancelled) = cancelling.join_next() => {
                        let cancelled = cancelled.expect("asking for a cancel does not panic");
                        signals.said();
                        if let Err(error) = cancelled {
                            printer.warning(&format!("the job could not be cancelled: {error}")).map_err(Lost::Stdout)?;
                            return Err(Lost::Stream(error.into()));
                        }
                    }
                    next = &mut next => break next,
                    _ = ticks.tick(), if printer.shows_progress() => {
                        printer.tick(Instant::now()).map_err(Lost::Stdout)?;
                    }
                }
            }
        };
        match next {
            Ok(Some(followed)) => {
                last_seq = followed.seq;
                losses = 0;
                view.show(&followed, printer).map_err(Lost::Stdout)?;
                if let JobEvent::End(end) = followed.event {
                    return Ok(*end);
                }
            }
            Ok(None) => unreachable!("a stream has nothing after its end event, at which we returned"),
            Err(error) if signal.is_some() => {
                printer.warning(&error.to_string()).map_err(Lost::Stdout)?;
                return Err(Lost::Stream(error.into()));
            }
            Err(ClientError::Unreachable { .. }) if losses < LOSSES_MAX => {
                if losses > 0 {
                    // What is lost again at once is on its way down, or does not come up.
                    sleep(LOSS_DELAY).await;
                }
                losses += 1;
                is_another_queen = true;
                printer.end_progress();
                connection.reopen(printer).await.map_err(Lost::Stream)?;
                events = connection.client.follow(&view.job, last_seq).once();
            }
            Err(error) if is_another_queen && is_unknown(&error) => {
                return Err(Lost::Stream(interrupted(&view.job)));
            }
            Err(error) => return Err(Lost::Stream(error.into())),
        }
    }
}

/// Whether a queen does not know the job, or not all that we have seen of it.
fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Api(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::CursorAhead))
}

fn interrupted(job: &JobId) -> Failure {
    Failure::new(
        ErrorCode::Interrupted,
        format!("the queen went away, and the one that was started in its place does not know {job}"),
        "run the command again",
    )
}

impl View {
    /// The view of a job that we have submitted.
    pub(crate) fn of_ours(job: JobId, operation: &str) -> Self {
        Self::new(job, operation, true)
    }

    /// The view of a job that goes on without us.
    pub(crate) fn of_another(job: JobId, operation: &str) -> Self {
        Self::new(job, operation, false)
    }

    fn new(job: JobId, operation: &str, is_ours: bool) -> Self {
        let operation = operation.to_owned();
        Self {
            job,
            operation,
            is_ours,
            text: String::new(),
            reasoning: String::new(),
            logprobs: Vec::new(),
            calls: Vec::new(),
            result: None,
            embeddings: Vec::new(),
        }
    }

    fn show(&mut self, followed: &Followed, printer: &mut Printer) -> Result<(), Failure> {
        let output = printer.output();
        if output == Output::Ndjson {
            printer.json_line(&followed.json)?;
        }
        match &followed.event {
            JobEvent::Narration(line) => printer.narrate(line),
            JobEvent::Progress(progress) => {
                printer.progress(progress.clone());
                Ok(())
            }
            JobEvent::Token(token) => {
                let text = if token.reasoning { &mut self.reasoning } else { &mut self.text };
                text.push_str(&token.text);
                match (output, token.reasoning) {
                    (Output::Text, false) => printer.answer(&token.text),
                    (Output::Text, true) => printer.reasoning(&token.text),
                    (_, _) => {
                        printer.end_progress();
                        if output == Output::Json {
                            self.logprobs.extend_from_slice(&token.logprobs);
                        }
                        Ok(())
                    }
                }
            }
            JobEvent::Embedding(embedding) => match output {
                Output::Text => printer.page(&format!("{embedding}\n")),
                Output::Json => {
                    self.embeddings.push(embedding.clone());
                    Ok(())
                }
                Output::Ndjson => Ok(()),
            },
            JobEvent::ToolCall(part) => match output {
                Output::Text => {
                    if let Some(name) = &part.name {
                        printer.begin_call(name)?;
                    }
                    printer.answer(&part.arguments)
                }
                Output::Json | Output::Ndjson => {
                    printer.end_progress();
                    if output == Output::Json {
                        self.add_to_call(part);
                    }
                    Ok(())
                }
            },
            JobEvent::Result { result } => match output {
                // What there is to say of vectors is not one of them, and stands in the narration.
                Output::Text if self.operation == "embed" => Ok(()),
                Output::Text => {
                    let page = question::page(&self.operation, result, printer.look());
                    printer.page(&page)
                }
                Output::Json => {
                    self.result = Some(result.clone());
                    Ok(())
                }
                Output::Ndjson => Ok(()),
            },
            JobEvent::End(end) => match output {
                Output::Text => printer.end_answer(),
                Output::Json => self.show_json(end, printer),
                Output::Ndjson => Ok(()),
            },
        }
    }

    fn add_to_call(&mut self, part: &ToolCallPart) {
        if let (Some(id), Some(name)) = (&part.id, &part.name) {
            self.calls.push(Call { id: id.clone(), name: name.clone(), arguments: String::new() });
        }
        if let Some(call) = self.calls.last_mut() {
            call.arguments.push_str(&part.arguments);
        }
    }

    fn show_json(&self, end: &End, printer: &mut Printer) -> Result<(), Failure> {
        if self.operation == "infer" {
            let answer = Answer {
                job_id: &self.job,
                text: &self.text,
                reasoning: &self.reasoning,
                logprobs: &self.logprobs,
                tool_calls: &self.calls,
                state: end.state,
                finish_reason: end.finish_reason,
                usage: end.usage,
                timings: end.timings,
                error: end.error.as_ref(),
            };
            return printer.json(&answer);
        }
        if self.operation == "embed" {
            let answer = Vectors {
                job_id: &self.job,
                embeddings: &self.embeddings,
                report: self.result.as_ref(),
                state: end.state,
                usage: end.usage,
                timings: end.timings,
                error: end.error.as_ref(),
            };
            return printer.json(&answer);
        }
        match &self.result {
            Some(result) => printer.json(result),
            None => Ok(()),
        }
    }
}

impl Outcome {
    /// The exit code of a command that did what the job did.
    ///
    /// # Errors
    /// Why the job did not do what it was asked to.
    pub(crate) fn exit_code(self) -> Result<u8, Failure> {
        let code = match (self.signal, self.end.state) {
            (Some(exit_code), _) => return Ok(exit_code),
            (None, EndState::Succeeded) => return Ok(0),
            (None, EndState::Failed) => ErrorCode::Internal,
            (None, EndState::Cancelled) => ErrorCode::Cancelled,
        };
        Err(self.error().unwrap_or_else(|| {
            let message = "the job did not succeed, and nobody said why";
            Failure::new(code, message, "`rbee queen logs` may say more")
        }))
    }

    /// What went wrong, if anybody said.
    pub(crate) fn error(self) -> Option<Failure> {
        self.end.error.map(Failure::from)
    }
}

#[cfg(test)]
mod tests {
    use rbee_narration::Level;
    use rbee_protocol::{Event, Phase, Progress, Token, Unit};
    use serde_json::json;

    use super::*;
    use crate::printer::tests::{Where, closed_printer, line, printer};

    fn view(operation: &str) -> View {
        View::of_ours(JobId::from_bits(1), operation)
    }

    fn token(text: &str) -> JobEvent {
        JobEvent::Token(Token::new(text, 0))
    }

    fn thought(text: &str) -> JobEvent {
        JobEvent::Token(Token { reasoning: true, ..Token::new(text, 0) })
    }

    fn end() -> JobEvent {
        JobEvent::End(Box::new(End {
            finish_reason: Some(FinishReason::Stop),
            usage: Some(Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 2 }),
            ..End::succeeded()
        }))
    }

    fn script() -> Vec<JobEvent> {
        vec![
            JobEvent::Narration(line(Level::Info, "Job created")),
            JobEvent::Progress(Progress::new(Phase::Load, 1, Some(100), Unit::Percent)),
            thought("hm"),
            token("Hel\r"),
            token("lo"),
            end(),
        ]
    }

    /// What a pipe's reader sees on stdout and stderr of these events.
    fn shown(operation: &str, options: &str, events: Vec<JobEvent>) -> (String, String) {
        let (mut printer, stdout, stderr) = printer(Where::Pipes, options);
        let mut view = view(operation);
        for (seq, event) in (1..).zip(events) {
            let json = serde_json::to_string(&Event { seq, event: event.clone() }).expect("plain data");
            view.show(&Followed { seq, event, json }, &mut printer).expect("open");
        }
        (stdout.text(), stderr.text())
    }

    #[test]
    fn the_answer_goes_to_stdout_and_narration_to_stderr() {
        let (stdout, stderr) = shown("infer", "", script());
        assert_eq!(stdout, "Hel\rlo");
        assert_eq!(stderr, "[queen     ] job_create     : Job created\n");
        assert_eq!(shown("infer", "-q", script()), ("Hel\rlo".to_owned(), String::new()));
    }

    #[test]
    fn json_is_one_object_at_the_end() {
        let (stdout, _) = shown("infer", "--output json", script());
        let answer: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(
            answer,
            json!({
                "job_id": JobId::from_bits(1),
                "text": "Hel\rlo",
                "reasoning": "hm",
                "state": "succeeded",
                "finish_reason": "stop",
                "usage": {"prompt_tokens": 3, "cached_tokens": 1, "completion_tokens": 2},
                "timings": null,
            })
        );
        let failed =
            JobEvent::End(Box::new(End::stopped(ApiError::new(ErrorCode::Busy, "full").hint("wait"))));
        let (stdout, _) = shown("infer", "--output json", vec![token("a"), failed]);
        assert!(stdout.contains(r#""state":"failed""#) && stdout.contains(r#""code":"busy""#), "{stdout}");
    }

    #[test]
    fn a_vector_is_a_line_of_numbers_or_json() {
        let vector = |index, values| JobEvent::Embedding(Embedding { index, values, tokens: 3 });
        let report = json!({"dimensions": 2, "pooling": "mean", "pooling_is_the_models": false});
        let script = vec![
            vector(0, vec![0.6, -0.8]),
            vector(1, vec![1.0, 0.0]),
            JobEvent::Result { result: report },
            end(),
        ];
        let (stdout, _) = shown("embed", "", script.clone());
        assert_eq!(stdout, "0.6 -0.8\n1 0\n");
        let (stdout, _) = shown("embed", "--output json", script);
        let answer: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(answer["embeddings"][1]["values"], json!([1.0, 0.0]));
        assert_eq!((&answer["dimensions"], &answer["pooling"]), (&json!(2), &json!("mean")));
    }

    #[test]
    fn calls_are_lines_or_part_of_the_json() {
        let part = |index, name: Option<&str>, arguments: &str| {
            let (id, name) = name.map(|name| (format!("id{index}"), name.to_owned())).unzip();
            JobEvent::ToolCall(ToolCallPart { index, id, name, arguments: arguments.to_owned() })
        };
        let script = vec![
            token("So:"),
            part(0, Some("weather"), ""),
            part(0, None, "{\"in\":"),
            part(0, None, "\"Bern\"}"),
            part(1, Some("time"), ""),
            part(1, None, "{}"),
            end(),
        ];
        let (stdout, _) = shown("infer", "", script.clone());
        assert_eq!(stdout, "So:\nweather {\"in\":\"Bern\"}\ntime {}");
        let (stdout, _) = shown("infer", "--output json", script);
        let answer: Value = serde_json::from_str(&stdout).expect("JSON");
        assert_eq!(
            (&answer["text"], &answer["tool_calls"]),
            (
                &json!("So:"),
                &json!([
                    {"id": "id0", "name": "weather", "arguments": "{\"in\":\"Bern\"}"},
                    {"id": "id1", "name": "time", "arguments": "{}"},
                ])
            )
        );
    }

    #[test]
    fn ndjson_is_every_event_as_it_came() {
        let script = script();
        let (stdout, _) = shown("infer", "--output ndjson", script.clone());
        let events: Vec<Event> =
            stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        let expected: Vec<_> = (1..).zip(script).map(|(seq, event)| Event { seq, event }).collect();
        assert_eq!(events, expected);
    }

    #[test]
    fn a_result_is_a_table_or_its_json() {
        let result = JobEvent::Result { result: json!({"hives": []}) };
        let (stdout, _) = shown("hive_list", "", vec![result.clone(), end()]);
        assert_eq!(stdout, "no hives\n");
        let (stdout, _) = shown("hive_list", "--output json", vec![result, end()]);
        assert_eq!(stdout, "{\"hives\":[]}\n");
    }

    #[test]
    fn a_closed_stdout_stops_the_view() {
        let (mut printer, _) = closed_printer();
        let followed = Followed { seq: 1, event: token("a"), json: String::new() };
        assert!(matches!(view("infer").show(&followed, &mut printer), Err(Failure::ClosedStdout)));
    }

    #[test]
    fn the_exit_code_says_how_the_job_ended() {
        let check = |end: End, signal, expected: u8| {
            let code = Outcome { end, text: String::new(), signal }
                .exit_code()
                .unwrap_or_else(|failure| failure.exit_code());
            assert_eq!(code, expected);
        };
        let stopped = |code| End::stopped(ApiError::new(code, "m").hint("h"));
        check(End::succeeded(), None, 0);
        check(End { finish_reason: Some(FinishReason::Length), ..End::succeeded() }, None, 0);
        check(stopped(ErrorCode::Cancelled), None, 1);
        check(stopped(ErrorCode::Cancelled), Some(130), 130);
        check(End::succeeded(), Some(143), 143);
        check(stopped(ErrorCode::ContextFull), None, 65);
        check(stopped(ErrorCode::WorkerCrashed), None, 70);
        check(End { state: EndState::Failed, ..End::succeeded() }, None, 70);
        check(End { state: EndState::Cancelled, ..End::succeeded() }, None, 1);
    }
}
