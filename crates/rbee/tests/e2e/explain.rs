use std::fs;

use serde_json::Value;

use crate::support::{Home, MODEL, is_token};

#[test]
fn a_dry_run_says_where_the_job_would_run_and_starts_nothing() {
    let home = Home::scripted();
    let ran = home.run(["infer", "--dry-run", "hello"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for said in [
        "queen   Hive local has no worker with the model yet\n",
        "queen   Asking hive local how it would run there\n",
        &format!("hive    No worker has {MODEL}: one has to start\n"),
        "iB of memory (at the least: its weights and ",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    assert_eq!(home.ask(&["worker", "list"])["workers"], Value::Array(Vec::new()));
    assert_eq!(home.run(["hive", "pause"]).code, Some(0));
    let ran = home.run(["infer", "--dry-run", "hello"]);
    assert!(ran.stdout.contains("hive    Hive local is paused: the job would wait"), "{}", ran.stdout);
    assert_eq!(home.run(["hive", "resume"]).code, Some(0));

    assert_eq!(home.run(["infer", "hello"]).stdout, "hello");
    let ran = home.run(["infer", "--dry-run", "hello"]);
    assert!(
        ran.stdout.contains("queen   Hive local has the model in worker-1, where 0 of "),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.ends_with("hive    worker-1 has the model, and is idle\n"), "{}", ran.stdout);
}

#[test]
fn a_dry_run_brings_no_model_and_fails_as_the_job_would() {
    let home = Home::empty();
    let ran = home.run(["infer", "--dry-run", "hello"]);
    assert!(ran.stdout.ends_with("hive    The default model would be fetched first\n"), "{ran:?}");
    let listed = fs::read_dir(home.path("data/models")).expect("the hive has made it").flatten();
    assert!(listed.map(|entry| entry.path()).all(|path| path.is_dir()), "a model was fetched");

    for (model, said) in [
        ("nosuch", ["there is no model `nosuch`", "`rbee model list`"]),
        ("qwen3-4b", ["the model qwen3-4b is not here", "`rbee model pull qwen3-4b` brings it"]),
        ("hf:ada/tiny", ["the model hf:ada/tiny is not here", "`rbee model pull hf:ada/tiny` brings it"]),
    ] {
        let ran = home.run(["infer", "--dry-run", "-m", model, "hello"]);
        assert_eq!(ran.code, Some(66), "{ran:?}");
        assert!(said.into_iter().all(|said| ran.stderr.contains(said)), "{}", ran.stderr);
        assert!(!ran.stdout.lines().any(|line| line.starts_with("hive ")), "{}", ran.stdout);
    }
    let text = home.path("text.gguf");
    fs::write(&text, "no model at all").expect("room in the test's home");
    let ran = home.run(["infer", "--dry-run", "-m", text.to_str().expect("UTF-8"), "hello"]);
    assert!(ran.code == Some(65) && ran.stderr.contains("is not a usable model"), "{ran:?}");
}

#[test]
fn a_job_is_explained_while_it_runs_and_afterwards_without_what_is_in_it() {
    let home = Home::scripted();
    let mut running = home.follow(&["tokens 1000000 20 secret"]);
    running.until(is_token);
    let jobs = home.ask(&["job", "list"]);
    let id = jobs["jobs"][0]["job_id"].as_str().expect("an id").to_owned();
    let said = ["Hive local runs it\n", "Starting worker-1 for "];
    let ran = home.run(["job", "explain", &id]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(said.iter().all(|said| ran.stdout.contains(said)), "{}", ran.stdout);
    assert!(!ran.stdout.contains("secret"), "{}", ran.stdout);

    assert_eq!(home.run(["job", "cancel", &id]).code, Some(0));
    running.finish();
    let explained = home.ask(&["job", "explain", &id]);
    let lines = explained["lines"].as_array().expect("lines");
    assert!(lines.iter().any(|line| line["human"] == "Hive local runs it"), "{explained}");
    assert_eq!(explained["error"]["code"], "cancelled");
}

#[test]
fn after_its_first_answer_the_default_model_names_a_better_one_once() {
    let home = Home::scripted();
    let hint = |model: &[&str]| {
        let ran = home.run(["infer", "hello"].iter().chain(model));
        assert_eq!(ran.stdout, "hello");
        ran.stderr
            .lines()
            .any(|line| line.starts_with("[hive      ] hint ") && line.contains("rbee model pull "))
    };
    assert!(!hint(&["-m", MODEL]), "who names a model has chosen");
    assert!(hint(&[]));
    assert!(!hint(&[]));
}
