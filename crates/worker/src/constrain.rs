use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rbee_engine::{Constraint, Constraints, EngineError, Form};
use rbee_protocol::{ApiError, ErrorCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::engine_thread::{api_error, thread_ended};

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

/// Compiles what answers must be like, one after the other, on a thread of its own: the engine's has
/// streams to serve.
pub(crate) struct Compiler(SyncSender<Task>);

/// What the thread will take its work from, when there is a model.
pub(crate) struct Tasks(Receiver<Task>);

impl Compiler {
    pub(crate) fn new() -> (Self, Tasks) {
        let (sender, receiver) = sync_channel(QUEUE_CAPACITY);
        (Self(sender), Tasks(receiver))
    }

    pub(crate) async fn compile(&self, form: Form) -> Result<Constraint, ApiError> {
        let (begun, its_turn) = oneshot::channel();
        let (outcome, compiled) = oneshot::channel();
        self.0.try_send(Task { form, begun, outcome }).map_err(|error| match error {
            TrySendError::Full(_) => {
                ApiError::new(ErrorCode::Busy, "too many grammars and schemas are waiting to be compiled")
                    .hint("try again in a moment")
            }
            TrySendError::Disconnected(_) => thread_ended(),
        })?;
        its_turn.await.map_err(|_| thread_ended())?;
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
        thread.spawn(move || {
            while let Ok(Task { form, begun, outcome }) = self.0.recv() {
                let compiled = catch_unwind(AssertUnwindSafe(|| {
                    constraints.warm_up()?;
                    // A job that was cancelled meanwhile needs nothing.
                    begun.send(()).ok().map(|()| constraints.compile(&form)).transpose()
                }));
                let compiled = compiled.unwrap_or_else(|_| {
                    Err(EngineError::Internal { reason: "compiling the grammar or schema failed".to_owned() })
                });
                if let Some(compiled) = compiled.transpose() {
                    let _ = outcome.send(compiled);
                }
            }
        })?;
        Ok(())
    }
}
