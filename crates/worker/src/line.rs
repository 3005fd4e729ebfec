//! A line of those who wait for a thread's time.

use std::collections::VecDeque;
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rbee_jobs::lock;

/// Whoever waits may stop waiting.
pub(crate) trait Waits {
    /// Whether nobody waits for it any more.
    fn has_left(&self) -> bool;
}

/// Where one joins the line, which has so many places. Unlike a channel's, the place of who has left is another's at once,
/// however long the thread is busy.
pub(crate) struct Entrance<T: Waits>(Arc<Shared<T>>);

/// Where the thread takes the next from.
pub(crate) struct Line<T: Waits>(Arc<Shared<T>>);

struct Shared<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    /// Told when somebody has joined, or nobody will.
    came: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// One of the two ends is gone.
    is_closed: bool,
}

/// A line with so many places.
pub(crate) fn line<T: Waits>(capacity: usize) -> (Entrance<T>, Line<T>) {
    let state = Mutex::new(State { waiting: VecDeque::new(), is_closed: false });
    let shared = Arc::new(Shared { capacity, state, came: Condvar::new() });
    (Entrance(shared.clone()), Line(shared))
}

impl<T: Waits> Entrance<T> {
    /// Joins the line.
    ///
    /// # Errors
    /// What would have joined, when all places are taken by those who wait, or nobody serves them any more.
    pub(crate) fn join(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = lock(&self.0.state);
        if state.is_closed {
            return Err(TrySendError::Disconnected(item));
        }
        if state.waiting.len() >= self.0.capacity {
            state.waiting.retain(|waiting| !waiting.has_left());
        }
        if state.waiting.len() >= self.0.capacity {
            return Err(TrySendError::Full(item));
        }
        state.waiting.push_back(item);
        self.0.came.notify_one();
        Ok(())
    }
}

impl<T: Waits> Line<T> {
    /// The next one who waits, if anybody does.
    pub(crate) fn try_next(&self) -> Option<T> {
        lock(&self.0.state).next()
    }

    /// Waits for the next one; `None` when there will be none.
    pub(crate) fn next(&self) -> Option<T> {
        let mut state = lock(&self.0.state);
        loop {
            let next = state.next();
            if next.is_some() || state.is_closed {
                return next;
            }
            state = self.0.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next one, if anybody comes within so long.
    pub(crate) fn next_within(&self, limit: Duration) -> Option<T> {
        let is_empty = |state: &mut State<T>| state.waiting.is_empty() && !state.is_closed;
        let waited = self.0.came.wait_timeout_while(lock(&self.0.state), limit, is_empty);
        waited.unwrap_or_else(PoisonError::into_inner).0.next()
    }
}

impl<T: Waits> State<T> {
    fn next(&mut self) -> Option<T> {
        std::iter::from_fn(|| self.waiting.pop_front()).find(|waiting| !waiting.has_left())
    }
}

impl<T> Shared<T> {
    fn close(&self) -> MutexGuard<'_, State<T>> {
        let mut state = lock(&self.state);
        state.is_closed = true;
        self.came.notify_all();
        state
    }
}

impl<T: Waits> Drop for Entrance<T> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

impl<T: Waits> Drop for Line<T> {
    fn drop(&mut self) {
        self.0.close().waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Waits as long as its other half is there.
    type Asking = (u32, oneshot::Sender<()>);

    impl Waits for Asking {
        fn has_left(&self) -> bool {
            self.1.is_closed()
        }
    }

    fn asking(number: u32) -> (Asking, oneshot::Receiver<()>) {
        let (asking, asked) = oneshot::channel();
        ((number, asking), asked)
    }

    #[test]
    fn the_places_of_those_who_have_left_are_free_while_the_thread_is_busy() {
        let (entrance, line) = line(2);
        let [(first, _stays), (second, leaves), (third, _also)] = [1, 2, 3].map(asking);
        assert!(entrance.join(first).is_ok() && entrance.join(second).is_ok());
        let Err(TrySendError::Full(third)) = entrance.join(third) else { panic!("there are two places") };
        drop(leaves);
        assert!(entrance.join(third).is_ok());
        let numbers: Vec<u32> = std::iter::from_fn(|| line.try_next()).map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 3]);
    }

    #[test]
    fn who_has_left_is_not_served() {
        let (entrance, line) = line(2);
        let [(first, leaves), (second, _stays)] = [1, 2].map(asking);
        assert!(entrance.join(first).is_ok() && entrance.join(second).is_ok());
        drop(leaves);
        assert_eq!(line.next_within(Duration::ZERO).map(|(number, _)| number), Some(2));
        assert!(line.next_within(Duration::ZERO).is_none());
    }

    #[test]
    fn each_end_sees_that_the_other_is_gone() {
        let (entrance, line) = line(2);
        let (first, _stays) = asking(1);
        assert!(entrance.join(first).is_ok());
        drop(entrance);
        assert_eq!(line.next().map(|(number, _)| number), Some(1), "who has joined is served");
        assert!(line.next().is_none());

        let (entrance, line) = super::line(2);
        let [(first, stays), (second, _)] = [1, 2].map(asking);
        assert!(entrance.join(first).is_ok());
        drop(line);
        assert!(stays.blocking_recv().is_err(), "nobody answers any more");
        assert!(matches!(entrance.join(second), Err(TrySendError::Disconnected(_))));
    }

    #[test]
    fn a_thread_that_waits_sees_who_comes() {
        let (entrance, line) = line(1);
        let thread = std::thread::spawn(move || line.next().map(|(number, _)| number));
        let (first, _stays) = asking(1);
        assert!(entrance.join(first).is_ok());
        assert_eq!(thread.join().expect("it does not panic"), Some(1));
    }
}
