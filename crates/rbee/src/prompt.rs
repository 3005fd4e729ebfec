//! The prompt, from the arguments and stdin.

use std::io::{self, Read};
use std::pin::pin;
use std::time::Duration;

use rbee_protocol::ErrorCode;
use rustix::fs::FileType;
use tokio::time::timeout;

use crate::error::Failure;
use crate::printer::Printer;

/// More than this is no prompt: the longest contexts hold about a million tokens.
const STDIN_MAX_BYTES: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(1);
/// A job turns no more texts than these into vectors.
const TEXTS_MAX: usize = 1024;

/// The prompt that `words` and stdin make up; `no_stdin` leaves stdin alone.
pub(crate) async fn read(words: &[String], no_stdin: bool, printer: &mut Printer) -> Result<String, Failure> {
    let stdin = read_stdin("prompt", no_stdin, printer).await?;
    compose(&words.join(" "), stdin.as_deref())
}

/// The texts that `words` are, and the lines of stdin; `no_stdin` leaves stdin alone.
pub(crate) async fn read_texts(
    words: Vec<String>,
    no_stdin: bool,
    printer: &mut Printer,
) -> Result<Vec<String>, Failure> {
    let stdin = read_stdin("texts", no_stdin, printer).await?;
    list(words, stdin.as_deref())
}

/// The texts, of which each vector has to be told: none may be left out in silence.
fn list(words: Vec<String>, stdin: Option<&str>) -> Result<Vec<String>, Failure> {
    let (mut texts, given) = (words, stdin.unwrap_or_default());
    let arguments = texts.len();
    if let Some(blank) = given.lines().position(|line| line.trim().is_empty()) {
        let message = format!("line {} on stdin is blank, and has no vector", blank + 1);
        let hint = "each line is a text: remove it, or write something there";
        return Err(Failure::new(ErrorCode::BadData, message, hint));
    }
    texts.extend(given.lines().map(str::to_owned));
    if texts.is_empty() {
        let hint =
            "give one: rbee embed \"The sky is blue\", or one on each line of stdin: rbee embed < lines.txt";
        return Err(Failure::new(ErrorCode::Usage, "there is no text", hint));
    }
    if texts.len() > TEXTS_MAX {
        let message = match (arguments, texts.len() - arguments) {
            (0, lines) => format!("there are {lines} lines on stdin, and {TEXTS_MAX} texts at most at once"),
            (texts, 0) => format!("there are {texts} texts, and {TEXTS_MAX} at most at once"),
            (texts, lines) => {
                format!("there are {texts} texts and {lines} lines on stdin, and {TEXTS_MAX} at most at once")
            }
        };
        let hint = format!("divide them, e.g.: split -l {TEXTS_MAX} --filter='rbee embed' lines.txt");
        return Err(Failure::new(ErrorCode::Usage, message, &hint));
    }
    Ok(texts)
}

fn compose(arguments: &str, stdin: Option<&str>) -> Result<String, Failure> {
    let given = |text: &str| !text.trim().is_empty();
    match (given(arguments), stdin.filter(|text| given(text))) {
        (true, Some(stdin)) => Ok(format!("{arguments}\n\n{stdin}")),
        (true, None) => Ok(arguments.to_owned()),
        (false, Some(stdin)) => Ok(stdin.to_owned()),
        (false, None) => Err(Failure::new(
            ErrorCode::Usage,
            "there is no prompt",
            "give one: rbee infer \"Why is the sky blue?\", or pipe it: rbee infer < prompt.txt",
        )),
    }
}

/// Whether stdin is a pipe, a file or a socket: a terminal is for the shell, a device for nobody.
fn stdin_is_data() -> bool {
    rustix::fs::fstat(io::stdin()).is_ok_and(|status| {
        matches!(
            FileType::from_raw_mode(status.st_mode),
            FileType::Fifo | FileType::RegularFile | FileType::Socket
        )
    })
}

/// The `what` on stdin, where there is any.
async fn read_stdin(
    what: &'static str,
    no_stdin: bool,
    printer: &mut Printer,
) -> Result<Option<String>, Failure> {
    if no_stdin || !stdin_is_data() {
        return Ok(None);
    }
    let mut reading = pin!(tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        io::stdin().lock().take(STDIN_MAX_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    }));
    let read = match timeout(PATIENCE, &mut reading).await {
        Ok(read) => read,
        Err(_) => {
            printer.note(&format!("Waiting for the rest of the {what} on stdin (--no-stdin to skip)"))?;
            reading.await
        }
    };
    let bytes = read.expect("reading does not panic").map_err(|error| {
        Failure::new(ErrorCode::Io, format!("cannot read stdin: {error}"), "--no-stdin leaves it alone")
    })?;
    decode(what, bytes).map(Some)
}

fn decode(what: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    let bad = |message: &str, hint: &str| Failure::new(ErrorCode::BadData, message, hint);
    if bytes.len() as u64 > STDIN_MAX_BYTES {
        return Err(bad(
            &format!("there are more than 4 MiB of {what} on stdin"),
            "that is more than is read at once: give it less",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        bad(
            &format!("the {what} on stdin is not UTF-8 (from byte {at} on)"),
            "convert it, e.g. with iconv; --no-stdin leaves stdin alone",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_stdin_make_up_the_prompt() {
        let check =
            |arguments, stdin, expected| assert_eq!(compose(arguments, stdin).expect("a prompt"), expected);
        check("hello world", None, "hello world");
        check("Translate:", Some("bonjour\n"), "Translate:\n\nbonjour\n");
        check("", Some(" bonjour\n"), " bonjour\n");
        check("hello", Some(""), "hello");
        check("hello", Some("\n"), "hello");
    }

    #[test]
    fn no_prompt_is_a_usage_error_with_a_hint() {
        for (arguments, stdin) in
            [("", None), (" \t", None), ("", Some("")), ("", Some(" \n")), (" ", Some("\n"))]
        {
            let Err(Failure::Told { exit_code, hint, .. }) = compose(arguments, stdin) else {
                panic!("no prompt")
            };
            assert_eq!(exit_code, 2);
            assert!(hint.is_some());
        }
    }

    #[test]
    fn stdin_that_is_no_prompt_is_bad_data() {
        let decode = |bytes: &[u8]| decode("prompt", bytes.to_vec());
        assert_eq!(decode(b"gr\xc3\xbcn").expect("UTF-8"), "grün");
        assert_eq!(decode(b"gr\xfcn").expect_err("Latin-1").exit_code(), 65);
        assert_eq!(decode(&vec![b'a'; (4 << 20) + 1]).expect_err("too large").exit_code(), 65);
        assert!(decode(&vec![b'a'; 4 << 20]).is_ok());
    }

    #[test]
    fn texts_are_the_arguments_and_the_lines_of_stdin() {
        let check = |words: &[&str], stdin, expected: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(list(words, stdin).expect("texts"), expected);
        };
        check(&["a b", "c"], None, &["a b", "c"]);
        check(&[], Some("a b\r\nc"), &["a b", "c"]);
        check(&["a"], Some("b\n"), &["a", "b"]);
        check(&["a"], Some(""), &["a"]);
    }

    #[test]
    fn texts_that_would_not_all_have_a_vector_are_refused_with_where_they_are() {
        let check = |arguments, stdin: &str, code, expected: &str| {
            let refused = list(vec!["x".to_owned(); arguments], Some(stdin)).expect_err("no texts");
            let Failure::Told { exit_code, message, hint } = refused else { panic!("it is told") };
            assert!((exit_code, message.as_str()) == (code, expected) && hint.is_some(), "{message}");
        };
        check(0, "", 2, "there is no text");
        check(0, "a\n\nb\n", 65, "line 2 on stdin is blank, and has no vector");
        check(1, "a\nb\n \n", 65, "line 3 on stdin is blank, and has no vector");
        let lines = "a\n".repeat(1025);
        check(0, &lines, 2, "there are 1025 lines on stdin, and 1024 texts at most at once");
        check(2, &lines, 2, "there are 2 texts and 1025 lines on stdin, and 1024 at most at once");
        check(1025, "", 2, "there are 1025 texts, and 1024 at most at once");
        assert_eq!(list(vec!["x".to_owned()], Some(&"a\n".repeat(1023))).expect("texts").len(), 1024);
    }
}
