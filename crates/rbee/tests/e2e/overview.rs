use std::fs;

use rustix::process::{Signal, kill_process};

use crate::support::{Home, pid};

#[test]
fn rbee_alone_says_how_things_stand_and_starts_nothing() {
    let home = Home::scripted();
    let bare = || home.run::<&str>([]);
    let ran = bare();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(
        ran.stdout.starts_with("queen  does not run") && ran.stdout.contains("\n  rbee infer "),
        "{}",
        ran.stdout
    );
    assert!(!home.path("state").exists() && !home.path("config").exists());
    assert_eq!(home.ask(&[])["running"], false);

    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    home.wait_for_idle_workers();
    let ran = bare();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for line in [
        "queen   runs at http://127.0.0.1:",
        "hives   local ready\n",
        "models  SmolLM2-135M-Instruct.Q4_1\n",
        "jobs    0 running\n",
    ] {
        assert!(ran.stdout.contains(line), "{line} in {}", ran.stdout);
    }
    assert_eq!(home.ask(&[])["status"]["workers"][0]["state"], "idle");
}

#[test]
fn rbee_alone_waits_for_nobody() {
    let home = Home::scripted();
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    // As if somebody were about to start a queen.
    let starts = fs::File::open(home.path("state/start.lock")).expect("the lock of those who start queens");
    starts.lock().expect("nobody has it");
    let queen = pid(&home.queen_address()["pid"]);
    let ran = home.run::<&str>([]);
    assert!(ran.code == Some(0) && ran.stdout.contains("runs at"), "{ran:?}");
    kill_process(queen, Signal::STOP).expect("the queen runs");
    let ran = home.run::<&str>([]);
    kill_process(queen, Signal::CONT).expect("the queen is there");
    assert!(ran.code == Some(0) && ran.stdout.contains("does not answer: `rbee doctor`"), "{ran:?}");
    drop(starts);
}
