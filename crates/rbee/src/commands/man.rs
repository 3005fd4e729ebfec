//! The pages of the manual, which are what `--help` says.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;

/// Writes a page for each command into `folder`.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    // What `help` does stands in every page, as `--help`.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_with_subcommands(&command, folder)
}

fn write_with_subcommands(command: &Command, folder: &Path) -> io::Result<()> {
    let shown = |command: &&Command| !command.is_hide_set();
    command
        .get_subcommands()
        .filter(shown)
        .try_for_each(|command| write_with_subcommands(command, folder))?;
    let source = concat!("rbee ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("The manual of rbee");
    fs::write(folder.join(man.get_filename()), page(&man, command)?)
}

fn page(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        after_help(&mut roff, &text.to_string());
    }
    if command.get_name() != "rbee" {
        roff.control("SH", ["SEE ALSO"]).text([bold("rbee"), roman("(1)")]);
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// What stands behind a command's help, as lines: they are commands and tables.
fn after_help(roff: &mut Roff, text: &str) {
    const HEADINGS: [&str; 2] = ["Examples", "Exit codes"];
    if !HEADINGS.iter().any(|heading| text.starts_with(heading)) {
        roff.control("SH", ["NOTES"]).control("nf", []);
    }
    for line in text.lines() {
        match line.strip_suffix(':').filter(|line| HEADINGS.contains(line)) {
            Some(heading) => roff.control("SH", [heading.to_uppercase().as_str()]).control("nf", []),
            None => roff.text([roman(line)]),
        };
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_all_that_its_help_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path()).expect("room for the pages");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        let page = read("rbee-hive-status.1");
        for part in [
            ".TH rbee-hive-status 1  \"rbee 0.1.0\" \"The manual of rbee\"",
            "rbee\\-hive\\-status \\- Tell about one hive",
            "\\fBrbee hive status\\fR",
            ".SH EXAMPLES\n.nf\n  rbee hive status\n",
            ".SH \"SEE ALSO\"\n\\fBrbee\\fR(1)",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let page = read("rbee.1");
        assert!(!page.contains("SEE ALSO"), "{page}");
        assert!(page.contains(".SH \"EXIT CODES\"") && page.contains("  75   busy: try again"), "{page}");
        assert!(page.contains("rbee\\-infer(1)") && !page.contains("rbee\\-man(1)"), "{page}");
        assert!(read("rbee-job-show.1").contains(".SH NOTES\n.nf\nAn id may be shortened"));
        assert!(!folder.path().join("rbee-man.1").exists());
    }
}
