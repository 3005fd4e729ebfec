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

/// The prompt that `words` and stdin make up; `no_stdin` leaves stdin alone.
pub(crate) async fn read(words: &[String], no_stdin: bool, printer: &mut Printer) -> Result<String, Failure> {
    let stdin = if no_stdin || !stdin_is_data() { None } else { Some(read_stdin(printer).await?) };
    compose(&words.join(" "), stdin.as_deref())
}

/// The texts that `words` are, and the lines of stdin; `no_stdin` leaves stdin alone.
pub(crate) async fn read_texts(
    words: Vec<String>,
    no_stdin: bool,
    printer: &mut Printer,
) -> Result<Vec<String>, Failure> {
    let stdin = if no_stdin || !stdin_is_data() { None } else { Some(read_stdin(printer).await?) };
    let mut texts = words;
    texts.extend(
        stdin.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty()).map(str::to_owned),
    );
    if texts.is_empty() {
        let hint =
            "give one: rbee embed \"The sky is blue\", or one on each line of stdin: rbee embed < lines.txt";
        return Err(Failure::new(ErrorCode::Usage, "there is no text", hint));
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

async fn read_stdin(printer: &mut Printer) -> Result<String, Failure> {
    let mut reading = pin!(tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        io::stdin().lock().take(STDIN_MAX_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    }));
    let read = match timeout(PATIENCE, &mut reading).await {
        Ok(read) => read,
        Err(_) => {
            printer.note("Waiting for the rest of the prompt on stdin (--no-stdin to skip)")?;
            reading.await
        }
    };
    let bytes = read.expect("reading does not panic").map_err(|error| {
        Failure::new(ErrorCode::Io, format!("cannot read stdin: {error}"), "--no-stdin leaves it alone")
    })?;
    decode(bytes)
}

fn decode(bytes: Vec<u8>) -> Result<String, Failure> {
    let bad = |message: &str, hint: &str| Failure::new(ErrorCode::BadData, message, hint);
    if bytes.len() as u64 > STDIN_MAX_BYTES {
        return Err(bad(
            "the prompt on stdin is larger than 4 MiB",
            "no model reads that much at once: shorten it",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        bad(
            &format!("the prompt on stdin is not UTF-8 text (byte {at} is where it ceases to be)"),
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
        assert_eq!(decode(b"gr\xc3\xbcn".to_vec()).expect("UTF-8"), "grün");
        assert_eq!(decode(b"gr\xfcn".to_vec()).expect_err("Latin-1").exit_code(), 65);
        assert_eq!(decode(vec![b'a'; (4 << 20) + 1]).expect_err("too large").exit_code(), 65);
        assert!(decode(vec![b'a'; 4 << 20]).is_ok());
    }
}
