use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rbee_protocol::{ApiError, ErrorCode, PrincipalId};

use crate::sync::lock;

/// The streams that are open, by who reads them.
pub(crate) struct Streams {
    per_principal: usize,
    open: Mutex<HashMap<PrincipalId, usize>>,
}

/// One open stream, which is counted until this goes.
pub(crate) struct OpenStream {
    streams: Arc<Streams>,
    principal: PrincipalId,
}

impl Streams {
    pub(crate) fn new(per_principal: usize) -> Self {
        Self { per_principal, open: Mutex::default() }
    }

    /// Opens a stream for `principal`.
    ///
    /// # Errors
    /// `busy` when they have as many open as they may.
    pub(crate) fn open(self: &Arc<Self>, principal: &PrincipalId) -> Result<OpenStream, ApiError> {
        let mut open = self.lock();
        let count = open.entry(principal.clone()).or_default();
        if *count >= self.per_principal {
            let message = format!("{count} streams of yours are open, and that is the limit");
            return Err(ApiError::new(ErrorCode::Busy, message).hint("close one, then try again"));
        }
        *count += 1;
        Ok(OpenStream { streams: self.clone(), principal: principal.clone() })
    }

    /// How many are open in all.
    pub(crate) fn count(&self) -> u64 {
        self.lock().values().map(|count| *count as u64).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PrincipalId, usize>> {
        lock(&self.open)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(count) = open.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_principal_has_a_limit_of_their_own_and_nothing_is_left_behind() {
        let streams = Arc::new(Streams::new(2));
        let (ada, bob) = (PrincipalId::new("ada"), PrincipalId::new("bob"));
        let open: Vec<_> = (0..2).map(|_| streams.open(&ada).expect("there is room")).collect();
        let refused = streams.open(&ada).err().expect("two is the limit");
        assert!(refused.code == ErrorCode::Busy && refused.hint.is_some());
        let bobs = streams.open(&bob).expect("bob has none yet");
        assert_eq!(streams.count(), 3);
        drop(open);
        drop(streams.open(&ada).expect("there is room again"));
        drop(bobs);
        assert!(streams.lock().is_empty());
    }
}
