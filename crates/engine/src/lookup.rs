//! Guesses how an answer goes on by looking where its last tokens stood before, in the prompt or
//! in the answer itself.
//!
//! What is guessed is only ever a draft: every token of it is sampled as if it had not been
//! guessed. A wrong draft costs the time of a larger batch, so drafts are long where earlier ones
//! were right and rest for a while where they were not. All of that depends on tokens alone and on
//! no clock.

use std::collections::HashMap;
use std::hash::Hash;

/// So many equal tokens are what a draft needs to begin with; with fewer, common words would.
const NGRAM: usize = 3;

/// So many equal tokens are needed where no draft was right of late. In ordinary text a few that stood before
/// are no sign that the next ones do as well, and a wrong draft costs as much as it could have saved.
const NGRAM_UNPROVEN: usize = 8;

/// The length of a draft where no draft was right of late.
const FIRST: usize = 4;

/// So many are enough near the place that the last draft came from: an edit changes a few tokens and
/// goes on there.
const NGRAM_NEARBY: usize = 2;

/// How far from there.
const NEARBY: usize = 12;

/// So many earlier places are compared. Of frequent tokens there are thousands.
const PLACES_MAX: usize = 8;

/// Two places that have so much in common are not told apart by more.
const MATCH_MAX: usize = 32;

/// The longest that a slot rests after drafts that were wrong, in tokens.
const REST_MAX: u32 = 64;

/// An index over one request's tokens, with the record of its drafts.
#[derive(Debug)]
pub(crate) struct Lookup<T> {
    /// The newest place after each sequence of [`NGRAM`] tokens.
    newest: HashMap<[T; NGRAM], u32>,
    /// For each place, the one before it after the same tokens; 0, where nothing can stand, if none.
    earlier: Vec<u32>,
    /// Where the last draft came from, behind the token that ended it.
    source: Option<usize>,
    /// Whether the last draft was mostly right, or the one before it.
    proven: bool,
    /// Drafts in a row that were wholly right.
    right: u32,
    /// Drafts in a row that were mostly wrong.
    wrong: u32,
    /// Tokens to generate before the next draft.
    rest: u32,
    /// Where the draft that is being verified came from.
    drafted_from: usize,
}

impl<T: Copy + Eq + Hash> Lookup<T> {
    pub(crate) fn new() -> Self {
        Self {
            newest: HashMap::new(),
            earlier: Vec::new(),
            source: None,
            proven: false,
            right: 0,
            wrong: 0,
            rest: 0,
            drafted_from: 0,
        }
    }

    /// A draft of what follows `tokens`, at most `most` tokens, none when there is no ground for one.
    ///
    /// `tokens` only ever grows from call to call.
    pub(crate) fn draft(&mut self, tokens: &[T], most: usize) -> Vec<T> {
        self.index(tokens);
        if most == 0 || self.rest > 0 {
            return Vec::new();
        }
        let Some((from, equal)) = self.place(tokens) else { return Vec::new() };
        let len = match (self.right, equal) {
            (0, ..NGRAM_UNPROVEN) if !self.proven => return Vec::new(),
            (0, _) if !self.proven => FIRST,
            (0, ..6) => 6,
            (0, 6..12) => 12,
            (0 | 1, _) => 16,
            _ => most,
        };
        self.drafted_from = from;
        // Where the answer repeats itself, what follows the last repetition is the next one.
        let period = tokens.len() - from;
        (0..len.min(most)).map(|at| tokens[from + at % period]).collect()
    }

    /// Takes the record of a draft: `accepted` of its `drafted` tokens were what was sampled.
    pub(crate) fn verified(&mut self, drafted: usize, accepted: usize) {
        if drafted == 0 {
            return;
        }
        // A batch of several tokens costs about half of what they cost one by one.
        let mostly_right = accepted * 2 >= drafted;
        match accepted {
            all if all == drafted => (self.right, self.wrong) = (self.right + 1, 0),
            _ if mostly_right => (self.right, self.wrong) = (0, 0),
            _ => {
                (self.right, self.wrong) = (0, self.wrong + 1);
                self.rest = if self.wrong > 1 { (2 << self.wrong.min(16)).min(REST_MAX) } else { 0 };
            }
        }
        // Where an answer departs from what it copies, one draft is wrong.
        self.proven = mostly_right || (self.proven && self.wrong == 1);
        self.source = Some(self.drafted_from + accepted + 1);
    }

    /// Takes note of `count` generated tokens.
    pub(crate) fn generated(&mut self, count: usize) {
        self.rest = self.rest.saturating_sub(count as u32);
    }

    fn index(&mut self, tokens: &[T]) {
        // A place counts once a token stands there.
        for place in self.earlier.len()..tokens.len() {
            let ngram = place.checked_sub(NGRAM).and_then(|from| tokens[from..place].try_into().ok());
            let before = ngram.and_then(|ngram| self.newest.insert(ngram, place as u32));
            self.earlier.push(before.unwrap_or(0));
        }
    }

    /// The place whose tokens before it are most like the last of `tokens`, and how many those are.
    fn place(&self, tokens: &[T]) -> Option<(usize, usize)> {
        let equal_before = |place: usize| {
            let pairs = tokens[..place].iter().rev().zip(tokens.iter().rev());
            pairs.take(MATCH_MAX).take_while(|(one, other)| one == other).count()
        };
        let source = self.source.filter(|_| self.proven);
        let nearby = source.into_iter().flat_map(|source| source..source + NEARBY);
        let nearby = nearby.filter(|&place| place < tokens.len());
        let nearby = nearby.map(|place| (place, equal_before(place)));
        if let Some(found) = nearby.filter(|&(_, equal)| equal >= NGRAM_NEARBY).max_by_key(|found| found.1) {
            return Some(found);
        }
        let last: [T; NGRAM] = tokens.last_chunk().copied()?;
        let newest = self.newest.get(&last).map(|&place| place as usize);
        let places = std::iter::successors(newest, |&place| match self.earlier[place] {
            0 => None,
            place => Some(place as usize),
        });
        let found = places.take(PLACES_MAX).map(|place| (place, equal_before(place)));
        // Of equals the newest.
        found.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(tokens: &str, most: usize) -> String {
        let tokens: Vec<char> = tokens.chars().collect();
        let mut lookup = Lookup { proven: true, ..Lookup::new() };
        lookup.draft(&tokens, most).into_iter().collect()
    }

    #[test]
    fn what_followed_the_same_tokens_before_is_the_draft() {
        assert_eq!(draft("the quick brown fox; the qui", 5), "ck br");
    }

    #[test]
    fn without_an_earlier_place_there_is_no_draft() {
        assert_eq!(draft("abcdefgh", 8), "");
        assert_eq!(draft("ab", 8), "");
        assert_eq!(draft("", 8), "");
    }

    #[test]
    fn without_a_draft_that_was_right_more_must_be_equal() {
        let draft = |tokens: &str| Lookup::new().draft(&tokens.chars().collect::<Vec<_>>(), 4);
        assert_eq!(draft("the quick brown fox; the qui"), []);
        assert_eq!(draft("the quick brown fox; the quic"), ['k', ' ', 'b', 'r']);
    }

    #[test]
    fn the_place_with_more_in_common_wins_over_a_newer_one() {
        assert_eq!(draft("one cat_1 two cat_2 one cat_", 1), "1");
        assert_eq!(draft("cat_1 cat_2 cat_", 1), "2");
    }

    #[test]
    fn a_repetition_is_continued_beyond_its_known_end() {
        assert_eq!(draft("abcabcabcabc", 7), "abcabca");
    }

    #[test]
    fn drafts_grow_with_success_and_rest_after_failure() {
        let mut tokens: Vec<u32> = (0..100).chain(0..8).collect();
        let mut lookup = Lookup::new();
        for (len, next) in [(FIRST, 8), (16, 13), (32, 30)] {
            assert_eq!(lookup.draft(&tokens, 32), (next..next + len as u32).collect::<Vec<_>>());
            lookup.verified(len, len);
            tokens.extend(next..=next + len as u32);
        }

        for _ in 0..3 {
            lookup.verified(32, 0);
        }
        assert!(lookup.draft(&tokens, 32).is_empty());
        lookup.generated(REST_MAX as usize);
        assert!(!lookup.draft(&tokens, 32).is_empty());
    }

    #[test]
    fn behind_an_edit_two_tokens_are_enough() {
        let mut tokens: Vec<u32> = (0..50).chain(0..10).collect();
        let mut lookup = Lookup { proven: true, ..Lookup::new() };
        let drafted = lookup.draft(&tokens, 16).len();
        lookup.verified(drafted, 4);
        // Four were right, then came 99 instead of 14.
        tokens.extend([10, 11, 12, 13, 99, 15]);
        assert!(lookup.draft(&tokens, 16).is_empty());
        tokens.push(16);
        assert_eq!(lookup.draft(&tokens, 16)[..3], [17, 18, 19]);
    }
}
