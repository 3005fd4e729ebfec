//! Where each job runs: decided here, done by the driver.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rbee_protocol::{ApiError, ErrorCode, HiveId, HiveState, HiveSummary, JobId, WorkerInfo};

/// A worker answers so many jobs at once.
const SLOTS_PER_WORKER: usize = 1;

/// What a job needs in order to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    /// This hive, in whatever state its workers are.
    Hive(HiveId),
    /// A free worker of this model, on whichever hive.
    Worker { model: String },
    /// This hive, on which a worker of this model has the job already.
    Again { hive: HiveId, model: String },
}

impl Need {
    /// What a job with this need takes while it runs.
    fn taken(self) -> Self {
        match self {
            Self::Again { model, .. } => Self::Worker { model },
            need => need,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A job wants to run.
    Submit { job: JobId, need: Need },
    /// A job has ended, wherever it was.
    Finished { job: JobId },
    /// A hive is about to be reached.
    Connecting { hive: HiveId },
    /// A hive tells of its workers, and so that it is there.
    Report { hive: HiveId, workers: Vec<WorkerInfo> },
    /// A hive cannot be reached.
    Down { hive: HiveId, reason: String },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run the job on the hive.
    Dispatch { job: JobId, hive: HiveId },
    /// Tell the job that so many are ahead of it.
    Wait { job: JobId, ahead: u64 },
    /// Fail the job.
    Refuse { job: JobId, error: ApiError },
}

/// The hives, what runs on them, and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct State {
    hives: BTreeMap<HiveId, Hive>,
    waiting: VecDeque<Waiting>,
    running: HashMap<JobId, (HiveId, Need)>,
}

#[derive(Debug)]
struct Hive {
    state: HiveState,
    workers: Vec<WorkerInfo>,
    reason: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    job: JobId,
    need: Need,
    /// How many it was last told are ahead of it.
    told: u64,
}

enum Placement {
    Here(HiveId),
    Later,
    Never(ApiError),
}

impl State {
    /// Takes in what happened and says what is to be done.
    pub(crate) fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Submit { job, need } => self.waiting.push_back(Waiting { job, need, told: 0 }),
            Input::Finished { job } => {
                self.running.remove(&job);
                self.waiting.retain(|waiting| waiting.job != job);
            }
            Input::Connecting { hive } => self.set(hive, HiveState::Connecting, Vec::new(), None),
            Input::Report { hive, workers } => self.set(hive, HiveState::Ready, workers, None),
            Input::Down { hive, reason } => self.set(hive, HiveState::Down, Vec::new(), Some(reason)),
        }
        self.place_waiting()
    }

    /// The hives as they are now.
    pub(crate) fn hives(&self) -> Vec<HiveSummary> {
        let summary = |(id, hive): (&HiveId, &Hive)| HiveSummary {
            hive: id.clone(),
            state: hive.state,
            workers: hive.workers.len() as u64,
            running_jobs: self.running.values().filter(|(on, _)| on == id).count() as u64,
            reason: hive.reason.clone(),
        };
        self.hives.iter().map(summary).collect()
    }

    /// The workers of all hives, as those last told.
    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        self.hives.values().flat_map(|hive| hive.workers.clone()).collect()
    }

    fn set(&mut self, hive: HiveId, state: HiveState, workers: Vec<WorkerInfo>, reason: Option<String>) {
        self.hives.insert(hive, Hive { state, workers, reason });
    }

    fn place_waiting(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut still_waiting = VecDeque::new();
        // How many run or wait for the same, up to the one that is being looked at.
        let mut ahead_of: HashMap<Need, u64> = HashMap::new();
        for (_, need) in self.running.values() {
            *ahead_of.entry(need.clone()).or_default() += 1;
        }
        for mut waiting in std::mem::take(&mut self.waiting) {
            let ahead = ahead_of.entry(waiting.need.clone().taken()).or_default();
            match self.placement(&waiting.need) {
                Placement::Here(hive) => {
                    *ahead += 1;
                    self.running.insert(waiting.job.clone(), (hive.clone(), waiting.need.taken()));
                    actions.push(Action::Dispatch { job: waiting.job, hive });
                }
                Placement::Never(error) => actions.push(Action::Refuse { job: waiting.job, error }),
                Placement::Later => {
                    if *ahead != waiting.told {
                        waiting.told = *ahead;
                        actions.push(Action::Wait { job: waiting.job.clone(), ahead: *ahead });
                    }
                    *ahead += 1;
                    still_waiting.push_back(waiting);
                }
            }
        }
        self.waiting = still_waiting;
        actions
    }

    fn placement(&self, need: &Need) -> Placement {
        match need {
            Need::Hive(id) | Need::Again { hive: id, .. } => match self.hives.get(id) {
                None => Placement::Never(
                    ApiError::new(ErrorCode::NotFound, format!("there is no hive `{id}`"))
                        .hint("`rbee hive list` shows the hives"),
                ),
                Some(hive) => match hive.state {
                    HiveState::Ready => Placement::Here(id.clone()),
                    HiveState::Connecting => Placement::Later,
                    HiveState::Down => Placement::Never(unavailable(id, hive)),
                },
            },
            Need::Worker { model } => self.place_on_worker(model, need),
        }
    }

    /// The ready hive with a free slot for the model: one that has a worker of it if there is one,
    /// the one with the fewest jobs among those.
    fn place_on_worker(&self, model: &str, need: &Need) -> Placement {
        let jobs_on = |id: &HiveId| self.running.values().filter(|(on, _)| on == id).count();
        let same_on = |id: &HiveId| self.running.values().filter(|(on, of)| on == id && of == need).count();
        let free = self
            .hives
            .iter()
            .filter(|(id, hive)| hive.state == HiveState::Ready && same_on(id) < SLOTS_PER_WORKER);
        let best = free.min_by_key(|(id, hive)| {
            let loaded = hive.workers.iter().any(|worker| worker.model == model);
            (!loaded, jobs_on(id))
        });
        if let Some((id, _)) = best {
            return Placement::Here(id.clone());
        }
        if self.hives.values().any(|hive| hive.state != HiveState::Down) {
            return Placement::Later;
        }
        Placement::Never(match self.hives.iter().next() {
            Some((id, hive)) => unavailable(id, hive),
            None => ApiError::new(ErrorCode::Unavailable, "there is no hive to run this on")
                .hint("`rbee hive list` shows the hives"),
        })
    }
}

fn unavailable(id: &HiveId, hive: &Hive) -> ApiError {
    let reason = hive.reason.as_deref().unwrap_or("it does not answer");
    ApiError::new(ErrorCode::Unavailable, format!("hive {id} is down: {reason}"))
        .hint("`rbee queen logs` tells more; the queen goes on trying")
}

#[cfg(test)]
mod tests {
    use rbee_protocol::{WorkerId, WorkerState};

    use super::*;

    /// Plays a script, a step a line, and compares what each step leads to.
    ///
    /// `submit 1 model`, `ask 1 hive`, `again 1 model hive`, `finished 1`, `connecting a`, `ready a [model …]`, `down a`
    /// lead to `1@a` (dispatch), `1+2` (two ahead) and `1!code` (refused).
    fn check(script: &[(&str, &str)]) {
        let mut state = State::default();
        for (step, expected) in script {
            let words: Vec<&str> = step.split_whitespace().collect();
            let hive = || HiveId::new(words[1]);
            let job = || JobId::from_bits(words[1].parse().expect("a job's number"));
            let input = match words[0] {
                "submit" => Input::Submit { job: job(), need: Need::Worker { model: words[2].to_owned() } },
                "again" => Input::Submit {
                    job: job(),
                    need: Need::Again { hive: HiveId::new(words[3]), model: words[2].to_owned() },
                },
                "ask" => Input::Submit { job: job(), need: Need::Hive(HiveId::new(words[2])) },
                "finished" => Input::Finished { job: job() },
                "connecting" => Input::Connecting { hive: hive() },
                "ready" => {
                    Input::Report { hive: hive(), workers: words[2..].iter().map(|m| worker(m)).collect() }
                }
                "down" => Input::Down { hive: hive(), reason: "gone".to_owned() },
                other => panic!("no step is called {other}"),
            };
            let number = |job: &JobId| {
                let digits = job.as_str().trim_start_matches("job-");
                u128::from_str_radix(digits, 16).expect("a job's number")
            };
            let actions = state.handle(input);
            let actions: Vec<String> = actions
                .iter()
                .map(|action| match action {
                    Action::Dispatch { job, hive } => format!("{}@{hive}", number(job)),
                    Action::Wait { job, ahead } => format!("{}+{ahead}", number(job)),
                    Action::Refuse { job, error } => format!("{}!{:?}", number(job), error.code),
                })
                .collect();
            assert_eq!(actions.join(" "), *expected, "after `{step}`");
        }
    }

    fn worker(model: &str) -> WorkerInfo {
        WorkerInfo {
            worker: WorkerId::new("worker-1"),
            hive: HiveId::new("any"),
            model: model.to_owned(),
            state: WorkerState::Idle,
            pid: 1,
            jobs: 0,
        }
    }

    #[test]
    fn a_job_waits_for_its_hive_to_come_up() {
        check(&[("connecting a", ""), ("submit 1 m", ""), ("ask 2 a", ""), ("ready a", "1@a 2@a")]);
    }

    #[test]
    fn jobs_of_one_model_take_turns_and_are_told_their_place() {
        check(&[
            ("ready a", ""),
            ("submit 1 m", "1@a"),
            ("submit 2 m", "2+1"),
            ("submit 3 m", "3+2"),
            ("submit 4 other", "4@a"),
            ("finished 1", "2@a 3+1"),
            ("finished 2", "3@a"),
        ]);
    }

    #[test]
    fn a_job_that_runs_already_keeps_its_slot() {
        check(&[
            ("connecting a", ""),
            ("again 1 m a", ""),
            ("submit 2 m", "2+1"),
            ("ready a m", "1@a"),
            ("again 3 m a", "3@a"),
            ("finished 1", ""),
            ("finished 3", "2@a"),
        ]);
    }

    #[test]
    fn a_job_that_ends_while_it_waits_makes_room_in_the_queue() {
        check(&[
            ("ready a", ""),
            ("submit 1 m", "1@a"),
            ("submit 2 m", "2+1"),
            ("submit 3 m", "3+2"),
            ("finished 2", "3+1"),
        ]);
    }

    #[test]
    fn a_hive_that_has_the_model_loaded_is_preferred_then_the_idlest() {
        check(&[
            ("ready a", ""),
            ("ready b m", ""),
            ("submit 1 m", "1@b"),
            ("submit 2 m", "2@a"),
            ("submit 3 x", "3@a"),
            ("submit 4 y", "4@b"),
        ]);
    }

    #[test]
    fn jobs_are_refused_when_every_hive_is_down_and_taken_again_when_one_comes_back() {
        check(&[
            ("submit 1 m", "1!Unavailable"),
            ("ask 2 a", "2!NotFound"),
            ("connecting a", ""),
            ("submit 3 m", ""),
            ("down a", "3!Unavailable"),
            ("ask 4 a", "4!Unavailable"),
            ("ready a", ""),
            ("submit 5 m", "5@a"),
        ]);
    }
}
