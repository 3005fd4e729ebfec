use rbee_protocol::{Loaded, WorkerId, WorkerState};

use super::*;

const LIMITS: QueueLimits = QueueLimits { jobs: 5, jobs_per_principal: 4 };

/// Plays a script, a step a line, and compares what each step leads to.
///
/// `submit 1 model [principal]`, `embed 1 model [principal]`, `any 1 model [principal]` (falls back), `ask 1 hive`, `again 1 model hive`, `finished 1`, `connecting a`,
/// `ready a [model[=name][:slots] …]`, `down a`, `after 5` (seconds)
/// lead to `1@a` (dispatch), `1+2` (two ahead), `1+2~10` (for about 10 s), `1!code` (refused)
/// and `1!code~10` (until in about 10 s).
fn check(script: &[(&str, &str)]) {
    let mut state = State::new(LIMITS);
    let mut now = Instant::now();
    for (step, expected) in script {
        let words: Vec<&str> = step.split_whitespace().collect();
        let hive = || HiveId::new(words[1]);
        let job = || JobId::from_bits(words[1].parse().expect("a job's number"));
        let submit = |need| {
            let principal = PrincipalId::new(words.get(3).copied().unwrap_or("ada"));
            Input::Submit { job: job(), principal, need, is_new: true }
        };
        let input = match words[0] {
            "after" => {
                now += Duration::from_secs(words[1].parse().expect("a number of seconds"));
                continue;
            }
            kind @ ("submit" | "embed" | "any") => submit(Need::Worker {
                model: words[2].to_owned(),
                falls_back: kind == "any",
                embeds: kind == "embed",
            }),
            "again" => Input::Submit {
                job: job(),
                principal: PrincipalId::new("ada"),
                need: Need::Again { hive: HiveId::new(words[3]), model: words[2].to_owned() },
                is_new: false,
            },
            "ask" => submit(Need::Hive(HiveId::new(words[2]))),
            "finished" => Input::Finished { job: job() },
            "connecting" => Input::Connecting { hive: hive() },
            "ready" => report(hive(), words[2..].iter().map(|w| worker(w)).collect()),
            "down" => Input::Down { hive: hive(), reason: "gone".to_owned() },
            other => panic!("no step is called {other}"),
        };
        let number = |job: &JobId| {
            let digits = job.as_str().trim_start_matches("job-");
            u128::from_str_radix(digits, 16).expect("a job's number")
        };
        let actions = state.handle(now, input);
        let actions: Vec<String> = actions
            .iter()
            .map(|action| match action {
                Action::Dispatch { job, hive } => format!("{}@{hive}", number(job)),
                Action::Wait { job, place: Place { ahead, estimate } } => {
                    // Jobs that took no time are in scripts about something else.
                    let estimate = estimate.filter(|estimate| !estimate.is_zero());
                    let estimate = estimate.map(|estimate| format!("~{}", estimate.as_secs_f64()));
                    format!("{}+{ahead}{}", number(job), estimate.unwrap_or_default())
                }
                Action::Refuse { job, error } => {
                    let again = error.retry_after_s.map(|seconds| format!("~{seconds}"));
                    format!("{}!{:?}{}", number(job), error.code, again.unwrap_or_default())
                }
            })
            .collect();
        assert_eq!(actions.join(" "), *expected, "after `{step}`");
    }
}

fn report(hive: HiveId, workers: Vec<WatchedWorker>) -> Input {
    Input::Report { hive, watch: WorkerWatch { workers, paused: false, version: None } }
}

/// A worker as `name=other:slots`, of which all but the name may be left out.
fn worker(text: &str) -> WatchedWorker {
    let (names, slots) = text.split_once(':').map_or((text, None), |(names, slots)| (names, Some(slots)));
    let slots = slots.map(|slots| slots.parse().expect("a number of slots"));
    let names: Vec<String> = names.split('=').map(str::to_owned).collect();
    WatchedWorker {
        worker: WorkerInfo {
            worker: WorkerId::new("worker-1"),
            hive: HiveId::new("any"),
            model: names[0].clone(),
            state: WorkerState::Idle,
            pid: 1,
            jobs: 0,
            loaded: slots.map(|slots| Loaded { slots, context_length: 512, threads: 1, memory: None }),
            keep_alive_s: None,
            pinned: false,
            progress_at_ms: None,
        },
        names,
    }
}

#[test]
fn a_job_waits_for_its_hive_to_come_up() {
    check(&[("connecting a", ""), ("submit 1 m", ""), ("ask 2 a", ""), ("ready a", "2@a 1@a")]);
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
fn a_worker_gets_as_many_jobs_as_it_has_slots_once_it_has_told() {
    check(&[
        ("ready a", ""),
        ("submit 1 m", "1@a"),
        ("submit 2 m", "2+1"),
        ("submit 3 m", "3+2"),
        ("submit 4 m", "4+3"),
        ("ready a m", ""),
        // Of three slots one is taken, and one has to come free.
        ("ready a m:3", "2@a 3@a 4+1"),
        ("submit 5 m", "5+2"),
        ("finished 2", "4@a 5+1"),
    ]);
}

#[test]
fn a_model_is_the_same_whatever_jobs_call_it() {
    check(&[
        ("ready a", ""),
        ("submit 1 path", "1@a"),
        ("ready a path:2", ""),
        // Nobody knows yet that it is the same.
        ("submit 2 m", "2@a"),
        ("ready a path=m:2", ""),
        ("submit 3 m", "3+1"),
        ("submit 4 path", "4+2"),
        ("finished 2", "3@a 4+1"),
    ]);
}

#[test]
fn who_makes_names_up_waits_for_a_turn_all_the_same() {
    check(&[
        ("ready a m:2", ""),
        ("submit 1 m", "1@a"),
        ("submit 2 m", "2@a"),
        // One is found out about at a time, whatever it is called and whosever it is.
        ("any 3 gpt ada", "3@a"),
        ("any 4 claude ada", "4+1"),
        ("any 5 other bob", "5+1 4+2"),
        // The hive has used the model of before for it, which so has one job too many.
        ("ready a m=gpt:2", "5@a 4+1"),
        ("any 6 gpt ada", "6+2"),
        ("finished 1", "6+1"),
        ("finished 3", "6@a"),
    ]);
    // A model that has a worker of its own is found under its name.
    check(&[("ready a m:1 n:1", ""), ("submit 1 m", "1@a"), ("any 2 n", "2@a"), ("any 3 m", "3+1")]);
}

#[test]
fn principals_take_turns_however_many_jobs_each_has() {
    check(&[
        ("ready a m:1", ""),
        ("submit 1 m ada", "1@a"),
        ("submit 2 m ada", "2+1"),
        ("submit 3 m ada", "3+2"),
        ("submit 4 m bob", "4+1 2+2 3+3"),
        ("submit 5 m bob", "5+3 3+4"),
        ("finished 1", "4@a 2+1 5+2 3+3"),
        ("submit 6 m eve", "6+1 2+2 5+3 3+4"),
    ]);
    // Whoever has one job at a time gets no more than those who have many.
    check(&[
        ("ready a m:1", ""),
        ("submit 1 m ada", "1@a"),
        ("submit 2 m ada", "2+1"),
        ("submit 3 m ada", "3+2"),
        ("submit 10 m eve", "10+1 2+2 3+3"),
        ("submit 20 m bob", "20+2 2+3 3+4"),
        ("finished 1", "10@a 20+1 2+2 3+3"),
        ("submit 11 m eve", "11+3 3+4"),
        ("finished 10", "20@a 2+1 11+2 3+3"),
        ("finished 20", "2@a 11+1 3+2"),
        ("finished 2", "11@a 3+1"),
    ]);
}

#[test]
fn a_wait_is_estimated_from_the_jobs_before() {
    check(&[
        ("ready a m:2", ""),
        ("submit 1 m", "1@a"),
        ("submit 2 m", "2@a"),
        ("submit 3 m", "3+1"),
        ("after 10", ""),
        ("finished 1", "3@a"),
        ("submit 4 m", "4+1~5"),
        ("submit 5 m", "5+2~10"),
        ("after 20", ""),
        ("finished 2", "4@a 5+1~15"),
        // Nothing is known of another model.
        ("submit 6 x", "6@a"),
        ("submit 7 x", "7+1"),
    ]);
}

#[test]
fn embeddings_leave_slots_to_answers() {
    check(&[
        ("ready a m:4", ""),
        ("embed 1 m ada", "1@a"),
        ("embed 2 m ada", "2@a"),
        ("embed 3 m ada", "3+1"),
        ("embed 4 m ada", "4+2"),
        ("submit 5 m ada", "5@a"),
        ("submit 6 m bob", "6@a"),
        ("submit 7 m bob", "7+1"),
        ("finished 1", "3@a 4+1"),
        ("finished 5", "7@a"),
        ("finished 6", ""),
        ("finished 2", "4@a"),
    ]);
    // Where all slots are taken by answers, those are waited for.
    check(&[
        ("ready a m:2", ""),
        ("submit 1 m", "1@a"),
        ("submit 2 m", "2@a"),
        ("embed 3 m", "3+1"),
        ("finished 1", "3@a"),
    ]);
    // Of one slot there is nothing to leave.
    check(&[("ready a m:1", ""), ("embed 1 m", "1@a"), ("submit 2 m", "2+1"), ("finished 1", "2@a")]);
}

#[test]
fn a_queue_that_is_full_takes_no_more() {
    check(&[
        ("ready a", ""),
        ("submit 1 m ada", "1@a"),
        ("submit 2 m ada", "2+1"),
        ("submit 3 m ada", "3+2"),
        ("submit 4 m ada", "4+3"),
        ("submit 5 m ada", "5+4"),
        ("submit 6 m ada", "6!Busy"),
        ("submit 7 m bob", "7+1 2+2 3+3 4+4 5+5"),
        ("submit 8 m bob", "8!Busy"),
        // What need not wait is taken all the same, and so is what was accepted before.
        ("submit 9 other bob", "9@a"),
        ("ask 10 a", "10@a"),
        ("again 11 m a", "11@a 7+2 2+3 3+4 4+5 5+6"),
        ("finished 5", ""),
        ("submit 12 m bob", "12+4 3+5 4+6"),
    ]);
}

#[test]
fn who_is_refused_is_told_when_to_try_again() {
    check(&[
        ("ready a m:2", ""),
        ("submit 1 m bob", "1@a"),
        ("submit 2 m bob", "2@a"),
        ("after 9", ""),
        ("finished 1", ""),
        ("submit 3 m bob", "3@a"),
        ("submit 4 m bob", "4+1~4.5"),
        ("submit 5 m ada", "5+1~4.5 4+2~9"),
        ("submit 6 m ada", "6+3~13.5"),
        ("submit 7 m ada", "7+4~18"),
        ("submit 8 m ada", "8+5~22.5"),
        // One of theirs begins in 4.5 s.
        ("submit 9 m ada", "9!Busy~5"),
        // And so does one of all.
        ("submit 10 m eve", "10!Busy~5"),
    ]);
}

#[test]
fn a_job_that_runs_already_keeps_its_slot() {
    check(&[
        ("connecting a", ""),
        ("again 1 m a", ""),
        ("submit 2 m", "2+1"),
        ("ready a m", "1@a"),
        ("again 3 m a", "3@a 2+2"),
        ("finished 1", "2+1"),
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

#[test]
fn names_that_jobs_make_up_are_forgotten_with_them() {
    let mut state = State::new(LIMITS);
    let now = Instant::now();
    let hive = HiveId::new("a");
    state.handle(now, report(hive, vec![worker("m")]));
    for number in 0..100 {
        let job = JobId::from_bits(number);
        let model = format!("made-up-{number}");
        let need = Need::Worker { model, falls_back: number % 2 == 0, embeds: false };
        let principal = PrincipalId::new("ada");
        state.handle(now, Input::Submit { job: job.clone(), principal, need, is_new: true });
        state.handle(now, Input::Finished { job });
    }
    assert!(state.turns.is_empty() && state.running.is_empty(), "{state:?}");
}
