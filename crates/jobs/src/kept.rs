use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

use rbee_protocol::{JobId, PrincipalId};

/// The jobs that have ended and are kept: which is the oldest, and which gives way to a new one.
#[derive(Default)]
pub(crate) struct Kept {
    /// By the order of their ends.
    jobs: BTreeMap<u64, KeptJob>,
    shares: HashMap<PrincipalId, Share>,
    ends: u64,
}

struct KeptJob {
    id: JobId,
    principal: PrincipalId,
    ended_at_ms: u64,
    bytes: u64,
}

/// What one principal has of the jobs that are kept.
#[derive(Default)]
struct Share {
    /// The places of their jobs in the order of ends.
    ends: VecDeque<u64>,
    bytes: u64,
}

/// What there is too little of for another job.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scarce {
    Jobs,
    Bytes,
}

impl Kept {
    /// Adds a job, which has ended last of all.
    pub(crate) fn add(&mut self, id: JobId, principal: PrincipalId, ended_at_ms: u64, bytes: u64) {
        self.ends += 1;
        let share = self.shares.entry(principal.clone()).or_default();
        share.ends.push_back(self.ends);
        share.bytes += bytes;
        self.jobs.insert(self.ends, KeptJob { id, principal, ended_at_ms, bytes });
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// The bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.shares.values().map(|share| share.bytes).sum()
    }

    /// The bytes of those that may go.
    pub(crate) fn bytes_of(&self, may_go: impl Fn(&JobId) -> bool) -> u64 {
        self.jobs.values().filter(|job| may_go(&job.id)).map(|job| job.bytes).sum()
    }

    /// When the one ended that ended first.
    pub(crate) fn first_ended_at_ms(&self) -> Option<u64> {
        self.jobs.first_key_value().map(|(_, job)| job.ended_at_ms)
    }

    /// Takes out the one that ended first.
    pub(crate) fn take_first(&mut self) -> Option<JobId> {
        let first = *self.jobs.first_key_value()?.0;
        self.take(first)
    }

    /// Takes out the one that gives way: of whoever has the most of what is scarce, the one that ended first of those that
    /// may go. So nobody loses a job to those that another has kept more of. `others` is how many jobs somebody has beside
    /// those that are kept.
    pub(crate) fn take_for(
        &mut self,
        scarce: Scarce,
        others: impl Fn(&PrincipalId) -> usize,
        may_go: impl Fn(&JobId) -> bool,
    ) -> Option<JobId> {
        let firsts = self.shares.iter().filter_map(|(principal, share)| {
            let first = share.ends.iter().find(|end| may_go(&self.jobs[*end].id))?;
            let has = match scarce {
                Scarce::Jobs => (share.ends.len() + others(principal)) as u64,
                Scarce::Bytes => share.bytes,
            };
            Some((has, Reverse(*first)))
        });
        let (_, Reverse(first)) = firsts.max()?;
        self.take(first)
    }

    fn take(&mut self, end: u64) -> Option<JobId> {
        let job = self.jobs.remove(&end)?;
        let share = self.shares.get_mut(&job.principal)?;
        let place = share.ends.iter().position(|other| *other == end)?;
        share.ends.remove(place);
        share.bytes -= job.bytes;
        if share.ends.is_empty() {
            self.shares.remove(&job.principal);
        }
        Some(job.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> JobId {
        JobId::from_bits(number as u128)
    }

    /// Keeps, one after another, a job for each letter of `ends`, of the principal of that name and of this many
    /// bytes, and says whose jobs give way, in order.
    fn check(ends: &str, bytes_of: impl Fn(char) -> u64, scarce: Scarce, expected: &str) {
        let mut kept = Kept::default();
        for (number, name) in ends.chars().enumerate() {
            kept.add(id(number), PrincipalId::new(name), 0, bytes_of(name));
        }
        let taken = std::iter::from_fn(|| kept.take_for(scarce, |_| 0, |_| true));
        let names: String = taken
            .map(|taken| {
                ends.chars().enumerate().find(|(number, _)| id(*number) == taken).expect("it was kept").1
            })
            .collect();
        assert_eq!(names, expected);
        assert!(kept.len() == 0 && kept.bytes() == 0 && kept.shares.is_empty());
    }

    #[test]
    fn whoever_has_the_most_gives_way() {
        let one = |_| 1;
        check("aaa", one, Scarce::Jobs, "aaa");
        check("baaa", one, Scarce::Jobs, "aaba");
        check("ab", one, Scarce::Jobs, "ab");
        check("abab", one, Scarce::Jobs, "abab");
        check("bbbbaac", one, Scarce::Jobs, "bbbabac");
        // One of many bytes gives way for them, and one of many jobs for those.
        let bytes = |name| if name == 'b' { 10 } else { 1 };
        check("aaab", bytes, Scarce::Bytes, "baaa");
        check("aaab", bytes, Scarce::Jobs, "aaab");
    }

    #[test]
    fn what_must_stay_gives_way_to_what_may_go() {
        let mut kept = Kept::default();
        for (number, name) in ["a", "a", "a", "b"].into_iter().enumerate() {
            kept.add(id(number), PrincipalId::new(name), 0, 1);
        }
        let mut take = |may_go: &[usize]| {
            kept.take_for(Scarce::Bytes, |_| 0, |job| may_go.iter().any(|number| id(*number) == *job))
        };
        assert_eq!(take(&[]), None);
        assert_eq!(take(&[3]), Some(id(3)));
        assert_eq!(take(&[1, 2]), Some(id(1)));
        assert_eq!(take(&[0, 2]), Some(id(0)));
        assert_eq!(take(&[0, 1, 2, 3]), Some(id(2)));
        assert_eq!(take(&[0, 1, 2, 3]), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add { principal: usize, bytes: u64 },
        TakeFirst,
        TakeFor(Scarce),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..4_usize, 0..100_u64).prop_map(|(principal, bytes)| Step::Add { principal, bytes }),
            1 => Just(Step::TakeFirst),
            1 => Just(Step::TakeFor(Scarce::Jobs)),
            1 => Just(Step::TakeFor(Scarce::Bytes)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_gives_way_is_the_oldest_of_whoever_has_the_most(steps in prop::collection::vec(step(), 0..200)) {
            let mut kept = Kept::default();
            // Whose, how many bytes, and which, oldest first.
            let mut model: Vec<(usize, u64, usize)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Add { principal, bytes } => {
                        kept.add(id(number), PrincipalId::new(principal.to_string()), number as u64, bytes);
                        model.push((principal, bytes, number));
                    }
                    Step::TakeFirst => {
                        let first = (!model.is_empty()).then(|| id(model.remove(0).2));
                        prop_assert_eq!(kept.take_first(), first);
                    }
                    Step::TakeFor(scarce) => {
                        let share = |principal: usize| -> u64 {
                            let theirs = model.iter().filter(|(whose, ..)| *whose == principal);
                            match scarce {
                                Scarce::Jobs => (theirs.count() + principal) as u64,
                                Scarce::Bytes => theirs.map(|(_, bytes, _)| bytes).sum(),
                            }
                        };
                        let most = model.iter().map(|(whose, ..)| share(*whose)).max();
                        let place = model.iter().position(|(whose, ..)| Some(share(*whose)) == most);
                        // Somebody called 2 has two jobs that have not ended.
                        let others = |whose: &PrincipalId| whose.as_str().parse().expect("a number");
                        prop_assert_eq!(kept.take_for(scarce, others, |_| true), place.map(|place| id(model.remove(place).2)));
                    }
                }
                prop_assert_eq!(kept.len(), model.len());
                prop_assert_eq!(kept.bytes(), model.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
                prop_assert_eq!(kept.first_ended_at_ms(), model.first().map(|(.., number)| *number as u64));
            }
        }
    }
}
