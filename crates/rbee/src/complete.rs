//! What shells complete: commands and options, and the names that this home's queen knows.
//!
//! `rbee completions SHELL` prints a script that has the shell call this program again, with [`VARIABLE`] set, for each
//! TAB. That call waits for nobody, starts nothing, and says nothing but what would complete the line.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Command, CommandFactory};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter, complete,
};
use clap_complete::env::{Elvish, EnvCompleter, Fish, Powershell, Shells};
use rbee_home::{Glance, Home, glance_at_queen, read_key};
use rbee_narration::printable;
use rbee_protocol::{
    Client, ClientError, HiveList, JobEvent, ModelInfo, ModelList, Operation, SubmitRequest, WorkerList,
};
use serde::de::DeserializeOwned;
use tokio::runtime;
use tokio::time::timeout;

use crate::cli::Cli;

/// Set to a shell's name, it makes a call of this program one that completes.
pub(crate) const VARIABLE: &str = "RBEE_COMPLETE";

/// Somebody has pressed TAB and waits: a queen that has not answered by then is not asked any further.
const PATIENCE: Duration = Duration::from_millis(30);
/// Nobody looks for the jobs of these operations, by which we ask ourselves.
const OURS: [&str; 3] = ["hive_list", "model_list", "worker_list"];
/// More jobs than this nobody chooses from; the newest come first.
const JOBS_MAX: usize = 100;

const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh]);

/// What would complete the line that a shell asks about, in that shell's form. `None` when this is a call of any other
/// kind.
pub(crate) fn answer() -> Option<Vec<u8>> {
    let shell = env::var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    let words: Vec<OsString> = env::args_os().skip_while(|argument| argument != "--").skip(1).collect();
    let mut answer = Vec::new();
    if let Some(shell) = shell.to_str().and_then(|shell| SHELLS.completer(shell))
        && !words.is_empty()
    {
        let folder = env::current_dir().ok();
        // Where there is nothing to complete, there is nothing to say either.
        let _ = shell.write_complete(&mut Cli::command(), words, folder.as_deref(), &mut answer);
    }
    Some(answer)
}

/// The script that has `shell` complete our commands.
pub(crate) fn script(shell: &str) -> io::Result<Vec<u8>> {
    let shell = SHELLS.completer(shell).ok_or(io::ErrorKind::InvalidInput)?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "rbee", "rbee", &program(), &mut script)?;
    Ok(script)
}

/// What a script calls: `rbee` where the `PATH` leads to this very program, else its path.
fn program() -> String {
    let Ok(own) = env::current_exe().and_then(|path| path.canonicalize()) else { return "rbee".to_owned() };
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&path).map(|folder| folder.join("rbee")).filter(|path| path.is_file());
    match found.next().and_then(|path| path.canonicalize().ok()) {
        Some(path) if path == own => "rbee".to_owned(),
        _ => own.to_string_lossy().into_owned(),
    }
}

/// Completes a model's name, an alias or the path of a file.
pub(crate) fn models() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        if names_a_path(current) {
            return model_files(current);
        }
        let list = result::<ModelList>(Operation::ModelList {}).unwrap_or(NO_MODELS);
        let names = list.models.iter().map(named).chain(
            list.aliases
                .iter()
                .map(|(alias, model)| candidate(alias, &format!("stands for {}", model.as_str()))),
        );
        beginning_with(current, names)
    })
}

/// Completes the name of a model that is on the disk.
pub(crate) fn downloaded_models() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let list = result::<ModelList>(Operation::ModelList {}).unwrap_or(NO_MODELS);
        beginning_with(
            current,
            list.models.iter().filter(|model| model.downloaded || model.path.is_some()).map(named),
        )
    })
}

/// Completes a name that stands for a model.
pub(crate) fn aliases() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let list = result::<ModelList>(Operation::ModelList {}).unwrap_or(NO_MODELS);
        beginning_with(current, list.aliases.iter().map(|(alias, model)| candidate(alias, model.as_str())))
    })
}

/// Completes the path of a model's file.
pub(crate) fn model_paths() -> ArgValueCompleter {
    ArgValueCompleter::new(model_files)
}

/// Completes a hive's name.
pub(crate) fn hives() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let list = result::<HiveList>(Operation::HiveList {});
        let hives = list.map(|list| list.hives).unwrap_or_default();
        beginning_with(current, hives.iter().map(|hive| candidate(hive.hive.as_str(), "")))
    })
}

/// Completes a worker's name.
pub(crate) fn workers() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let list = result::<WorkerList>(Operation::WorkerList {});
        let workers = list.map(|list| list.workers).unwrap_or_default();
        beginning_with(current, workers.iter().map(|worker| candidate(worker.worker.as_str(), &worker.model)))
    })
}

/// Completes a job's id.
pub(crate) fn jobs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| jobs_that(current, false))
}

/// Completes the id of a job that has not ended.
pub(crate) fn running_jobs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| jobs_that(current, true))
}

/// Completes the name of somebody who has a key.
pub(crate) fn keys() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let list = ask(async |client: Client| client.keys().await);
        let keys = list.map(|list| list.keys).unwrap_or_default();
        beginning_with(current, keys.iter().map(|key| candidate(key.name.as_str(), key.role.name())))
    })
}

fn jobs_that(current: &OsStr, run: bool) -> Vec<CompletionCandidate> {
    let list = ask(async |client: Client| client.jobs().await);
    let jobs = list.map(|list| list.jobs).unwrap_or_default();
    let jobs = jobs.iter().filter(|job| !OURS.contains(&&*job.operation) && (!run || !job.state.has_ended()));
    let ids =
        jobs.map(|job| candidate(job.job_id.as_str(), &format!("{}, {}", job.operation, job.state.name())));
    let mut ids = beginning_with(current, ids);
    ids.truncate(JOBS_MAX);
    ids
}

const NO_MODELS: ModelList = ModelList { models: Vec::new(), aliases: std::collections::BTreeMap::new() };

fn named(model: &ModelInfo) -> CompletionCandidate {
    let state = match model.path {
        _ if model.downloaded => "",
        None => ", to download",
        Some(_) => ", missing",
    };
    candidate(&model.model, &format!("{}{state}", crate::human::bytes(model.size_bytes)))
}

fn candidate(name: &str, about: &str) -> CompletionCandidate {
    CompletionCandidate::new(name).help((!about.is_empty()).then(|| printable(about).into_owned().into()))
}

/// Those that go on from what was typed, and that a shell takes for themselves.
fn beginning_with(
    current: &OsStr,
    candidates: impl Iterator<Item = CompletionCandidate>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let fits = |candidate: &CompletionCandidate| {
        candidate.get_value().to_str().is_some_and(|name| name.starts_with(&*current) && is_plain(name))
    };
    candidates.filter(fits).collect()
}

/// Whether a name means itself wherever it stands on any shell's line. Names come from hubs and other programs'
/// folders, and not every shell quotes what it completes.
fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_alphanumeric()) && name.chars().all(is_plain_char)
}

fn is_plain_char(c: char) -> bool {
    c.is_alphanumeric() || "._-:/@+".contains(c)
}

fn names_a_path(current: &OsStr) -> bool {
    let current = current.as_encoded_bytes();
    current.contains(&b'/') || current.starts_with(b".") || current.starts_with(b"~")
}

fn model_files(current: &OsStr) -> Vec<CompletionCandidate> {
    let is_model = |path: &Path| path.extension().is_some_and(|extension| extension == "gguf");
    PathCompleter::file().filter(is_model).complete(current)
}

/// What this operation of the queen's answers, if it runs and answers soon.
fn result<T: DeserializeOwned>(operation: Operation) -> Option<T> {
    ask(async |client: Client| {
        let job = client.submit(&SubmitRequest::new(operation)).await?.job_id;
        let mut events = client.follow(&job, 0).once();
        while let Some(followed) = events.next().await? {
            if let JobEvent::Result { result } = followed.event {
                return Ok(T::deserialize(&result).ok());
            }
        }
        Ok(None)
    })?
}

/// What the queen of this home answers, if it runs and answers soon.
fn ask<T>(question: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> Option<T> {
    let home = Home::locate().ok()?;
    let Glance::Running(address) = glance_at_queen(&home).ok()? else { return None };
    let key = read_key(&home.operator_key_file()).ok()?;
    let client = Client::tcp(&address.url, &key).ok()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { timeout(PATIENCE, question(client)).await.ok()?.ok() })
}

/// bash, whose words end at `:` and `=` as well, of which names and `--option=value` have some.
struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        command: &str,
        program: &str,
        script: &mut dyn Write,
    ) -> io::Result<()> {
        let program = format!("'{}'", program.replace('\'', r"'\''"));
        script.write_all(
            BASH.replace("VARIABLE", variable)
                .replace("NAME", name)
                .replace("COMMAND", command)
                .replace("PROGRAM", &program)
                .as_bytes(),
        )
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        answer: &mut dyn Write,
    ) -> io::Result<()> {
        let last = words.len() - 1;
        for candidate in complete(command, words, last, folder)? {
            let value = candidate.get_value().to_string_lossy();
            // A line break would make two of it.
            if !value.contains(char::is_control) {
                writeln!(answer, "{}", escaped(&value))?;
            }
        }
        Ok(())
    }
}

/// `value` as it would have to be typed, since bash puts it into the line as it is.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        if !(is_plain_char(c) || "=,%".contains(c) || at == 0 && c == '~') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

const BASH: &str = r#"# Completes rbee in bash.
_NAME() {
    # The words up to the cursor as they were typed: bash divides them at : and = as well.
    local words=() last=-1 rest=$COMP_LINE blank word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        blank=${rest%%[![:blank:]]*}
        rest=${rest#"$blank"}
        rest=${rest#"$word"}
        if [[ -n $blank || $i == 0 ]]; then
            last=$((last + 1))
        fi
        if ((i == COMP_CWORD)) && [[ $word != [:=]* ]]; then
            word=$2
        fi
        words[last]=${words[last]-}$word
    done

    # What bash replaces is what follows the last : or =.
    local before=${words[last]%"$2"}
    COMPREPLY=()
    while IFS= read -r word; do
        # Within quotes, a backslash would be part of the word.
        if [[ ${COMP_WORDS[COMP_CWORD]} != [\"\']* || $word != *\\* ]]; then
            COMPREPLY+=("${word#"$before"}")
        fi
    done < <(VARIABLE=bash PROGRAM -- "${words[@]}" 2>/dev/null </dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
if ((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4)); then
    complete -o bashdefault -o nosort -F _NAME COMMAND
else
    complete -o bashdefault -F _NAME COMMAND
fi
"#;

/// zsh, for which a script also works as a file on the `fpath`: such a file is run by the first TAB, and is to complete
/// that as well.
struct Zsh;

impl EnvCompleter for Zsh {
    fn name(&self) -> &'static str {
        "zsh"
    }

    fn is(&self, name: &str) -> bool {
        name == "zsh"
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        command: &str,
        program: &str,
        script: &mut dyn Write,
    ) -> io::Result<()> {
        clap_complete::env::Zsh.write_registration(variable, name, command, program, script)?;
        writeln!(
            script,
            "if [[ ${{funcstack[1]}} == _{name} ]]; then\n    _clap_dynamic_completer_{name} \"$@\"\nfi"
        )
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        answer: &mut dyn Write,
    ) -> io::Result<()> {
        clap_complete::env::Zsh.write_complete(command, words, folder, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_mean_themselves_in_every_shell_are_offered() {
        for name in ["SmolLM2-135M-Instruct.Q4_1", "small:1b", "gpt-4o", "größe", "job-3f9c"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "",
            "-rf",
            "~ada",
            "$(reboot)",
            "`x`",
            "a b",
            "a;b",
            "a\nb",
            "a\u{1b}b",
            "=ls",
            "@a",
            "a'b",
            "a*",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn what_bash_gets_is_as_it_would_be_typed() {
        for (value, expected) in [
            ("--output=json", "--output=json"),
            ("~/my models/", r"~/my\ models/"),
            ("./$(x).gguf", r"./\$\(x\).gguf"),
            ("a~", r"a\~"),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }

    #[test]
    fn names_and_paths_are_told_apart() {
        for (typed, is_path) in
            [("small", false), ("small:1b", false), ("./s", true), ("~", true), ("a/b", true)]
        {
            assert_eq!(names_a_path(OsStr::new(typed)), is_path, "{typed}");
        }
    }
}
