//! Each load test in its short form, against real daemons.

use std::path::Path;
use std::process::Command;

/// Runs `rbee-load NAME --short`, which must meet all its conditions.
fn check(name: &str) {
    let program = env!("CARGO_BIN_EXE_rbee-load");
    let folder = Path::new(program).parent().expect("a program is in a folder");
    for needed in ["rbee-queen", "rbee-hive", "examples/scripted_worker"] {
        assert!(folder.join(needed).is_file(), "run `cargo xtask test`, which builds {needed}");
    }
    let ran = Command::new(program).args([name, "--short", "--output", "json"]).output();
    let ran = ran.expect("rbee-load starts");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{stderr}{}", String::from_utf8_lossy(&ran.stdout));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON on stdout");
    assert_eq!(report["passed"], true, "{report}");
}

#[test]
fn slow_readers_lose_nothing_and_hold_nobody_up() {
    check("slow");
}

#[test]
fn jobs_come_and_go_without_leaving_anything_behind() {
    check("soak");
}

#[test]
fn no_principal_sees_a_byte_of_anothers_job() {
    check("isolation");
}

#[test]
fn a_queen_that_is_killed_under_load_loses_nothing() {
    check("kill");
}

#[test]
fn a_full_disk_takes_nothing_away_and_ends_jobs_in_order() {
    check("disk");
}

#[test]
fn a_queen_with_a_full_journal_is_soon_there_again() {
    check("restart");
}

#[test]
fn a_worker_takes_the_memory_that_it_computed_beforehand() {
    check("memory");
}

#[test]
fn an_answer_that_is_cancelled_ends_at_once_whatever_it_is_at() {
    check("cancel");
}

#[test]
fn answers_come_whole_through_every_api() {
    check("apis");
}
