//! The one place that writes to stdout and stderr.
//!
//! stdout is the answer and nothing else; what is said about it goes to stderr. Each is tested for being a
//! terminal by itself. What comes from a model or another process reaches a terminal only after
//! [`printable`] or [`printable_text`]; a pipe gets an answer byte for byte.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use indicatif::ProgressDrawTarget;
use owo_colors::{AnsiColors, OwoColorize};
use rbee_narration::{Level, Line, printable, printable_text};
use rbee_protocol::Progress;
use rustix::fs::{Stat, fstat};
use serde::Serialize;

use crate::cli::{ColorChoice, NarrationTo, Options, Output};
use crate::error::Failure;
use crate::markdown::Markdown;
use crate::progress::{Display, Indicator};
use crate::table::Look;

/// Prints what a command has to say.
pub(crate) struct Printer {
    stdout: Stream,
    stderr: Stream,
    /// Whether what is written to one stands below what was written to the other.
    are_one: bool,
    options: Options,
    indicator: Indicator,
    /// What renders the answers, where it is wanted.
    markdown: Option<Markdown>,
    /// Whether narration is left out but for what an answer is not to be read without.
    is_terse: bool,
}

/// One of the two streams.
struct Stream {
    write: Box<dyn Write + Send>,
    is_terminal: bool,
    is_coloured: bool,
    /// Whether it ends in a line that is not complete.
    is_midline: bool,
}

impl Printer {
    /// The printer of this process.
    pub(crate) fn new(options: Options) -> Self {
        let stdout = Stream::new(io::stdout(), options.color);
        let stderr = Stream::new(io::stderr(), options.color);
        let display = match stderr.is_terminal && !is_dumb() {
            _ if options.quiet => Display::Off,
            true => Display::Bar(Box::new(ProgressDrawTarget::stderr)),
            false => Display::Lines,
        };
        let are_one = stdout.is_terminal && stderr.is_terminal || are_one_file();
        let indicator = Indicator::new(display);
        Self { stdout, stderr, are_one, options, indicator, markdown: None, is_terse: false }
    }

    /// The form that the answer is to have.
    pub(crate) fn output(&self) -> Output {
        self.options.output
    }

    /// How tables may look.
    pub(crate) fn look(&self) -> Look {
        let window = || rustix::termios::tcgetwinsize(io::stdout()).ok();
        let width = self.stdout.is_terminal.then(window).flatten().map(|size| usize::from(size.ws_col));
        Look { width: width.filter(|width| *width > 0), bold: self.stdout.is_coloured }
    }

    /// Renders the Markdown in answers from now on, where a person looks at them on a terminal with colours.
    pub(crate) fn render_markdown(&mut self) {
        if self.stdout.is_terminal && self.stdout.is_coloured {
            self.markdown = Some(Markdown::default());
        }
    }

    /// Leaves out narration from now on, unless all of it is wanted, but for warnings and for what tells that a
    /// prompt was not read as a whole.
    pub(crate) fn narrate_less(&mut self) {
        self.is_terse = !self.options.verbose;
    }

    /// Prints a piece of the answer.
    pub(crate) fn answer(&mut self, text: &str) -> Result<(), Failure> {
        self.indicator.end();
        if self.are_one && self.stderr.is_midline {
            self.stderr.say("\n");
        }
        let text = if self.stdout.is_terminal { printable_text(text) } else { Cow::Borrowed(text) };
        let text = match &mut self.markdown {
            Some(markdown) => Cow::Owned(markdown.push(&text)),
            None => text,
        };
        self.stdout.write(&text).map_err(|error| Failure::stdout(&error))
    }

    /// Begins a line of the answer that tells of a call; its arguments are answers, too.
    pub(crate) fn begin_call(&mut self, name: &str) -> Result<(), Failure> {
        let before = if self.stdout.is_midline { "\n" } else { "" };
        self.answer(&format!("{before}{name} "))
    }

    /// Completes the answer's last line where a person looks at it.
    pub(crate) fn end_answer(&mut self) -> Result<(), Failure> {
        self.indicator.end();
        if self.stderr.is_midline {
            self.stderr.say("\n");
        }
        if let Some(rest) = self.markdown.as_mut().map(Markdown::finish) {
            self.stdout.write(&rest).map_err(|error| Failure::stdout(&error))?;
        }
        if self.stdout.is_terminal { self.end_line() } else { Ok(()) }
    }

    /// Completes the answer's last line also in a pipe, where another answer may follow.
    pub(crate) fn end_line(&mut self) -> Result<(), Failure> {
        if self.stdout.is_midline {
            self.stdout.write("\n").map_err(|error| Failure::stdout(&error))?;
        }
        Ok(())
    }

    /// Ends the line that somebody was typing in a line editor, which does not get to do that itself.
    pub(crate) fn leave_line_editor(&mut self) {
        if self.stderr.is_terminal {
            self.stderr.say("\u{1b}[?2004l\n");
        }
    }

    /// Prints a piece of what a model thinks before it answers, for a person to look at.
    pub(crate) fn reasoning(&mut self, text: &str) -> Result<(), Failure> {
        self.indicator.end();
        if self.options.quiet || !self.stderr.is_terminal {
            return Ok(());
        }
        if self.stdout.is_midline {
            self.begin_line_on_stderr()?;
        }
        let text = printable_text(text);
        let is_midline = !text.ends_with('\n');
        let shown = if self.stderr.is_coloured { text.dimmed().to_string() } else { text.into_owned() };
        self.stderr.say(&shown);
        self.stderr.is_midline = is_midline;
        Ok(())
    }

    /// Prints text of our own making, such as tables and help, to stdout.
    pub(crate) fn page(&mut self, text: &str) -> Result<(), Failure> {
        self.indicator.clear();
        self.stdout.write(text).map_err(|error| Failure::stdout(&error))
    }

    /// Prints a value as JSON, over several lines where a person looks at it.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let pretty = self.stdout.is_terminal && self.options.output == Output::Json;
        let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.json_line(&text.expect("what is printed as JSON is plain data"))
    }

    /// Prints JSON text as it is.
    pub(crate) fn json_line(&mut self, json: &str) -> Result<(), Failure> {
        let json = if self.stdout.is_terminal { printable_json(json) } else { Cow::Borrowed(json) };
        self.page(&format!("{json}\n"))
    }

    /// Prints a line of narration, if it is wanted.
    pub(crate) fn narrate(&mut self, line: &Line) -> Result<(), Failure> {
        let is_wanted = match (self.options.verbose, self.is_terse) {
            (true, _) => true,
            (false, false) => line.level >= Level::Info,
            (false, true) => line.level > Level::Info || line.action == "truncate",
        };
        if self.options.quiet || !is_wanted {
            return Ok(());
        }
        match self.options.narration {
            NarrationTo::Off => Ok(()),
            NarrationTo::Stderr => {
                self.begin_line_on_stderr()?;
                let text = narration(line, self.stderr.is_coloured);
                self.stderr.say(&text);
                Ok(())
            }
            NarrationTo::Stdout => {
                self.indicator.clear();
                let text = narration(line, self.stdout.is_coloured);
                let text = if self.stdout.is_midline { format!("\n{text}") } else { text };
                self.stdout.write(&text).map_err(|error| Failure::stdout(&error))
            }
        }
    }

    /// Takes note of how far the job has come.
    pub(crate) fn progress(&mut self, progress: Progress) {
        self.indicator.update(progress, Instant::now());
    }

    /// Whether [`Printer::tick`] has something to do.
    pub(crate) fn shows_progress(&self) -> bool {
        self.indicator.is_active()
    }

    /// Shows how far the job has come.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), Failure> {
        if self.stderr.is_midline || self.are_one && self.stdout.is_midline {
            return Ok(());
        }
        if let Some(line) = self.indicator.tick(now) {
            self.stderr.say(&format!("{line}\n"));
        }
        Ok(())
    }

    /// The job is over or left, and so is its progress.
    pub(crate) fn end_progress(&mut self) {
        self.indicator.end();
    }

    /// Tells something worth knowing that is not part of the answer.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failure> {
        if !self.options.quiet {
            self.begin_line_on_stderr()?;
            self.stderr.say(&format!("{}\n", printable(text)));
        }
        Ok(())
    }

    /// Asks something on stderr, also where only errors are wanted. Reading the answer is for whoever asks.
    pub(crate) fn prompt(&mut self, text: &str) {
        let _ = self.begin_line_on_stderr();
        self.stderr.say(&printable_text(text));
        // The answer ends the line.
        self.stderr.is_midline = false;
    }

    /// Tells something that may become a problem.
    pub(crate) fn warning(&mut self, text: &str) -> Result<(), Failure> {
        if !self.options.quiet {
            self.begin_line_on_stderr()?;
            let label = self.stderr.coloured("warning:", AnsiColors::Yellow);
            self.stderr.say(&format!("{label} {}\n", printable(text)));
        }
        Ok(())
    }

    /// Tells why the command fails.
    pub(crate) fn error(&mut self, message: &str, hint: Option<&str>) {
        // That stdout is closed does not matter any more.
        let _ = self.begin_line_on_stderr();
        let label = self.stderr.coloured("error:", AnsiColors::Red);
        let mut text = format!("{label} {}\n", indented(message));
        if let Some(hint) = hint {
            let label = self.stderr.coloured("hint:", AnsiColors::Cyan);
            text.push_str(&format!("{label} {}\n", indented(hint)));
        }
        self.stderr.say(&text);
    }

    /// Prints what clap has to say instead of a command: help, the version, or what it did not understand.
    pub(crate) fn clap(color: ColorChoice, error: &clap::Error) -> u8 {
        let said = error.render();
        let plain = said.to_string();
        // In its coloured form, what was typed is in it as it was typed.
        let is_clean =
            !std::env::args_os().any(|argument| argument.to_string_lossy().contains(char::is_control));
        let text = |stream: &Stream| match (stream.is_coloured, is_clean) {
            (true, true) => said.ansi().to_string(),
            (_, true) => plain.clone(),
            (_, false) => printable_text(&plain).into_owned(),
        };
        if error.use_stderr() {
            let mut stderr = Stream::new(io::stderr(), color);
            let text = text(&stderr);
            stderr.say(&text);
        } else {
            let mut stdout = Stream::new(io::stdout(), color);
            let text = text(&stdout);
            if let Err(error) = stdout.write(&text) {
                return Failure::stdout(&error).exit_code();
            }
        }
        u8::try_from(error.exit_code()).unwrap_or(2)
    }

    /// Prints what a shell asked for. That it does not listen any more is nothing to tell anybody.
    pub(crate) fn completions(answer: &[u8]) -> u8 {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(answer).and_then(|()| stdout.flush());
        0
    }

    /// Sees that what is written to stderr next stands on a line of its own.
    fn begin_line_on_stderr(&mut self) -> Result<(), Failure> {
        self.indicator.clear();
        if self.stderr.is_midline {
            self.stderr.say("\n");
        }
        if self.are_one && self.stdout.is_midline {
            self.stdout.write("\n").map_err(|error| Failure::stdout(&error))?;
        }
        Ok(())
    }
}

/// Whether stdout and stderr are the same file or pipe.
fn are_one_file() -> bool {
    let [stdout, stderr] = [fstat(io::stdout()), fstat(io::stderr())];
    let place = |status: Stat| (status.st_dev, status.st_ino);
    stdout.is_ok_and(|stdout| stderr.is_ok_and(|stderr| place(stdout) == place(stderr)))
}

impl Stream {
    fn new(write: impl Write + IsTerminal + Send + 'static, color: ColorChoice) -> Self {
        let is_terminal = write.is_terminal();
        let is_coloured = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                is_terminal && !no_color && !is_dumb()
            }
        };
        Self { write: Box::new(write), is_terminal, is_coloured, is_midline: false }
    }

    /// Writes `text` at once, so that what is written to the other stream afterwards comes after it.
    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.is_midline = !text.ends_with('\n');
        self.write.write_all(text.as_bytes())?;
        self.write.flush()
    }

    /// Writes `text` if anybody listens. Nobody to listen is no reason to stop.
    fn say(&mut self, text: &str) {
        let _ = self.write(text);
    }

    fn coloured(&self, text: &str, color: AnsiColors) -> String {
        if self.is_coloured { text.color(color).bold().to_string() } else { text.to_owned() }
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// A line as it came, its actor coloured where that is possible.
fn narration(line: &Line, is_coloured: bool) -> String {
    let text = printable(&line.formatted);
    match text.split_once(']') {
        Some((actor, rest)) if is_coloured && actor.starts_with('[') => {
            format!("{}{rest}\n", format_args!("{actor}]").color(color_of(&line.actor)))
        }
        _ => format!("{text}\n"),
    }
}

/// The colour of an actor, always the same.
fn color_of(actor: &str) -> AnsiColors {
    const COLORS: [AnsiColors; 7] = [
        AnsiColors::BrightCyan,
        AnsiColors::Green,
        AnsiColors::Magenta,
        AnsiColors::Cyan,
        AnsiColors::BrightGreen,
        AnsiColors::Blue,
        AnsiColors::Yellow,
    ];
    // No hash of the standard library is promised to stay the same.
    let hash = actor.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    COLORS[hash as usize % COLORS.len()]
}

/// A message of several lines, all but the first indented, so that none passes for another message.
fn indented(text: &str) -> String {
    printable_text(text.trim_end()).replace('\n', "\n  ")
}

/// JSON in which what could steer a terminal is escaped the way JSON does it.
fn printable_json(json: &str) -> Cow<'_, str> {
    if let Cow::Borrowed(json) = printable_text(json) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    let mut buffer = [0; 4];
    for c in json.chars() {
        match printable_text(c.encode_utf8(&mut buffer)) {
            Cow::Borrowed(same) => text.push_str(same),
            Cow::Owned(_) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use clap::Parser;
    use indicatif::TermLike;
    use rbee_narration::{Log, SystemNarrator};
    use rbee_protocol::{Phase, Unit};

    use super::*;
    use crate::cli::Cli;

    /// A terminal or a pipe that remembers what was written to it.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no test panics while writing").clone()).expect("UTF-8")
        }

        fn step(&self, direction: &str, n: usize) -> io::Result<()> {
            if n == 0 { Ok(()) } else { self.write_str(&format!("<{direction} {n}>")) }
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while writing").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.step("up", n)
        }
        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.step("down", n)
        }
        fn move_cursor_right(&self, n: usize) -> io::Result<()> {
            self.step("right", n)
        }
        fn move_cursor_left(&self, n: usize) -> io::Result<()> {
            self.step("left", n)
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.clone().write_all(text.as_bytes())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("<clear>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe that nobody reads.
    pub(crate) struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Which streams are a terminal.
    #[derive(Clone, Copy, PartialEq)]
    pub(crate) enum Where {
        Terminal,
        Pipes,
        OnlyStdout,
        OnlyStderr,
    }

    /// A printer with what it writes to stdout and stderr; on a terminal that is the same.
    pub(crate) fn printer(place: Where, options: &str) -> (Printer, Screen, Screen) {
        let arguments = ["rbee", "status"].into_iter().chain(options.split_whitespace());
        let options = Cli::try_parse_from(arguments).expect("options that exist").options;
        let stdout = Screen::default();
        let stderr = if place == Where::Terminal { stdout.clone() } else { Screen::default() };
        let stream = |screen: &Screen, is_terminal| Stream {
            write: Box::new(screen.clone()),
            is_terminal,
            is_coloured: options.color == ColorChoice::Always,
            is_midline: false,
        };
        let stderr_is_terminal = matches!(place, Where::Terminal | Where::OnlyStderr);
        let display = if options.quiet {
            Display::Off
        } else if stderr_is_terminal {
            let screen = stderr.clone();
            Display::Bar(Box::new(move || ProgressDrawTarget::term_like(Box::new(screen.clone()))))
        } else {
            Display::Lines
        };
        let printer = Printer {
            stdout: stream(&stdout, matches!(place, Where::Terminal | Where::OnlyStdout)),
            stderr: stream(&stderr, stderr_is_terminal),
            are_one: matches!(place, Where::Terminal),
            options,
            indicator: Indicator::new(display),
            markdown: None,
            is_terse: false,
        };
        (printer, stdout, stderr)
    }

    /// A printer whose stdout has been closed.
    pub(crate) fn closed_printer() -> (Printer, Screen) {
        let (mut printer, _, stderr) = printer(Where::Pipes, "");
        printer.stdout.write = Box::new(Closed);
        (printer, stderr)
    }

    pub(crate) fn line(level: Level, human: &str) -> Line {
        SystemNarrator::new("queen", Log::to_stderr())
            .action("job_create")
            .human(human)
            .level(level)
            .into_line()
    }

    const LINE: &str = "[queen     ] job_create     : Job created\n";

    fn answer(place: Where, pieces: &[&str]) -> String {
        let (mut printer, stdout, _) = printer(place, "");
        for piece in pieces {
            printer.answer(piece).expect("an open stdout");
        }
        printer.end_answer().expect("an open stdout");
        stdout.text()
    }

    #[test]
    fn a_pipe_gets_the_answer_byte_for_byte() {
        assert_eq!(answer(Where::Pipes, &["a\r", "\x1b[31m", "\u{202e}b"]), "a\r\x1b[31m\u{202e}b");
        assert_eq!(answer(Where::OnlyStderr, &["a\r\n"]), "a\r\n");
        assert_eq!(answer(Where::Pipes, &[]), "");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_and_ends_on_a_new_line() {
        assert_eq!(answer(Where::Terminal, &["a\r", "\x1b", "[31mb"]), "a\\r\\u{1b}[31mb\n");
        assert_eq!(answer(Where::Terminal, &["a\n"]), "a\n");
        assert_eq!(answer(Where::OnlyStdout, &["a\tb"]), "a\tb\n");
        assert_eq!(answer(Where::Terminal, &[]), "");
    }

    #[test]
    fn narration_on_the_same_terminal_does_not_continue_a_line_of_the_answer() {
        let (mut printer, screen, _) = printer(Where::Terminal, "");
        printer.answer("half").expect("open");
        printer.narrate(&line(Level::Info, "Job created")).expect("open");
        printer.answer(" rest").expect("open");
        printer.end_answer().expect("open");
        assert_eq!(screen.text(), format!("half\n{LINE} rest\n"));
    }

    #[test]
    fn narration_on_another_stream_leaves_the_answer_alone() {
        for place in [Where::Pipes, Where::OnlyStdout, Where::OnlyStderr] {
            let (mut printer, stdout, stderr) = printer(place, "");
            printer.answer("half").expect("open");
            printer.narrate(&line(Level::Info, "Job created")).expect("open");
            assert_eq!((stdout.text().as_str(), stderr.text().as_str()), ("half", LINE));
        }
    }

    #[test]
    fn narration_goes_where_it_is_asked_to() {
        let check = |options: &str, level, expected_stdout: &str, expected_stderr: &str| {
            let (mut printer, stdout, stderr) = printer(Where::Pipes, options);
            printer.narrate(&line(level, "Job created")).expect("open");
            assert_eq!((stdout.text().as_str(), stderr.text().as_str()), (expected_stdout, expected_stderr));
        };
        check("", Level::Info, "", LINE);
        check("", Level::Debug, "", "");
        check("-v", Level::Debug, "", LINE);
        check("-q", Level::Error, "", "");
        check("--narration off", Level::Error, "", "");
        check("--narration stdout", Level::Info, LINE, "");
    }

    #[test]
    fn narration_among_the_answer_has_lines_of_its_own() {
        let (mut printer, stdout, _) = printer(Where::Pipes, "--narration stdout");
        printer.answer("half").expect("open");
        printer.narrate(&line(Level::Info, "Job created")).expect("open");
        printer.answer("rest").expect("open");
        printer.end_answer().expect("open");
        assert_eq!(stdout.text(), format!("half\n{LINE}rest"));
    }

    #[test]
    fn narration_of_another_process_cannot_steer_the_terminal() {
        let mut line = line(Level::Info, "x");
        line.formatted = "[queen     ] a: \x1b[2J\nb".to_owned();
        assert_eq!(narration(&line, false), "[queen     ] a: \\u{1b}[2J\\nb\n");
    }

    #[test]
    fn colours_mark_the_actor_and_only_where_there_are_colours() {
        let line = line(Level::Info, "Job created");
        let coloured = narration(&line, true);
        assert!(
            coloured.starts_with("\x1b[") && coloured.contains("[queen     ]\x1b[39m job_create"),
            "{coloured:?}"
        );
        assert_eq!(narration(&line, false), LINE);
        let colors: Vec<_> =
            ["rbee", "queen", "hive", "worker"].map(|actor| format!("{:?}", color_of(actor))).into();
        assert!((1..4).all(|i| !colors[..i].contains(&colors[i])), "{colors:?}");
    }

    #[test]
    fn errors_stay_with_quiet_and_notes_do_not() {
        let (mut printer, stdout, stderr) = printer(Where::Pipes, "-q");
        printer.note("a note").expect("open");
        printer.warning("a warning").expect("open");
        printer.error("it failed\nerror: not this", Some("try\x1b"));
        assert_eq!(stdout.text(), "");
        assert_eq!(stderr.text(), "error: it failed\n  error: not this\nhint: try\\u{1b}\n");
    }

    #[test]
    fn an_error_is_red_where_there_are_colours() {
        let (mut printer, _, stderr) = printer(Where::Pipes, "--color always");
        printer.error("it failed", None);
        let text = stderr.text();
        assert!(text.contains("\x1b[31m") && text.ends_with(" it failed\n"), "{text:?}");
    }

    #[test]
    fn thinking_is_shown_to_people_apart_from_the_answer() {
        let (mut printer, screen, _) = printer(Where::Terminal, "");
        printer.reasoning("hm\x1b").expect("open");
        printer.answer("yes").expect("open");
        printer.end_answer().expect("open");
        assert_eq!(screen.text(), "hm\\u{1b}\nyes\n");

        let (mut printer, stdout, stderr) = self::printer(Where::Pipes, "");
        printer.reasoning("hm").expect("open");
        assert_eq!((stdout.text(), stderr.text()), (String::new(), String::new()));
    }

    #[test]
    fn a_bar_is_gone_before_anything_else_is_printed() {
        let load = Progress::new(Phase::Load, 40, Some(100), Unit::Percent);
        let (mut printer, screen, _) = printer(Where::Terminal, "");
        printer.progress(load.clone());
        assert_eq!(screen.text(), "", "nothing before the first tick");
        printer.tick(Instant::now()).expect("open");
        assert!(screen.text().contains("Loading the model ["), "{:?}", screen.text());
        printer.narrate(&line(Level::Info, "Job created")).expect("open");
        assert!(screen.text().ends_with(&format!("<clear>{LINE}")), "{:?}", screen.text());
        printer.tick(Instant::now()).expect("open");
        printer.answer("yes").expect("open");
        assert!(screen.text().ends_with("<clear>yes"), "{:?}", screen.text());
        assert!(!printer.shows_progress());
        // Nothing is drawn beside a line that is not complete.
        printer.progress(load);
        printer.tick(Instant::now()).expect("open");
        assert!(screen.text().ends_with("<clear>yes"), "{:?}", screen.text());
    }

    #[test]
    fn bars_of_phases_that_go_on_together_come_and_go_together() {
        let (mut printer, screen, _) = printer(Where::Terminal, "");
        for phase in [Phase::Download, Phase::Verify] {
            printer.progress(Progress::new(phase, 1 << 30, Some(4 << 30), Unit::Bytes));
        }
        printer.tick(Instant::now()).expect("open");
        let text = screen.text();
        let (_, last) = text.rsplit_once(" Downloading").expect("a bar");
        for part in
            [" the model [==>       ] 1.0 of 4.0 GiB ", " Verifying the model [==>       ] 1.0 of 4.0 GiB "]
        {
            assert!(last.contains(part), "{text:?}");
        }
        printer.narrate(&line(Level::Info, "Job created")).expect("open");
        let cleared = format!("<up 1><clear><down 1><clear><up 1>{LINE}");
        assert!(screen.text().ends_with(&cleared), "{:?}", screen.text());
    }

    #[test]
    fn pipes_get_no_bar() {
        let load = Progress::new(Phase::Load, 40, Some(100), Unit::Percent);
        let (mut printer, stdout, stderr) = printer(Where::Pipes, "");
        printer.progress(load);
        printer.tick(Instant::now()).expect("open");
        printer.tick(Instant::now() + Duration::from_secs(6)).expect("open");
        assert_eq!((stdout.text().as_str(), stderr.text().as_str()), ("", "Loading the model: 40 %\n"));
    }

    #[test]
    fn json_on_a_terminal_is_harmless_and_still_json() {
        let value = serde_json::json!({"text": "a\u{9b}31m\u{202e}\u{7f}\n"});
        let (mut printer, screen, _) = printer(Where::Terminal, "--output json");
        printer.json(&value).expect("open");
        let text = screen.text();
        assert!(!text.contains(['\u{9b}', '\u{202e}', '\u{7f}']), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);

        let (mut printer, stdout, _) = self::printer(Where::Pipes, "--output json");
        printer.json(&value).expect("open");
        assert_eq!(stdout.text(), format!("{value}\n"));
    }

    #[test]
    fn a_closed_stdout_is_noticed_and_a_closed_stderr_is_not() {
        let (mut printer, stderr) = closed_printer();
        assert!(matches!(printer.answer("x"), Err(Failure::ClosedStdout)));
        assert!(matches!(printer.page("x"), Err(Failure::ClosedStdout)));
        printer.stderr.write = Box::new(Closed);
        printer.narrate(&line(Level::Info, "x")).expect("nobody minds");
        printer.error("x", None);
        assert_eq!(stderr.text(), "");
    }
}
