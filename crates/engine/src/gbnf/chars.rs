/// A set of characters, as ranges in order that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chars(Vec<(u32, u32)>);

const LAST: u32 = char::MAX as u32;

impl Chars {
    pub(super) fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        // Two sets, one behind the other, are sorted in one go.
        ranges.sort();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match joined.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    pub(super) fn all() -> Self {
        Self(vec![(0, LAST)])
    }

    /// All other characters.
    pub(super) fn inverted(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.0.len() + 1);
        let mut next = 0;
        for &(from, to) in &self.0 {
            if from > next {
                ranges.push((next, from - 1));
            }
            next = to + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        Self(ranges)
    }

    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&(from, to)), Some(&&(other_from, other_to))) = (ours.peek(), theirs.peek()) {
            if from <= other_to && other_from <= to {
                return true;
            }
            if to < other_to {
                ours.next()
            } else {
                theirs.next()
            };
        }
        false
    }

    /// Adds another set; says whether that was anything new.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        let mut own = self.0.iter().peekable();
        let is_there = |&(from, to): &(u32, u32)| {
            while own.next_if(|(_, own_to)| *own_to < from).is_some() {}
            own.peek().is_some_and(|(own_from, own_to)| *own_from <= from && to <= *own_to)
        };
        if other.0.iter().all(is_there) {
            return false;
        }
        *self = Self::new(self.0.iter().chain(&other.0).copied().collect());
        true
    }
}
