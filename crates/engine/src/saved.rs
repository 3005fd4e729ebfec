//! What was computed for conversations that no slot holds any more, in ordinary memory.

use llama_cpp_2::token::LlamaToken;

/// The states of given-away slots, those used last, within a bound. `S` is the state.
#[derive(Debug)]
pub(crate) struct SavedStates<S> {
    /// The one used last is last.
    entries: Vec<Saved<S>>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Saved<S> {
    scope: String,
    tokens: Vec<LlamaToken>,
    state: S,
    bytes: usize,
}

impl<S> SavedStates<S> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), bytes: 0, bytes_max }
    }

    /// Lets go of what a state of `tokens` that takes `bytes` would replace and, if need be, of those not used
    /// for longest, so that it has room; says whether there is so much at all.
    pub(crate) fn make_room(&mut self, scope: &str, tokens: &[LlamaToken], bytes: usize) -> bool {
        if bytes > self.bytes_max {
            return false;
        }
        self.entries.retain(|saved| {
            let replaced = saved.scope == scope && tokens.starts_with(&saved.tokens);
            self.bytes -= if replaced { saved.bytes } else { 0 };
            !replaced
        });
        while self.bytes + bytes > self.bytes_max {
            self.bytes -= self.entries.remove(0).bytes;
        }
        true
    }

    /// Whether what `tokens` would save is here already.
    pub(crate) fn covers(&self, scope: &str, tokens: &[LlamaToken]) -> bool {
        self.entries.iter().any(|saved| saved.scope == scope && saved.tokens.starts_with(tokens))
    }

    /// Keeps a state that takes `bytes`, if it can be given room.
    pub(crate) fn insert(&mut self, scope: String, tokens: Vec<LlamaToken>, state: S, bytes: usize) {
        if self.make_room(&scope, &tokens, bytes) {
            self.bytes += bytes;
            self.entries.push(Saved { scope, tokens, state, bytes });
        }
    }

    /// Of this scope's states the one that has most of `tokens`' beginning, with how many tokens
    /// that is, if they are more than `more_than`. It counts as used.
    pub(crate) fn find(
        &mut self,
        scope: &str,
        tokens: &[LlamaToken],
        more_than: usize,
    ) -> Option<(&[LlamaToken], &S)> {
        let of_scope = self.entries.iter().enumerate().filter(|(_, saved)| saved.scope == scope);
        let common = of_scope.map(|(at, saved)| (common_prefix(&saved.tokens, tokens), at));
        let (_, at) = common.filter(|&(common, _)| common > more_than).max()?;
        let saved = self.entries.remove(at);
        self.entries.push(saved);
        self.entries.last().map(|saved| (saved.tokens.as_slice(), &saved.state))
    }
}

/// How many tokens two texts have in common from their beginning.
pub(crate) fn common_prefix(one: &[LlamaToken], other: &[LlamaToken]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<LlamaToken> {
        text.bytes().map(|byte| LlamaToken(byte.into())).collect()
    }

    fn saved(bytes_max: usize, entries: &[(&str, &str)]) -> SavedStates<String> {
        let mut states = SavedStates::new(bytes_max);
        for (scope, text) in entries {
            states.insert((*scope).to_owned(), tokens(text), (*text).to_owned(), 10);
        }
        states
    }

    fn find(states: &mut SavedStates<String>, scope: &str, text: &str) -> Option<String> {
        states.find(scope, &tokens(text), 1).map(|(_, state)| state.clone())
    }

    #[test]
    fn the_longest_common_beginning_is_found() {
        let mut states = saved(100, &[("a", "hello bee"), ("a", "hello world"), ("a", "help")]);
        assert_eq!(find(&mut states, "a", "hello you").as_deref(), Some("hello world"));
        assert_eq!(find(&mut states, "a", "hello bees").as_deref(), Some("hello bee"));
        assert_eq!(find(&mut states, "a", "house"), None);
    }

    #[test]
    fn another_scope_finds_nothing() {
        let mut states = saved(100, &[("a", "hello")]);
        assert_eq!(find(&mut states, "b", "hello"), None);
        assert!(!states.covers("b", &tokens("hello")) && states.covers("a", &tokens("hell")));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut states = saved(25, &[("a", "one"), ("a", "two")]);
        find(&mut states, "a", "one");
        states.insert("b".to_owned(), tokens("three"), "three".to_owned(), 10);
        assert!(find(&mut states, "a", "two").is_none() && find(&mut states, "a", "one").is_some());
        states.insert("b".to_owned(), tokens("large"), "large".to_owned(), 26);
        assert!(find(&mut states, "b", "large").is_none() && find(&mut states, "b", "three").is_some());
    }

    #[test]
    fn a_longer_state_replaces_its_own_beginning_only_within_its_scope() {
        let mut states = saved(100, &[("a", "hello"), ("b", "hello"), ("a", "hello world")]);
        assert_eq!(states.bytes, 20);
        assert_eq!(find(&mut states, "b", "hello").as_deref(), Some("hello"));
        assert_eq!(find(&mut states, "a", "hello").as_deref(), Some("hello world"));
    }
}
