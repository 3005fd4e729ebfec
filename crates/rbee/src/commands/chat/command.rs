//! What is typed in a chat: messages, and commands that begin with a slash.

use std::borrow::Cow;

use rbee_protocol::ErrorCode;

use crate::error::Failure;

/// The commands, what they take, and what they do.
const COMMANDS: [(&str, &str, &str); 8] = [
    ("/help", "", "this list"),
    ("/model", "[NAME]", "answer with another model; without a name, list them"),
    ("/system", "[TEXT]", "instructions that stand before the conversation; \"\" for none"),
    ("/save", "[NAME]", "give the conversation a name; of those without, the newest 100 are kept"),
    ("/load", "[NAME]", "go on with another conversation; without a name, list them"),
    ("/clear", "", "begin a new conversation"),
    ("/regenerate", "", "answer the last message again"),
    ("/quit", "", "leave, as Ctrl-D does"),
];

/// What somebody wants.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// An answer to this message.
    Answer(String),
    Help,
    Model(Option<String>),
    System(Option<String>),
    Save(Option<String>),
    Load(Option<String>),
    Clear,
    Regenerate,
    Quit,
}

/// What was typed, in words of a chat.
///
/// # Errors
/// When it begins like a command and is none.
pub(super) fn understand(typed: &str) -> Result<Wish, Failure> {
    if typed.trim().is_empty() {
        return Ok(Wish::Nothing);
    }
    // A command is a line, or one that is continued: a text of several lines was pasted, and may begin as it likes.
    // Only instructions may have several lines themselves.
    let is_line = !typed.trim_end().replace("\\\n", "").contains('\n');
    if !(typed.starts_with('/') && is_line || typed.starts_with("/system ")) {
        return Ok(Wish::Answer(message(typed).into_owned()));
    }
    let (name, rest) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    let text = rest.trim();
    let argument = || (!text.is_empty()).then(|| message(text).into_owned());
    let wish = match name {
        "/help" | "/?" => Wish::Help,
        "/model" => Wish::Model(argument()),
        "/system" => Wish::System(argument()),
        "/save" => Wish::Save(argument()),
        "/load" => Wish::Load(argument()),
        "/clear" => Wish::Clear,
        "/regenerate" => Wish::Regenerate,
        "/quit" | "/exit" | "/bye" => Wish::Quit,
        _ => {
            let hint = "/help lists the commands; a message may begin with a space, and then with a slash";
            return Err(Failure::new(ErrorCode::Usage, format!("there is no command {name}"), hint));
        }
    };
    let takes_none = matches!(wish, Wish::Help | Wish::Clear | Wish::Regenerate | Wish::Quit);
    if takes_none && !text.is_empty() {
        let hint = format!("type {name} alone; a message may begin with a space, and then with a slash");
        return Err(Failure::new(ErrorCode::Usage, format!("{name} takes nothing more"), hint));
    }
    Ok(wish)
}

/// Whether what was typed is all of a message.
pub(super) fn is_whole(typed: &str) -> bool {
    let text = typed.trim();
    match text.strip_prefix(QUOTES) {
        Some(rest) => rest.ends_with(QUOTES),
        None => !typed.ends_with('\\'),
    }
}

/// What stands before and after a message of several lines.
const QUOTES: &str = "\"\"\"";

/// The message without what told where it ends.
fn message(typed: &str) -> Cow<'_, str> {
    if let Some(rest) = typed.trim().strip_prefix(QUOTES) {
        let text = rest.strip_suffix(QUOTES).unwrap_or(rest);
        let text = text.strip_prefix('\n').unwrap_or(text);
        return Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text));
    }
    if typed.contains("\\\n") { Cow::Owned(typed.replace("\\\n", "\n")) } else { Cow::Borrowed(typed) }
}

/// The commands that begin with `typed`.
pub(super) fn completions(typed: &str) -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, ..)| *name).filter(move |name| name.starts_with(typed))
}

/// What `/help` prints.
pub(super) fn help() -> String {
    let mut text = String::new();
    for (name, takes, does) in COMMANDS {
        text += &format!("{:<19} {does}\n", format!("{name} {takes}"));
    }
    text + "A message of several lines stands between \"\"\" and \"\"\", or its lines end in \\. Ctrl-C stops an answer.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_commands_are_told_apart() {
        let check = |typed: &str, expected| assert_eq!(understand(typed).expect(typed), expected);
        let answer = |text: &str| Wish::Answer(text.to_owned());
        check("", Wish::Nothing);
        check(" \t", Wish::Nothing);
        check("hello", answer("hello"));
        check(" /etc/fstab is what?", answer(" /etc/fstab is what?"));
        check("one\\\ntwo", answer("one\ntwo"));
        check("pasted\nlines", answer("pasted\nlines"));
        check("/quit\nis pasted", answer("/quit\nis pasted"));
        check("/* so */\nfn is() {}", answer("/* so */\nfn is() {}"));
        check("/quit\n", Wish::Quit);
        check("\"\"\"\none\\\ntwo\n\"\"\"", answer("one\\\ntwo"));
        check("\"\"\"one\"\"\"", answer("one"));
        check("/model", Wish::Model(None));
        check("/model  qwen3-4b ", Wish::Model(Some("qwen3-4b".to_owned())));
        check("/system You are\\\na poet.", Wish::System(Some("You are\na poet.".to_owned())));
        check("/system You are\na poet.\n", Wish::System(Some("You are\na poet.".to_owned())));
        check("/systematic\nlines", answer("/systematic\nlines"));
        check("/bye", Wish::Quit);
        for typed in ["/etc/fstab", "/", "/Quit", "/quit now", "//"] {
            assert_eq!(understand(typed).expect_err(typed).exit_code(), 2);
        }
    }

    #[test]
    fn a_message_goes_on_until_it_is_whole() {
        for whole in ["", "hello", "\"\"\"a\"\"\"", "\"\"\"\na\n\"\"\" ", "a\\\nb", "a \"\"\" b", "\"\" a"] {
            assert!(is_whole(whole), "{whole:?}");
        }
        for part in ["a\\", "\"\"\"", "\"\"\"a", "\"\"\"\na\n", "\"\"\"a\"\"", "\"\"\"a\\"] {
            assert!(!is_whole(part), "{part:?}");
        }
    }

    #[test]
    fn every_command_is_in_the_help_and_is_understood() {
        for (name, ..) in COMMANDS {
            assert!(help().contains(name) && understand(name).is_ok(), "{name}");
        }
        assert_eq!(completions("/s").collect::<Vec<_>>(), ["/system", "/save"]);
        assert_eq!(completions("hello").count(), 0);
    }
}
