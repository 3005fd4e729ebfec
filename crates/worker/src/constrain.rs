use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use rbee_engine::{Constraint, Constraints, EngineError, Form};
use rbee_protocol::{ApiError, ErrorCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::engine_thread::{api_error, thread_ended};
use crate::line::{Entrance, Line, Waits, line};

/// So many jobs wait for their grammars at most; each takes a second at most.
const QUEUE_CAPACITY: usize = 16;

/// A grammar that takes longer is too large. Its compilation goes on to its own limits, and others wait.
const COMPILE_MAX: Duration = Duration::from_secs(1);

/// Grammars nest.
const STACK_BYTES: usize = 64 << 20;

struct Task {
    form: Form,
    /// Told when it is its turn.
    begun: oneshot::Sender<()>,
    outcome: oneshot::Sender<Result<Constraint, EngineError>>,
}

impl Waits for Task {
    fn has_left(&self) -> bool {
        self.begun.is_closed()
    }
}

/// Compiles what answers must be like, one after the other, on a thread of its own: the engine's has
/// streams to serve.
pub(crate) struct Compiler(Entrance<Task>);

/// What the thread will take its work from, when there is a model.
pub(crate) struct Tasks(Line<Task>);

impl Compiler {
    pub(crate) fn new() -> (Self, Tasks) {
        let (entrance, line) = line(QUEUE_CAPACITY);
        (Self(entrance), Tasks(line))
    }

    pub(crate) async fn compile(&self, form: Form) -> Result<Constraint, ApiError> {
        let (begun, its_turn) = oneshot::channel();
        let (outcome, compiled) = oneshot::channel();
        self.0.join(Task { form, begun, outcome }).map_err(|error| match error {
            TrySendError::Full(_) => {
                ApiError::new(ErrorCode::Busy, "too many grammars and schemas are waiting to be compiled")
                    .hint("try again in a moment")
            }
            TrySendError::Disconnected(_) => thread_ended(),
        })?;
        // Where its turn does not come, the outcome says why.
        let _ = its_turn.await;
        match timeout(COMPILE_MAX, compiled).await {
            Ok(outcome) => outcome.map_err(|_| thread_ended())?.map_err(|error| api_error(&error)),
            Err(_) => {
                let message =
                    format!("the grammar or schema takes over {} s to compile", COMPILE_MAX.as_secs());
                Err(ApiError::new(ErrorCode::BadRequest, message).hint("make it smaller or simpler"))
            }
        }
    }
}

impl Tasks {
    /// Starts the thread, which ends when nobody can give it work any more.
    pub(crate) fn work(self, constraints: Constraints) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("constraints".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || self.run(|| constraints.warm_up(), |form| constraints.compile(form)))?;
        Ok(())
    }

    fn run(
        self,
        warm_up: impl Fn() -> Result<(), EngineError>,
        compile: impl Fn(&Form) -> Result<Constraint, EngineError>,
    ) {
        while let Some(Task { form, begun, outcome }) = self.0.next() {
            let compiled = catch_unwind(AssertUnwindSafe(|| {
                warm_up()?;
                // A job that was cancelled meanwhile needs nothing.
                begun.send(()).ok().map(|()| compile(&form)).transpose()
            }));
            let compiled = compiled.unwrap_or_else(|_| {
                Err(EngineError::Internal { reason: "compiling the grammar or schema failed".to_owned() })
            });
            if let Some(compiled) = compiled.transpose() {
                let _ = outcome.send(compiled);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        Form::Gbnf("root ::= \"a\"".to_owned())
    }

    fn failed(reason: &str) -> EngineError {
        EngineError::Internal { reason: reason.to_owned() }
    }

    /// What a job hears that wants a form of a model which cannot be prepared for forms.
    async fn check(warm_up: fn() -> Result<(), EngineError>, expected: &str) {
        let (compiler, tasks) = Compiler::new();
        let thread = std::thread::spawn(move || tasks.run(warm_up, |_| panic!("it has no turn")));
        let error = compiler.compile(form()).await.expect_err("there is nothing to compile with");
        assert!(error.message.contains(expected), "{error}");
        drop(compiler);
        thread.join().expect("the thread outlives what fails in it");
    }

    #[tokio::test]
    async fn a_vocabulary_that_allows_no_forms_is_what_the_job_hears_of() {
        check(|| Err(failed("a strange vocabulary")), "a strange vocabulary").await;
        check(|| panic!("a bug"), "compiling the grammar or schema failed").await;
    }

    #[tokio::test]
    async fn jobs_that_are_cancelled_behind_a_slow_form_leave_their_places_to_others() {
        let (compiler, tasks) = Compiler::new();
        for _ in 0..10 * QUEUE_CAPACITY {
            let waiting = compiler.compile(form());
            // Polled once, as by a job that is cancelled then.
            let now = tokio::time::timeout(Duration::ZERO, waiting).await;
            assert!(now.is_err(), "it waits for its turn");
        }
        let thread = std::thread::spawn(move || tasks.run(|| Ok(()), |_| Err(failed("its turn"))));
        let error = compiler.compile(form()).await.expect_err("that is what it does");
        assert!(error.message.contains("its turn"), "{error}");
        drop(compiler);
        thread.join().expect("the thread ends with its work");
    }
}
