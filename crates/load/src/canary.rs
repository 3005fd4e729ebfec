//! What may be in a job's stream, and what must not.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use memchr::memmem::Finder;
use rbee_protocol::JobId;

use crate::stream::{Event, Kind};

const CANARY: &[u8] = b"canary-";
const JOB: &[u8] = b"job-";
/// Hexadecimal digits in a job's id.
const JOB_DIGITS: usize = 32;

/// Which ids have been seen in whose streams. A cheap handle.
///
/// A job's stream names the job, and its children at the hive and in the worker. No id belongs in
/// the streams of two jobs.
#[derive(Clone, Default)]
pub(crate) struct Ids(Arc<Mutex<HashMap<Vec<u8>, JobId>>>);

impl Ids {
    /// Whether `id` is `job`'s alone, as far as has been seen until now.
    fn belongs_to(&self, id: &[u8], job: &JobId) -> bool {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match owners.entry(id.to_vec()) {
            Entry::Occupied(owner) => owner.get() == job,
            Entry::Vacant(vacant) => {
                vacant.insert(job.clone());
                true
            }
        }
    }
}

/// Looks at one job's stream for what belongs to another job.
pub(crate) struct Watch {
    job: JobId,
    ids: Ids,
    canary: String,
    tokens: u64,
    any_canary: Finder<'static>,
    any_job: Finder<'static>,
}

impl Watch {
    /// Watches over the stream of `job`, whose tokens all carry `canary` and number `tokens`.
    pub(crate) fn new(job: JobId, canary: String, tokens: u64, ids: &Ids) -> Self {
        assert!(canary.as_bytes().starts_with(CANARY), "a canary begins as all do");
        ids.belongs_to(job.as_str().as_bytes(), &job);
        Self {
            job,
            ids: ids.clone(),
            canary,
            tokens,
            any_canary: Finder::new(CANARY),
            any_job: Finder::new(JOB),
        }
    }

    pub(crate) fn job(&self) -> &JobId {
        &self.job
    }

    /// How many tokens the whole stream has.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Checks that `bytes` hold the job's own canary `canaries` times, and no other canary or job.
    pub(crate) fn bytes(&self, bytes: &[u8], canaries: usize) -> Result<()> {
        let mut own = 0;
        for place in self.any_canary.find_iter(bytes) {
            if !bytes[place..].starts_with(self.canary.as_bytes()) {
                bail!("a foreign canary in {}: {}", self.job, String::from_utf8_lossy(bytes));
            }
            own += 1;
        }
        if own != canaries {
            bail!("{own} canaries instead of {canaries} in {}: {}", self.job, String::from_utf8_lossy(bytes));
        }
        for place in self.any_job.find_iter(bytes) {
            let Some(id) = bytes.get(place..place + JOB.len() + JOB_DIGITS) else { continue };
            let is_id = id[JOB.len()..].iter().all(u8::is_ascii_hexdigit);
            if is_id && id != self.job.as_str().as_bytes() && !self.ids.belongs_to(id, &self.job) {
                bail!("a foreign job in {}: {}", self.job, String::from_utf8_lossy(bytes));
            }
        }
        Ok(())
    }
}

/// Follows one reader's way through a stream: nothing foreign, nothing twice, nothing left out.
pub(crate) struct Course<'w> {
    watch: &'w Watch,
    seq: u64,
    /// The place that the next token must have in the answer, where a token has been seen.
    index: Option<u64>,
    /// The tokens seen.
    pub(crate) tokens: u64,
    ended: bool,
}

impl<'w> Course<'w> {
    /// A course that begins after event number `after`.
    pub(crate) fn new(watch: &'w Watch, after: u64) -> Self {
        let index = (after == 0).then_some(0);
        Self { watch, seq: after, index, tokens: 0, ended: false }
    }

    /// The last event seen.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn take(&mut self, event: &Event<'_>) -> Result<()> {
        if self.ended {
            bail!("event {} of {} follows its end", event.seq, self.watch.job);
        }
        if event.seq != self.seq + 1 {
            bail!("event {} of {} follows event {}", event.seq, self.watch.job, self.seq);
        }
        self.seq = event.seq;
        self.ended = event.kind == Kind::End;
        let is_token = event.kind == Kind::Token;
        self.watch.bytes(event.bytes, usize::from(is_token))?;
        if is_token {
            self.tokens += 1;
            let index = token_index(event.data);
            if index.is_none() || self.index.is_some_and(|due| index != Some(due)) {
                bail!(
                    "token {index:?} of {} where {:?} was due, event {}",
                    self.watch.job,
                    self.index,
                    event.seq
                );
            }
            self.index = index.map(|index| index + 1);
        }
        Ok(())
    }

    /// Checks, after `[DONE]`, that there was an end.
    pub(crate) fn ended(&self) -> Result<()> {
        if !self.ended {
            bail!("the stream of {} is done without an end", self.watch.job);
        }
        Ok(())
    }

    /// Checks, after `[DONE]`, that the stream came to the end of the whole answer.
    pub(crate) fn finish(&self) -> Result<()> {
        self.ended()?;
        if self.index.is_some_and(|index| index != self.watch.tokens) {
            bail!("{} has {:?} tokens instead of {}", self.watch.job, self.index, self.watch.tokens);
        }
        Ok(())
    }
}

/// The place of a token in its answer: the last number of its JSON.
pub(crate) fn token_index(data: &[u8]) -> Option<u64> {
    let digits = data.strip_suffix(b"}")?.rsplit(|byte| *byte == b':').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(JobId::from_bits(7), "canary-7-".to_owned(), 2, &Ids::default())
    }

    #[test]
    fn foreign_canaries_and_jobs_are_found() {
        let own = JobId::from_bits(7);
        let watch = watch();
        let other = Watch::new(JobId::from_bits(8), "canary-8-".to_owned(), 2, &watch.ids);
        let check = |text: &str, canaries| watch.bytes(text.as_bytes(), canaries);
        check("nothing", 0).expect("nothing is in it");
        check(&format!("{own} canary-7- of [job-exec]"), 1).expect("its own");
        check("canary-7-", 0).expect_err("not due");
        check("", 1).expect_err("due");
        check("canary-7- canary-70-", 2).expect_err("another canary");
        check("canary-7", 1).expect_err("half a canary");
        check(&format!("{own} {}", JobId::from_bits(8)), 0).expect_err("another job");
        let child = JobId::from_bits(9).to_string();
        check(&child, 0).expect("a child of this job");
        check(&child, 0).expect("the same child again");
        other.bytes(child.as_bytes(), 0).expect_err("a child of another job");
    }

    #[test]
    fn gaps_repetitions_and_what_follows_an_end_are_found() {
        let watch = watch();
        let text = |seq: u64, kind: &str, index: &u64| {
            format!("{{\"seq\":{seq},\"{kind}\":\"canary-7-\",\"index\":{index}}}")
        };
        let check = |events: &[(u64, &str, u64)]| {
            let mut course = Course::new(&watch, 0);
            for (seq, kind, index) in events {
                let (kind, data) = match *kind {
                    "token" => (Kind::Token, text(*seq, "token", index)),
                    "end" => (Kind::End, String::new()),
                    _ => (Kind::Other, String::new()),
                };
                course.take(&Event { seq: *seq, kind, bytes: data.as_bytes(), data: data.as_bytes() })?;
            }
            course.finish()
        };
        check(&[(1, "line", 0), (2, "token", 0), (3, "token", 1), (4, "end", 0)]).expect("a whole stream");
        for bad in [
            &[(1, "token", 0), (3, "token", 1), (4, "end", 0)][..],
            &[(1, "token", 0), (1, "token", 1), (2, "end", 0)],
            &[(1, "token", 0), (2, "token", 0), (3, "end", 0)],
            &[(1, "token", 0), (2, "end", 0)],
            &[(1, "token", 0), (2, "token", 1)],
            &[(1, "token", 0), (2, "token", 1), (3, "end", 0), (4, "end", 0)],
        ] {
            check(bad).expect_err("not a whole stream");
        }
    }
}
