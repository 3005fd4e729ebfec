//! Whose prompt is read next.

use std::collections::HashMap;

/// So many tokens of a prompt are read before another's turn comes. Prompts up to here are read one
/// after the other, so that the first answers begin early rather than all of them late.
const TURN_TOKENS: u64 = 512;

/// Counts what each scope has had read, while it has prompts to read.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    read: HashMap<Option<String>, u64>,
}

/// A prompt that waits to be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting<'a> {
    /// Its slot.
    pub(crate) slot: usize,
    /// Rises with each request.
    pub(crate) order: u64,
    pub(crate) scope: Option<&'a str>,
    /// Tokens of it that have been read for it.
    pub(crate) read: u64,
}

impl Turns {
    /// Puts those that wait in the order in which they are read: scopes take turns, then the
    /// requests of one scope, and within a turn who came first is first.
    pub(crate) fn order(&mut self, waiting: &mut [Waiting<'_>]) {
        self.read.retain(|scope, _| waiting.iter().any(|waiting| waiting.scope == scope.as_deref()));
        // Who comes later has no claim to what the others had before.
        let least = self.read.values().min().copied().unwrap_or(0);
        for waiting in &*waiting {
            self.read.entry(waiting.scope.map(str::to_owned)).or_insert(least);
        }
        waiting.sort_by_key(|waiting| {
            let scope_read = self.read.get(&waiting.scope.map(str::to_owned)).copied().unwrap_or(0);
            (scope_read / TURN_TOKENS, waiting.read / TURN_TOKENS, waiting.order)
        });
    }

    /// Takes note that `tokens` of a prompt were read.
    pub(crate) fn count(&mut self, scope: Option<&str>, tokens: usize) {
        if let Some(read) = self.read.get_mut(&scope.map(str::to_owned)) {
            *read += tokens as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `prompts` of (scope, tokens) in chunks of 64, and says in which order they end.
    fn ends(prompts: &[(&str, u64)]) -> Vec<usize> {
        let mut turns = Turns::default();
        let mut read = vec![0; prompts.len()];
        let mut ends = Vec::new();
        while ends.len() < prompts.len() {
            let unread = (0..prompts.len()).filter(|&slot| read[slot] < prompts[slot].1);
            let mut waiting: Vec<_> = unread
                .map(|slot| Waiting {
                    slot,
                    order: slot as u64,
                    scope: Some(prompts[slot].0),
                    read: read[slot],
                })
                .collect();
            turns.order(&mut waiting);
            let next = waiting[0];
            read[next.slot] += 64;
            turns.count(next.scope, 64);
            if read[next.slot] >= prompts[next.slot].1 {
                ends.push(next.slot);
            }
        }
        ends
    }

    #[test]
    fn short_prompts_are_read_as_they_came() {
        assert_eq!(ends(&[("a", 100), ("b", 100), ("a", 100), ("c", 100)]), [0, 1, 2, 3]);
    }

    #[test]
    fn a_long_prompt_lets_others_pass() {
        assert_eq!(ends(&[("a", 4000), ("b", 100), ("a", 100)]), [1, 2, 0]);
    }

    #[test]
    fn many_prompts_of_one_do_not_keep_another_waiting() {
        let mut prompts = vec![("many", 500); 8];
        prompts.push(("one", 500));
        let ends = ends(&prompts);
        assert!(ends.iter().position(|&slot| slot == 8) <= Some(2), "{ends:?}");
    }
}
