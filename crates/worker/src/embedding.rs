//! Jobs that want the vectors of texts.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rbee_engine::{Embedding as Vector, EmbeddingInfo, Engine as Model, Pooling as EnginePooling, Texts};
use rbee_protocol::{
    ApiError, EmbedReport, Embedding, End, JobEvent, Phase, Pooling, Progress, Timings, Unit, Usage,
};

use crate::engine_thread::{Work, api_error};

/// Those that have begun. The first is worked on, a step between two steps of the streams; what was computed of its texts
/// would be lost if another came in between.
#[derive(Default)]
pub(crate) struct Embeddings {
    jobs: VecDeque<Begun>,
    /// Rises with each job.
    next: u64,
}

struct Begun {
    work: Work,
    texts: Texts,
    number: u64,
    info: EmbeddingInfo,
    began: Instant,
    done_tokens: u64,
}

impl Embeddings {
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes a job whose texts fit.
    pub(crate) fn begin(&mut self, work: Work, texts: Texts, model: &Model) {
        let info = match model.embedding_info() {
            Ok(info) => info,
            Err(error) => return work.end(Err(api_error(&error))),
        };
        work.begun.store(true, Ordering::Release);
        let narrator = work.job.narrator("worker");
        let draft = narrator.action("embed").context(texts.len()).context(texts.token_count());
        let draft = draft.context(match info.pooling {
            EnginePooling::Mean => "the mean",
            EnginePooling::First => "the first",
            EnginePooling::Last => "the last",
        });
        if info.is_declared {
            draft
                .human("Embedding {} texts of {} tokens by {} of each text's vectors, as the model says")
                .emit();
        } else {
            draft
                .human("Embedding {} texts of {} tokens by {} of each text's vectors: the model says nothing")
                .emit();
        }
        self.next += 1;
        let (number, began) = (self.next, Instant::now());
        self.jobs.push_back(Begun { work, texts, number, info, began, done_tokens: 0 });
    }

    /// Brings the first job further, and ends those that are cancelled.
    pub(crate) fn step(&mut self, model: &mut Model) {
        let cancelled = self.jobs.iter().position(|begun| begun.work.job.is_cancelled());
        if let Some(begun) = cancelled.and_then(|index| self.jobs.remove(index)) {
            let error = begun.work.job.cancel_error();
            begun.work.end(Err(error));
        }
        let Some(mut begun) = self.jobs.pop_front() else { return };
        match begun.step(model) {
            Ok(()) if begun.texts.is_done() => begun.end(),
            Ok(()) => self.jobs.push_front(begun),
            Err(error) => begun.work.end(Err(error)),
        }
    }
}

impl Begun {
    fn step(&mut self, model: &mut Model) -> Result<(), ApiError> {
        let Self { work, texts, number, done_tokens, .. } = self;
        let total = texts.token_count();
        let stepped = model.embed_step(*number, texts, &mut |Vector { index, values, tokens }| {
            let tokens = u64::from(tokens);
            *done_tokens += tokens;
            let embedding = Embedding { index: index as u64, values, tokens };
            // A job that has ended, by its quota, is cancelled with that.
            let _ = work.job.append(&JobEvent::Embedding(embedding));
        });
        stepped.map_err(|error| api_error(&error))?;
        work.job.progress(Progress::new(Phase::Prefill, *done_tokens, Some(total), Unit::Tokens));
        Ok(())
    }

    fn end(self) {
        let Self { work, info, began, done_tokens, .. } = self;
        work.job.answer(&EmbedReport {
            dimensions: info.dimensions,
            pooling: match info.pooling {
                EnginePooling::Mean => Pooling::Mean,
                EnginePooling::First => Pooling::First,
                EnginePooling::Last => Pooling::Last,
            },
            pooling_is_the_models: info.is_declared,
        });
        let prefill_ms = began.elapsed().as_secs_f64() * 1e3;
        let end = End {
            usage: Some(Usage { prompt_tokens: done_tokens, cached_tokens: 0, completion_tokens: 0 }),
            timings: Some(Timings {
                prefill_ms,
                prefill_tokens_per_s: done_tokens as f64 / prefill_ms.max(1e-3) * 1e3,
                ..Timings::default()
            }),
            ..End::succeeded()
        };
        work.end(Ok(end));
    }
}
