use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::Home;

const UNKNOWN: &str = "job-00000000000000000000000000000000";

/// A job that waits until it is cancelled.
fn submit(home: &Home, key: &str) -> String {
    let body = r#"{"operation":"infer","detached":true,"messages":[{"role":"user","content":"wait"}]}"#;
    let (status, answer) = home.request_with(key, "POST", "/v1/jobs", body);
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["job_id"].as_str().expect("an id").to_owned()
}

fn stream_path(job: &str) -> String {
    format!("/v1/jobs/{job}/stream")
}

#[test]
fn a_new_key_is_alone_on_stdout_and_is_listed_without_itself() {
    let home = Home::empty();
    let created = home.run(["key", "create", "ada"]);
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    let key = created.stdout.trim_end();
    assert!(!created.stderr.contains(key) && created.stderr.contains("only time"), "{}", created.stderr);
    assert_eq!(home.request_with(key, "GET", "/v1/jobs", ""), (200, r#"{"jobs":[]}"#.to_owned()));
    assert_eq!(home.request_with(key, "GET", "/v1/keys", "").0, 403);

    let made = home.ask(&["key", "create", "ci.2", "--role", "operator"]);
    assert_eq!((&made["name"], &made["role"]), (&"ci.2".into(), &"operator".into()));
    let operators = made["key"].as_str().expect("the key");
    assert_eq!(home.request_with(operators, "GET", "/v1/keys", "").0, 200);

    let list = home.run(["key", "list"]);
    let rows: Vec<Vec<&str>> =
        list.stdout.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["NAME", "ROLE"], ["ada", "user"], ["ci.2", "operator"], ["operator", "operator"]]);
    let listed = home.ask(&["key", "list"]).to_string();
    assert!(listed.contains("created_at_ms") && !listed.contains("rbee_"), "{listed}");

    assert_eq!(home.run(["key", "revoke", "ci.2"]).stdout, "the key of ci.2 is revoked\n");
    assert_eq!(home.request_with(operators, "GET", "/v1/keys", "").0, 401);
    assert_eq!(home.ask(&["key", "revoke", "ada"])["name"], "ada");
}

#[test]
fn what_cannot_be_done_with_a_key_is_said_with_its_exit_code() {
    let home = Home::empty();
    home.new_key("ada");
    for (args, code, said) in [
        (["key", "create", "ada"], 2, "already"),
        (["key", "create", "operator"], 2, "reserved"),
        (["key", "create", "Ada"], 2, "a-z"),
        (["key", "revoke", "../jobs"], 2, "a-z"),
        (["key", "revoke", "bob"], 66, "no key"),
        (["key", "revoke", "operator"], 77, "operator.key"),
    ] {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_users_job_does_not_exist_for_another_and_an_operator_sees_it_without_its_stream() {
    let home = Home::scripted();
    let (ada, bob) = (home.new_key("ada"), home.new_key("bob"));
    let job = submit(&home, &ada);
    let path = format!("/v1/jobs/{job}");

    for (method, path) in [("GET", path.clone()), ("DELETE", path.clone()), ("GET", stream_path(&job))] {
        let (status, answer) = home.request_with(&bob, method, &path, "");
        assert_eq!(status, 404, "{answer}");
        let unknown = home.request_with(&bob, method, &path.replace(&job, UNKNOWN), "");
        assert_eq!((status, answer.replace(&job, UNKNOWN)), unknown);
    }
    assert_eq!(home.request_with(&bob, "GET", "/v1/jobs", "").1, r#"{"jobs":[]}"#);
    assert_eq!(home.request_with(&bob, "GET", "/v1/jobs?all=true", "").0, 403);

    assert_eq!(home.run(["job", "list"]).stdout, "no jobs\n");
    let all = home.run(["job", "list", "--all"]).stdout;
    let row: Vec<&str> = all.lines().nth(1).expect("a row").split_whitespace().take(3).collect();
    assert_eq!(row, [job.as_str(), "ada", "infer"], "{all}");
    assert_eq!(home.ask(&["job", "show", &job])["principal"], "ada");
    for command in ["attach", "logs", "explain"] {
        let refused = home.run(["job", command, &job]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(66), ""), "{command}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(&format!("{job} is ada's, and its stream is for")),
            "{}",
            refused.stderr
        );
    }
    let (status, answer) = home.request("GET", &stream_path(&job), "");
    assert_eq!(status, 404, "{answer}");

    let cancel = home.run(["job", "cancel", &job]);
    assert_eq!((cancel.code, cancel.stdout), (Some(0), format!("{job}, of ada, is told to stop\n")));
    let (_, stream) = home.request_with(&ada, "GET", &stream_path(&job), "");
    let shown = home.ask(&["job", "show", &job]);
    assert!(shown["state"] == "cancelled" && shown["error"].is_null(), "{shown}");
    assert!(stream.contains(r#""state":"cancelled""#) && stream.ends_with("data: [DONE]\n\n"), "{stream}");
}

#[test]
fn revoking_a_key_cuts_a_running_stream_and_another_key_of_that_name_takes_it_up() {
    let home = Home::scripted();
    let ada = home.new_key("ada");
    let job = submit(&home, &ada);
    let url = home.queen_address()["url"].as_str().expect("a URL").to_owned();
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the queen listens");
    let path = stream_path(&job);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {ada}\r\n\r\n")
        .expect("the queen reads the request");
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("Hive local runs it") {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).expect("the stream goes on");
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&read));
        read.extend(&piece[..length]);
    }
    assert_eq!(home.run(["key", "revoke", "ada"]).code, Some(0));
    stream.read_to_end(&mut read).expect("the queen closes the connection");
    let read = String::from_utf8(read).expect("a stream in UTF-8");
    assert!(!read.contains("event: end") && !read.contains("[DONE]"), "{read}");
    for path in [&path, "/v1/jobs"] {
        let (status, answer) = home.request_with(&ada, "GET", path, "");
        assert_eq!(status, 401, "{answer}");
    }

    let again = home.new_key("ada");
    assert_eq!(home.request_with(&again, "DELETE", &format!("/v1/jobs/{job}"), "").0, 202);
    let (status, stream) = home.request_with(&again, "GET", &path, "");
    assert!(status == 200 && stream.ends_with("data: [DONE]\n\n"), "{stream}");
    assert_eq!(home.request_with(&ada, "GET", "/v1/jobs", "").0, 401);
}

#[test]
fn a_key_reaches_no_log_no_argument_list_and_no_file() {
    let home = Home::scripted();
    let ada = home.new_key("ada");
    let digits = ada.strip_prefix("rbee_").expect("it begins with what it is");
    let job = submit(&home, &ada);
    home.request_with(&ada, "DELETE", &format!("/v1/jobs/{job}"), "");
    home.request_with(&ada, "GET", &stream_path(&job), "");
    home.request_with(&ada, "POST", "/v1/jobs", &format!(r#"{{"operation":"{ada}"}}"#));
    home.run(["key", "list"]);
    let queen = &home.queen_address()["pid"];
    let hive = &home.ask(&["hive", "status"])["pid"];
    for pid in [queen, hive] {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{file}")).expect("the daemon runs");
            assert!(!String::from_utf8_lossy(&text).contains(digits));
        }
    }
    let log = fs::read_to_string(home.path("state/queen.log")).expect("the log");
    assert!(log.contains("operator created a key for ada"), "{log}");
    let mut looked_at = 0;
    search(&home.path("config"), digits, &mut looked_at);
    search(&home.path("state"), digits, &mut looked_at);
    assert!(looked_at >= 4, "only {looked_at} files");
}

/// Fails when a file in this folder, or a folder in it, has `text`.
fn search(folder: &Path, text: &str, looked_at: &mut usize) {
    for entry in fs::read_dir(folder).expect("our own folder") {
        let path = entry.expect("our own folder").path();
        if path.is_dir() {
            search(&path, text, looked_at);
        } else if path.is_file() {
            let content = fs::read(&path).expect("our own file");
            assert!(!content.windows(text.len()).any(|part| part == text.as_bytes()), "{}", path.display());
            *looked_at += 1;
        }
    }
}

#[test]
fn keys_outlive_the_queen_and_a_file_that_cannot_be_trusted_keeps_it_from_starting() {
    let home = Home::empty();
    let ada = home.new_key("ada");
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    assert_eq!(home.request_with(&ada, "GET", "/v1/jobs", "").0, 200);
    assert_eq!(home.run(["queen", "stop"]).code, Some(0));

    let file = home.path("config/keys.json");
    let sound = fs::read_to_string(&file).expect("our own file");
    let check = |code, said: &str| {
        let ran = home.run(["queen", "start"]);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stderr.contains("hint: "), "{}", ran.stderr);
        assert!(ran.stderr.contains("keys.json"), "{}", ran.stderr);
    };
    fs::write(&file, &sound[..sound.len() / 2]).expect("our own file");
    check(65, "damaged");
    fs::write(&file, &sound).expect("our own file");
    fs::set_permissions(&file, Permissions::from_mode(0o604)).expect("our own file");
    check(77, "chmod 600");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("our own file");
    assert_eq!(home.run(["queen", "start"]).code, Some(0));
    assert_eq!(home.request_with(&ada, "GET", "/v1/jobs", "").0, 200);
}

#[test]
fn a_user_names_no_file_of_the_machine() {
    let home = Home::scripted();
    assert_eq!(home.run(["infer", "hello"]).code, Some(0));
    let key = home.new_key("ada");
    for path in ["/etc/passwd", "/no/such/file", "./x.gguf"] {
        let body = format!(
            r#"{{"operation":"infer","model":"{path}","messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        let (status, answer) = home.request_with(&key, "POST", "/v1/jobs", &body);
        assert_eq!(status, 403, "{answer}");
        assert!(!answer.contains(path), "{answer}");
    }
}
