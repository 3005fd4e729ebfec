//! The commands that ask a question: one job, one result, shown as tables.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rbee_narration::printable;
use rbee_protocol::{
    ApiError, Client, ClientError, Device, DeviceKind, ErrorCode, FoundModel, HiveList, HivePause,
    HiveReport, HiveState, HiveSummary, Instructions, JobEvent, Loaded, ModelAlias, ModelInfo, ModelList,
    ModelRef, ModelRemoved, ModelReport, ModelSearch, ModelVerification, Operation, Place, QueenReport,
    SubmitRequest, VerifiedModel, WorkerInfo, WorkerList, WorkerMemory, WorkerState, WorkerStopped,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::connection::Connection;
use crate::follow::{View, follow};
use crate::human::{self, ago, bytes, duration, quantity};
use crate::printer::Printer;
use crate::signals::Signals;
use crate::table::{Look, Table, facts, title};

/// Asks the question, and prints the answer.
pub(crate) async fn ask(operation: Operation, signals: &mut Signals, printer: &mut Printer) -> Result<u8> {
    let mut connection = Connection::open(printer).await?;
    let name = operation.name();
    let job = connection.client.submit(&SubmitRequest::new(operation)).await?.job_id;
    Ok(follow(View::of_ours(job, name), &mut connection, signals, printer).await?.exit_code()?)
}

/// The answer to the question, of which nothing is shown.
pub(crate) async fn answer_to<T: DeserializeOwned>(
    client: &Client,
    question: Operation,
) -> Result<T, ClientError> {
    let job = client.submit(&SubmitRequest::new(question)).await?.job_id;
    let mut events = client.follow(&job, 0);
    let mut answer = None;
    while let Some(followed) = events.next().await? {
        match followed.event {
            JobEvent::Result { result } => answer = Some(result),
            JobEvent::End(end) => {
                if let Some(error) = end.error {
                    return Err(error.into());
                }
            }
            _ => {}
        }
    }
    answer.as_ref().and_then(read).ok_or_else(|| {
        let error = ApiError::new(ErrorCode::Internal, "the queen's answer makes no sense");
        error.hint("it may be of another version: `rbee queen stop`, then again").into()
    })
}

/// The result of the operation with this name, for people.
pub(crate) fn page(operation: &str, result: &Value, look: Look) -> String {
    let page = match operation {
        "status" => read(result).map(|report| queen(&report, look)),
        "hive_status" => read(result).map(|report| hive(&report, look)),
        "hive_list" => read(result).map(|list: HiveList| hives(&list.hives, look)),
        "worker_list" => read(result).map(|list: WorkerList| workers(&list.workers, look)),
        "model_list" => read(result).map(|list: ModelList| {
            let shown = models(&list.models, look);
            if list.aliases.is_empty() {
                shown
            } else {
                shown + &title("Aliases", look) + &aliases(list.aliases, look)
            }
        }),
        "model_alias" => read(result).map(|ModelAlias { alias, model }| match model {
            Some(model) => format!("{} stands for {}\n", printable(&alias), printable(model.as_str())),
            None => format!("{} stands for nothing any more\n", printable(&alias)),
        }),
        "model_pull" | "model_show" => read(result).map(|report| model(report, look)),
        "hive_pause" | "hive_resume" => read(result).map(|HivePause { hive, paused }| match paused {
            true => format!("hive {hive} is paused: `rbee hive resume` has it go on\n"),
            false => format!("hive {hive} takes jobs\n"),
        }),
        "worker_start" => read(result).map(|worker| own_workers(&[worker], look)),
        "worker_stop" => read(result).map(|WorkerStopped { worker }| format!("{worker} has ended\n")),
        "model_remove" => read(result).map(|ModelRemoved { model, freed_bytes }| {
            format!("{} is gone, and {} are free again\n", printable(&model), bytes(freed_bytes))
        }),
        "model_search" => read(result).map(|search: ModelSearch| found(search.models, look)),
        "model_verify" => read(result).map(|done: ModelVerification| verified(done.models, look)),
        _ => None,
    };
    // What another version answers is better shown as it is than not at all.
    page.unwrap_or_else(|| format!("{}\n", rbee_narration::printable_text(&format!("{result:#}"))))
}

/// The time, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn read<T: DeserializeOwned>(result: &Value) -> Option<T> {
    T::deserialize(result).ok()
}

fn queen(report: &QueenReport, look: Look) -> String {
    let about = [
        ("queen", report.url.clone()),
        ("version", report.version.clone()),
        ("pid", report.pid.to_string()),
        ("started", ago(now_ms(), report.started_at_ms)),
        ("jobs", format!("{} active", report.active_jobs)),
    ];
    let sections = [
        title("Hives", look),
        hives(&report.hives, look),
        title("Workers", look),
        workers(&report.workers, look),
    ];
    facts(about, look) + &sections.concat()
}

fn hive(report: &HiveReport, look: Look) -> String {
    let memory =
        format!("{} free of {}", bytes(report.memory_available_bytes), bytes(report.memory_total_bytes));
    let about = [
        ("hive", report.hive.to_string()),
        ("host", report.host.clone()),
        ("version", report.version.clone()),
        ("pid", report.pid.to_string()),
        ("uptime", duration(now_ms().saturating_sub(report.started_at_ms))),
        ("state", if report.paused { "paused" } else { "ready" }.to_owned()),
        ("memory", memory),
        ("instructions", instructions(&report.instructions)),
    ];
    let sections = [
        title("Devices", look),
        devices(&report.devices, look),
        title("Models", look),
        models(&report.models, look),
        title("Workers", look),
        own_workers(&report.workers, look),
    ];
    facts(about, look) + &sections.concat()
}

fn instructions(instructions: &Instructions) -> String {
    let Instructions { used, unused } = instructions;
    let used = if used.is_empty() { "none in particular".to_owned() } else { used.join(" ") };
    match unused.as_slice() {
        [] => used,
        unused => format!("{used}; not used: {}", unused.join(" ")),
    }
}

fn hives(hives: &[HiveSummary], look: Look) -> String {
    if hives.is_empty() {
        return "no hives\n".to_owned();
    }
    let mut table = Table::new(["HIVE", "STATE", "WORKERS", "JOBS", "REASON"]).states(1);
    for hive in hives {
        let state = match hive.state {
            HiveState::Connecting => "connecting",
            HiveState::Ready if hive.paused => "paused",
            HiveState::Ready => "ready",
            HiveState::Down => "down",
        };
        table.row([
            hive.hive.to_string(),
            state.to_owned(),
            hive.workers.to_string(),
            hive.running_jobs.to_string(),
            hive.reason.clone().or_else(|| other_version(hive)).unwrap_or_default(),
        ]);
    }
    table.render(look)
}

/// What there is to say of a hive that outlived the programs it was started from.
fn other_version(hive: &HiveSummary) -> Option<String> {
    let version = hive.version.as_deref().filter(|version| *version != env!("CARGO_PKG_VERSION"))?;
    Some(format!("version {version}: `rbee queen stop`, then again"))
}

fn devices(devices: &[Device], look: Look) -> String {
    if devices.is_empty() {
        return "no devices\n".to_owned();
    }
    let mut table = Table::new(["KIND", "NAME", "CORES", "THREADS", "MEMORY", "FREE"]);
    for device in devices {
        let kind = match device.kind {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Nvidia => "nvidia",
        };
        table.row([
            kind.to_owned(),
            device.name.clone(),
            device.cores.map(|cores| cores.to_string()).unwrap_or_default(),
            device.threads.map(|threads| threads.to_string()).unwrap_or_default(),
            bytes(device.memory_total_bytes),
            bytes(device.memory_free_bytes),
        ]);
    }
    table.render(look)
}

fn models(models: &[ModelInfo], look: Look) -> String {
    if models.is_empty() {
        return "no models: `rbee infer -m FILE.gguf` takes one from anywhere\n".to_owned();
    }
    let mut table = Table::new(["MODEL", "HIVE", "SIZE", "WEIGHTS", "STATE", "PATH"]).keep_whole(0);
    for model in models {
        let state = place_of(model);
        let default = if model.default { ", default" } else { "" };
        let weights = model.parameters.map(quantity).into_iter().chain(model.quantization.clone());
        table.row([
            model.model.clone(),
            model.hive.to_string(),
            bytes(model.size_bytes),
            weights.collect::<Vec<_>>().join(" "),
            format!("{state}{default}"),
            model.path.clone().unwrap_or_default(),
        ]);
    }
    table.render(look)
}

fn place_of(model: &ModelInfo) -> &'static str {
    match model.place {
        _ if !model.downloaded && model.path.is_none() => "to download",
        _ if !model.downloaded => "missing",
        Place::Store => "here",
        Place::File => "a file",
        Place::HuggingFace => "Hugging Face's",
        Place::Ollama => "Ollama's",
        Place::LmStudio => "LM Studio's",
        Place::LlamaCpp => "llama.cpp's",
    }
}

fn model(report: ModelReport, look: Look) -> String {
    let ModelReport { model, reference, license, files, facts: told } = report;
    let state = place_of(&model);
    let mut about =
        vec![("model", model.model), ("hive", model.hive.to_string()), ("state", state.to_owned())];
    about.extend(reference.map(|reference| ("from", reference)));
    about.push(("size", bytes(model.size_bytes)));
    about.extend(license.map(|license| ("licence", license)));
    about.extend(model.parameters.map(|parameters| ("parameters", quantity(parameters))));
    about.extend(model.quantization.map(|quantization| ("quantization", quantization)));
    let mut memory = Table::new(["CONTEXT", "MEMORY"]);
    let has_memory = told.as_ref().is_some_and(|told| !told.memory.is_empty());
    if let Some(told) = told {
        about.extend(told.name.map(|name| ("name", name)));
        about.extend([
            ("architecture", told.architecture),
            ("context", human::count(told.context_length.into(), "token")),
            ("layers", told.layers.to_string()),
            ("embedding", human::count(told.embedding_length.into(), "number")),
            ("vocabulary", human::count(told.vocabulary, "token")),
            ("chat template", if told.has_chat_template { "yes" } else { "no" }.to_owned()),
        ]);
        for at in told.memory {
            memory.row([human::count(at.context_length.into(), "token"), bytes(at.bytes)]);
        }
    }
    let mut text = facts(&about, look);
    if has_memory {
        text += &(title("Weights and one context in memory; a worker takes more where there is room", look)
            + &memory.render(look));
    }
    if !files.is_empty() {
        let mut table = Table::new(["FILE", "SIZE", "SHA-256"]);
        for file in files {
            table.row([file.path, bytes(file.size_bytes), file.sha256.unwrap_or_default()]);
        }
        text += &(title("Files", look) + &table.render(look));
    }
    text
}

fn found(models: Vec<FoundModel>, look: Look) -> String {
    if models.is_empty() {
        return "nothing was found: try fewer words\n".to_owned();
    }
    let mut table = Table::new(["REF", "LICENCE", "DOWNLOADS", "ABOUT"]).keep_whole(0);
    for model in models {
        table.row([
            model.reference,
            model.license.unwrap_or_default(),
            model.downloads.map(quantity).unwrap_or_default(),
            model.about.unwrap_or_default(),
        ]);
    }
    table.render(look)
}

fn verified(models: Vec<VerifiedModel>, look: Look) -> String {
    if models.is_empty() {
        return "no model whose digest is known: `rbee model pull` brings one\n".to_owned();
    }
    let mut table = Table::new(["MODEL", "INTACT", "REASON"]).states(1);
    for model in models {
        let intact = if model.intact { "yes" } else { "no" };
        table.row([model.model, intact.to_owned(), model.reason.unwrap_or_default()]);
    }
    table.render(look)
}

fn aliases(aliases: BTreeMap<String, ModelRef>, look: Look) -> String {
    let mut table = Table::new(["ALIAS", "MODEL"]);
    for (alias, model) in aliases {
        table.row([alias, model.as_str().to_owned()]);
    }
    table.render(look)
}

fn workers(workers: &[WorkerInfo], look: Look) -> String {
    if workers.is_empty() {
        return NO_WORKERS.to_owned();
    }
    let mut table = Table::new(["WORKER", "HIVE", "MODEL", "STATE", "JOBS", "PID"]).states(3);
    for worker in workers {
        table.row([
            worker.worker.to_string(),
            worker.hive.to_string(),
            worker.model.clone(),
            state(worker),
            jobs(worker),
            worker.pid.to_string(),
        ]);
    }
    table.render(look)
}

/// The workers of one hive, with what only that knows of them.
fn own_workers(workers: &[WorkerInfo], look: Look) -> String {
    if workers.is_empty() {
        return NO_WORKERS.to_owned();
    }
    let mut table =
        Table::new(["WORKER", "MODEL", "STATE", "JOBS", "CONTEXT", "MEMORY", "THREADS", "PROGRESS", "PID"])
            .states(2);
    for worker in workers {
        let memory = worker.loaded.and_then(|loaded| loaded.memory);
        let loaded = |fact: fn(&Loaded) -> u32| worker.loaded.as_ref().map(fact);
        let loaded = |fact| loaded(fact).map(|fact| fact.to_string()).unwrap_or_default();
        table.row([
            worker.worker.to_string(),
            worker.model.clone(),
            state(worker),
            jobs(worker),
            loaded(|loaded| loaded.context_length),
            memory.map(|memory| taken(&memory)).unwrap_or_default(),
            loaded(|loaded| loaded.threads),
            worker.progress_at_ms.map(|at_ms| ago(now_ms(), at_ms)).unwrap_or_default(),
            worker.pid.to_string(),
        ]);
    }
    table.render(look)
}

/// What a worker takes of the machine's memory, and of its graphics cards' where it uses any.
fn taken(memory: &WorkerMemory) -> String {
    let own = bytes(memory.total_bytes());
    match memory.device_bytes {
        0 => own,
        device => format!("{own} + {} on cards", bytes(device)),
    }
}

const NO_WORKERS: &str = "no workers: the first `rbee infer` starts one\n";

fn state(worker: &WorkerInfo) -> String {
    let pinned = if worker.pinned { ", pinned" } else { "" };
    let state = match worker.state {
        WorkerState::Loading => "loading",
        WorkerState::Idle => "idle",
        WorkerState::Busy => "busy",
        WorkerState::Draining => "draining",
    };
    format!("{state}{pinned}")
}

/// How many jobs it has, of how many it answers at once.
fn jobs(worker: &WorkerInfo) -> String {
    match worker.loaded {
        Some(loaded) => format!("{}/{}", worker.jobs, loaded.slots),
        None => worker.jobs.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PIPE: Look = Look { width: None, bold: false };

    fn hive_status() -> Value {
        json!({
            "hive": "local", "host": "box", "version": "0.1.0", "pid": 7,
            "started_at_ms": now_ms() - 180_500,
            "memory_total_bytes": 16_u64 << 30, "memory_available_bytes": 8_u64 << 30,
            "instructions": {"used": ["avx", "avx2"], "unused": ["avx512f"]},
            "devices": [{"kind": "cpu", "name": "A fast\u{1b} processor", "threads": 8, "cores": 4,
                "memory_total_bytes": 16_u64 << 30, "memory_free_bytes": 8_u64 << 30}],
            "models": [{"model": "tiny", "hive": "local", "size_bytes": 100 << 20, "downloaded": false, "default": true,
                "parameters": 134_515_008, "quantization": "Q4_1"}],
            "workers": [],
        })
    }

    #[test]
    fn a_hives_status_is_facts_and_tables() {
        assert_eq!(
            page("hive_status", &hive_status(), PIPE),
            "hive          local\n\
             host          box\n\
             version       0.1.0\n\
             pid           7\n\
             uptime        3 min\n\
             state         ready\n\
             memory        8.0 GiB free of 16.0 GiB\n\
             instructions  avx avx2; not used: avx512f\n\
             \n\
             Devices\n\
             KIND  NAME                    CORES  THREADS  MEMORY    FREE\n\
             cpu   A fast\\u{1b} processor  4      8        16.0 GiB  8.0 GiB\n\
             \n\
             Models\n\
             MODEL  HIVE   SIZE       WEIGHTS    STATE                 PATH\n\
             tiny   local  100.0 MiB  135M Q4_1  to download, default\n\
             \n\
             Workers\n\
             no workers: the first `rbee infer` starts one\n"
        );
    }

    #[test]
    fn a_hives_workers_come_with_what_is_loaded_and_when_they_made_progress() {
        let mut report = hive_status();
        report["workers"] = json!([
            {"worker": "worker-1", "hive": "local", "model": "tiny", "state": "busy", "pid": 9, "jobs": 3,
                "loaded": {"slots": 4, "context_length": 8192, "threads": 2, "memory": {"weights_bytes": 90 << 20,
                    "context_bytes": 400 << 20, "buffers_bytes": 60 << 20, "process_bytes": 50 << 20,
                    "saved_bytes_max": 1 << 30}},
                "progress_at_ms": now_ms() - 5_500},
            {"worker": "worker-2", "hive": "local", "model": "big", "state": "loading", "pid": 10, "jobs": 1},
        ]);
        let text = page("hive_status", &report, PIPE);
        let workers = "WORKER    MODEL  STATE    JOBS  CONTEXT  MEMORY     THREADS  PROGRESS  PID\n\
            worker-1  tiny   busy     3/4   8192     600.0 MiB  2        5 s ago   9\n\
            worker-2  big    loading  1                                            10\n";
        assert!(text.ends_with(workers), "{text}");
        report["workers"][0]["loaded"]["memory"]["device_bytes"] = json!(2_u64 << 30);
        let text = page("hive_status", &report, PIPE);
        assert!(text.contains("8192     600.0 MiB + 2.0 GiB on cards  2        "), "{text}");
        let text = page("hive_status", &report, Look { width: Some(72), bold: false });
        assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
    }

    #[test]
    fn aliases_stand_below_the_models() {
        let list = json!({"models": [], "aliases": {"gpt-4o": "tiny", "big": "/models/big.gguf"}});
        let text = page("model_list", &list, PIPE);
        let aliases = "\nAliases\nALIAS   MODEL\nbig     /models/big.gguf\ngpt-4o  tiny\n";
        assert!(text.ends_with(aliases), "{text}");
        let set = json!({"alias": "gpt-4o", "model": "tiny"});
        assert_eq!(page("model_alias", &set, PIPE), "gpt-4o stands for tiny\n");
        assert_eq!(page("model_alias", &json!({"alias": "a"}), PIPE), "a stands for nothing any more\n");
    }

    #[test]
    fn no_line_is_wider_than_the_window() {
        use unicode_width::UnicodeWidthStr;
        let text = page("hive_status", &hive_status(), Look { width: Some(48), bold: false });
        assert!(text.lines().all(|line| line.width() <= 48), "{text}");
    }

    #[test]
    fn a_queens_status_lists_hives_and_workers() {
        let report = json!({
            "version": "0.1.0", "pid": 7, "url": "http://127.0.0.1:7833", "started_at_ms": now_ms() - 2_500,
            "active_jobs": 1,
            "hives": [{"hive": "local", "state": "ready", "workers": 1, "running_jobs": 0}],
            "workers": [{"worker": "worker-1", "hive": "local", "model": "tiny", "state": "idle", "pid": 9, "jobs": 0}],
        });
        let text = page("status", &report, PIPE);
        assert!(text.contains("started  2 s ago\n"), "{text}");
        assert!(text.contains("HIVE   STATE  WORKERS  JOBS  REASON\nlocal  ready  1        0\n"), "{text}");
        assert!(text.contains("worker-1  local  tiny   idle   0     9\n"), "{text}");
    }

    #[test]
    fn a_hive_that_is_paused_or_of_another_version_is_listed_so() {
        let list = |version: &str| {
            json!({"hives": [{"hive": "local", "state": "ready", "workers": 0, "running_jobs": 0,
            "paused": true, "version": version}]})
        };
        let text = page("hive_list", &list(env!("CARGO_PKG_VERSION")), PIPE);
        assert!(text.ends_with("\nlocal  paused  0        0\n"), "{text}");
        let text = page("hive_list", &list("0.0.1"), PIPE);
        assert!(text.ends_with("0     version 0.0.1: `rbee queen stop`, then again\n"), "{text}");
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_as_it_is() {
        assert_eq!(page("hive_list", &json!({"a": "\u{9b}"}), PIPE), "{\n  \"a\": \"\\u{9b}\"\n}\n");
        assert_eq!(page("from_the_future", &json!(1), PIPE), "1\n");
    }
}
