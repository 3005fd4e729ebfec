//! `rbee uninstall`: removes what rbee has written on this machine, and nothing else.

mod found;

use std::fs;
use std::io::{self, BufRead, ErrorKind, IsTerminal};
use std::path::Path;

use anyhow::Result;
use rbee_home::{Home, HomeError, Lock};
use rbee_narration::printable;
use rbee_protocol::ErrorCode;
use serde_json::json;

use self::found::{Entry, Found, Kind};
use crate::cli::{Output, Uninstall};
use crate::commands::{queen, service};
use crate::error::Failure;
use crate::human::{bytes, count};
use crate::printer::Printer;
use crate::table::{Look, Table};

/// Lists what is rbee's, asks, stops the daemons, and removes it.
pub(crate) async fn run(arguments: Uninstall, printer: &mut Printer) -> Result<u8> {
    let Uninstall { dry_run, models, yes } = arguments;
    let home = Home::locate()?;
    let mut found = found::look(&home, models);
    if found.entries.is_empty() {
        match printer.output() {
            Output::Text => printer.page(&format!("there is nothing of rbee's here\n{}", left(&found)))?,
            _ => printer.json(&answer(&found.entries, &found, dry_run))?,
        }
        return Ok(0);
    }
    if dry_run {
        match printer.output() {
            Output::Text => printer.page(&list(&home, &found, printer.look()))?,
            _ => printer.json(&answer(&found.entries, &found, true))?,
        }
        return Ok(0);
    }
    if !yes {
        confirm(&home, &found, printer)?;
    }
    if !service::installed(&home).is_empty() {
        service::disable().await;
    }
    // Held to the end, so that no command starts daemons in the meantime.
    let _starts = match queen::may_run(&home) {
        true => {
            let starts = Lock::acquire(&home.lock_file("start"))?;
            queen::stop_daemons(&home, false, &starts).await?;
            Some(starts)
        }
        false => None,
    };
    // Daemons that ended have left more, or have removed themselves what they had.
    let before = std::mem::replace(&mut found, found::look(&home, models));
    for entry in &found.entries {
        remove(entry)?;
    }
    let has_gone = |entry: &Entry| found.entries.iter().all(|other| other.path != entry.path);
    let removed_by_daemons: Vec<Entry> = before.entries.into_iter().filter(has_gone).collect();
    found.entries.extend(removed_by_daemons);
    found.folders.iter().for_each(|folder| remove_empty(folder));
    match printer.output() {
        Output::Text => {
            let files = count(found.entries.len().try_into().unwrap_or(u64::MAX), "file");
            let (freed, program) = (bytes(found.bytes()), std::env::current_exe().unwrap_or_default());
            let programs = program.parent().unwrap_or(&program).display().to_string();
            let programs = format!("the programs stay in {}\n", printable(&programs));
            printer.page(&format!("removed {files}, {freed}\n{}{programs}", left(&found)))?;
        }
        _ => printer.json(&answer(&found.entries, &found, false))?,
    }
    Ok(0)
}

/// Asks whoever sits at the terminal.
fn confirm(home: &Home, found: &Found, printer: &mut Printer) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message =
            format!("this removes {}", count(found.entries.len().try_into().unwrap_or(u64::MAX), "file"));
        let hint = "`rbee uninstall --dry-run` lists them, `rbee uninstall --yes` removes them";
        return Err(Failure::new(ErrorCode::Usage, message, hint));
    }
    let look = Look { bold: false, ..printer.look() };
    for line in list(home, found, look).lines() {
        printer.prompt(&format!("{line}\n"));
    }
    printer.prompt(&format!("Remove these {}? [y/N] ", bytes(found.bytes())));
    let mut answer = String::new();
    // What cannot be read is no yes.
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => {
            let hint = "`rbee uninstall --dry-run` lists what there is";
            Err(Failure::new(ErrorCode::Cancelled, "nothing was removed", hint))
        }
    }
}

/// Removes one thing, and nothing that a link leads to.
fn remove(entry: &Entry) -> Result<(), HomeError> {
    let removed = match entry.kind {
        Kind::File => fs::remove_file(&entry.path),
        Kind::Tree => fs::remove_dir_all(&entry.path),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(HomeError::Io { action: "remove", path: entry.path.clone(), source: error })
        }
        _ => Ok(()),
    }
}

/// Removes a folder that nothing is left in.
fn remove_empty(folder: &Path) {
    if fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        // Where something is left, it stays.
        let _ = fs::remove_dir(folder);
    }
}

/// What goes, what stays, and what ends.
fn list(home: &Home, found: &Found, look: Look) -> String {
    let runs = |name| Lock::is_held(&home.lock_file(name)).unwrap_or_default();
    let daemons = match ["queen", "hive"].into_iter().any(runs) {
        true => "the daemons are stopped first, with what they are doing\n",
        false => "",
    };
    table(found, look) + &left(found) + daemons
}

fn table(found: &Found, look: Look) -> String {
    let mut table = Table::new(["WHAT", "SIZE", "PATH"]).keep_whole(2);
    for Entry { what, path, bytes: size, .. } in &found.entries {
        table.row([(*what).to_owned(), bytes(*size), path.display().to_string()]);
    }
    table.render(look)
}

/// What stays though it lies among what goes, and why.
fn left(found: &Found) -> String {
    let lines = found
        .left
        .iter()
        .map(|(path, reason)| format!("left: {}, {reason}\n", printable(&path.display().to_string())));
    lines.collect()
}

fn answer(entries: &[Entry], found: &Found, dry_run: bool) -> serde_json::Value {
    let entries: Vec<_> = entries
        .iter()
        .map(|Entry { what, path, bytes, .. }| json!({"what": what, "path": path, "size_bytes": bytes}))
        .collect();
    let left: Vec<_> =
        found.left.iter().map(|(path, reason)| json!({"path": path, "reason": reason})).collect();
    json!({"dry_run": dry_run, "removed": entries, "left": left, "size_bytes": found.bytes()})
}
