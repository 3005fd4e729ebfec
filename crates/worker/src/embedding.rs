//! Jobs that want the vectors of texts.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rbee_engine::{Embedding as Vector, EmbeddingInfo, Engine as Model, Pooling as EnginePooling, Texts};
use rbee_narration::count;
use rbee_protocol::{
    ApiError, EmbedReport, Embedding, End, JobEvent, Phase, Pooling, Progress, Timings, Unit, Usage,
};

use crate::engine_thread::{Work, api_error};

/// The first is worked on, a step between two steps of the streams, while the others wait: what was computed of its texts
/// would be lost if another came in between.
#[derive(Default)]
pub(crate) struct Embeddings {
    jobs: VecDeque<Texted>,
    /// Rises with each job.
    next: u64,
}

/// A job whose texts fit.
struct Texted {
    work: Work,
    texts: Texts,
    number: u64,
    info: EmbeddingInfo,
    /// When its first step began, if it did.
    began: Option<Instant>,
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
        self.next += 1;
        let number = self.next;
        self.jobs.push_back(Texted { work, texts, number, info, began: None, done_tokens: 0 });
    }

    /// Brings the first job further, calling `goes_on` many times on the way, and ends those that are cancelled.
    pub(crate) fn step(&mut self, model: &mut Model, goes_on: &dyn Fn()) {
        let jobs = std::mem::take(&mut self.jobs).into_iter();
        let (cancelled, jobs): (VecDeque<_>, VecDeque<_>) =
            jobs.partition(|texted| texted.work.job.is_cancelled());
        self.jobs = jobs;
        for Texted { work, .. } in cancelled {
            let error = work.job.cancel_error();
            work.end(Err(error));
        }
        let Some(mut first) = self.jobs.pop_front() else { return };
        match first.step(model, goes_on) {
            Ok(()) if first.texts.is_done() => first.end(),
            Ok(()) => self.jobs.push_front(first),
            Err(error) => first.work.end(Err(error)),
        }
    }
}

impl Texted {
    fn begin(&mut self) {
        let Self { work, texts, info, began, .. } = self;
        *began = Some(Instant::now());
        work.begun.store(true, Ordering::Release);
        let narrator = work.job.narrator("worker");
        let draft = narrator
            .action("embed")
            .context(count(texts.len() as u64, "text"))
            .context(count(texts.token_count(), "token"));
        let draft = draft.context(match info.pooling {
            EnginePooling::Mean => "the mean",
            EnginePooling::First => "the first",
            EnginePooling::Last => "the last",
        });
        if info.is_declared {
            draft.human("Embedding {} of {} by {} of each text's vectors, as the model says").emit();
        } else {
            draft.human("Embedding {} of {} by {} of each text's vectors: the model says nothing").emit();
        }
    }

    fn step(&mut self, model: &mut Model, goes_on: &dyn Fn()) -> Result<(), ApiError> {
        if self.began.is_none() {
            self.begin();
        }
        let Self { work, texts, number, done_tokens, .. } = self;
        let total = texts.token_count();
        let cancelled = || {
            goes_on();
            work.job.is_cancelled()
        };
        let stepped =
            model.embed_step(*number, texts, &cancelled, &mut |Vector { index, values, tokens }| {
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
        let prefill_ms = began.map_or(0.0, |began| began.elapsed().as_secs_f64() * 1e3);
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
