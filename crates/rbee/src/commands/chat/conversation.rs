//! Conversations, and the files that they are kept in.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Zoned;
use rbee_home::{Home, HomeError, read_private, write_private};
use rbee_protocol::{ErrorCode, Message, ModelRef, Role};
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// The form of the files that this program writes.
const VERSION: u32 = 1;
const NAME_MAX: usize = 64;
/// So many conversations that nobody has named are kept, the newest.
const UNNAMED_MAX: usize = 100;

/// What was said, and by which model.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversation {
    version: u32,
    /// The model that answers; the default one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<ModelRef>,
    /// As `POST /v1/jobs` takes them: perhaps the system's, then the user's and the model's in turn.
    pub(super) messages: Vec<Message>,
}

/// The folder of conversations, and the name of the one that is under way.
pub(super) struct Keeper {
    folder: PathBuf,
    name: String,
    /// What is in its file, as far as this chat knows.
    kept: Option<String>,
}

impl Conversation {
    /// A conversation in which nothing has been said.
    pub(super) fn new(model: Option<ModelRef>) -> Self {
        Self { version: VERSION, model, messages: Vec::new() }
    }

    /// The instructions that stand before it.
    pub(super) fn system(&self) -> Option<&str> {
        let first = self.messages.first().filter(|message| message.role == Role::System);
        first.and_then(|message| message.content.as_deref())
    }

    /// Puts other instructions before it, or none.
    pub(super) fn set_system(&mut self, text: Option<String>) {
        if self.system().is_some() {
            self.messages.remove(0);
        }
        if let Some(text) = text {
            self.messages.insert(0, Message::new(Role::System, text));
        }
    }

    /// What the user has said, oldest first.
    pub(super) fn questions(&self) -> impl Iterator<Item = &str> {
        let questions = self.messages.iter().filter(|message| message.role == Role::User);
        questions.filter_map(|message| message.content.as_deref())
    }

    /// The last thing that the user has said, and how many messages stand before it.
    pub(super) fn last_question(&self) -> Option<(usize, &str)> {
        let at = self.messages.iter().rposition(|message| message.role == Role::User)?;
        Some((at, self.messages[at].content.as_deref()?))
    }
}

impl Keeper {
    /// The conversations of this home. What is kept first gets a name of its own.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn open(home: &Home) -> Result<Self, Failure> {
        let mut keeper = Self { folder: home.make_conversations_dir()?, name: String::new(), kept: None };
        keeper.forget_old()?;
        keeper.begin();
        Ok(keeper)
    }

    /// Removes the oldest of the conversations that nobody has named.
    fn forget_old(&self) -> Result<(), Failure> {
        let unnamed = self.list()?.into_iter().filter(|(name, _)| is_given(name));
        for (name, _) in unnamed.skip(UNNAMED_MAX) {
            // What cannot be removed keeps nobody from talking.
            let _ = fs::remove_file(self.path(&name));
        }
        Ok(())
    }

    /// What is kept from now on is another conversation.
    pub(super) fn begin(&mut self) {
        self.kept = None;
        // No other process has this number in this second, and what we have kept ourselves is there to be seen.
        let name = format!("{}-{}", Zoned::now().strftime("%Y%m%d-%H%M%S"), std::process::id());
        let mut names = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}-{n}") });
        self.name = names.find(|name| !self.path(name).exists()).unwrap_or(name.clone());
    }

    /// The name of the conversation that is under way.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file of the conversation that is under way.
    pub(super) fn file(&self) -> PathBuf {
        self.path(&self.name)
    }

    /// Writes the conversation to its file, whole or not at all. Where another chat has gone on with it in the meantime,
    /// it gets another name instead, which is returned.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn keep(&mut self, conversation: &Conversation) -> Result<Option<&str>, Failure> {
        let _changing = self.lock()?;
        let mut text = serde_json::to_string_pretty(conversation).expect("a conversation is plain data");
        text.push('\n');
        let is_anothers = self.is_anothers();
        if is_anothers {
            self.begin();
        }
        write_private(&self.file(), &text)?;
        self.kept = Some(text);
        Ok(is_anothers.then_some(&self.name))
    }

    /// Has other chats wait until this one has changed the folder.
    fn lock(&self) -> Result<File, Failure> {
        let failed = |source| HomeError::Io { action: "lock", path: self.folder.clone(), source };
        let folder = File::open(&self.folder).map_err(failed)?;
        folder.lock().map_err(failed)?;
        Ok(folder)
    }

    /// Whether its file is not as this chat has left it.
    fn is_anothers(&self) -> bool {
        match fs::read(self.file()) {
            Ok(there) => self.kept.as_ref().is_none_or(|kept| kept.as_bytes() != there),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Gives the conversation that is under way, kept or not, a name. Under one that it was given before it stays as it is,
    /// as does what another chat has made of its file.
    ///
    /// # Errors
    /// When it is no name, or one that tells of none, or another conversation has it; what the file system says.
    pub(super) fn rename(&mut self, name: &str) -> Result<(), Failure> {
        self.check(name)?;
        if is_given(name) {
            let message = format!("{name} is such a name as conversations without one have");
            let hint = "of those only the newest are kept: choose a name with a letter in it";
            return Err(Failure::new(ErrorCode::Usage, message, hint));
        }
        if name == self.name {
            return Ok(());
        }
        let (before, after) = (self.file(), self.path(name));
        let exists = || {
            let hint = format!("choose another name, or remove {}", after.display());
            Failure::new(ErrorCode::Exists, format!("there is a conversation {name} already"), hint)
        };
        let failed =
            |error| Failure::from(HomeError::Io { action: "write", path: after.clone(), source: error });
        let _changing = self.lock()?;
        if fs::symlink_metadata(&after).is_ok() {
            return Err(exists());
        }
        if is_given(&self.name) && !self.is_anothers() && before.exists() {
            fs::rename(&before, &after).map_err(failed)?;
        } else {
            self.kept = None;
        }
        name.clone_into(&mut self.name);
        Ok(())
    }

    /// Goes on with the conversation of this name.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub(super) fn load(&mut self, name: &str) -> Result<Conversation, Failure> {
        self.check(name)?;
        let path = self.path(name);
        // Whoever reads anything else may wait for ever.
        if !path.is_file() {
            let hint = "/load lists those that there are";
            return Err(Failure::new(ErrorCode::NotFound, format!("there is no conversation {name}"), hint));
        }
        let text = read_private(&path)?;
        let damaged = |why: String| {
            let hint = format!("correct or remove {}", path.display());
            Failure::new(ErrorCode::BadData, format!("the conversation {name} cannot be used: {why}"), hint)
        };
        // What serde says more than where may be a part of what was said.
        let conversation: Conversation = serde_json::from_str(&text).map_err(|error| {
            damaged(format!("line {}, column {} is not as it must be", error.line(), error.column()))
        })?;
        if conversation.version != VERSION {
            return Err(damaged(format!(
                "it is of version {}, and {VERSION} is known",
                conversation.version
            )));
        }
        name.clone_into(&mut self.name);
        self.kept = Some(text);
        Ok(conversation)
    }

    /// The names of the conversations and when they were kept, newest first.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn list(&self) -> Result<Vec<(String, SystemTime)>, Failure> {
        let failed = |source| HomeError::Io { action: "read", path: self.folder.clone(), source };
        let entries =
            fs::read_dir(&self.folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
        let kept = |entry: &DirEntry| {
            let name = entry.file_name().into_string().ok()?.strip_suffix(".json")?.to_owned();
            let metadata = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
            Some((name, metadata.modified().ok()?))
        };
        let mut list: Vec<_> = entries.iter().filter_map(kept).collect();
        list.sort_by(|(_, a), (_, b)| b.cmp(a));
        Ok(list)
    }

    /// Goes on with the conversation that was kept last.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub(super) fn load_last(&mut self) -> Result<Conversation, Failure> {
        match self.list()?.first() {
            Some((name, _)) => self.load(&name.clone()),
            None => {
                let hint = "`rbee chat` begins one";
                Err(Failure::new(ErrorCode::NotFound, "there is no conversation to go on with", hint))
            }
        }
    }

    fn check(&self, name: &str) -> Result<(), Failure> {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.starts_with('.') || name.len() > NAME_MAX || !name.chars().all(is_plain) {
            let hint = format!("letters, digits, `.`, `_` and `-` make one, of at most {NAME_MAX} bytes");
            return Err(Failure::new(ErrorCode::Usage, "that is no name for a conversation", hint));
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

/// Whether [`Keeper::begin`] makes such names: of date, time, a process's number, and perhaps another number.
fn is_given(name: &str) -> bool {
    let parts: Vec<_> = name.split('-').collect();
    let are_numbers =
        parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    are_numbers
        && matches!(parts[..], [date, time, _] | [date, time, _, _] if (date.len(), time.len()) == (8, 6))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn keeper() -> (Keeper, TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut keeper = Keeper { folder: folder.path().to_owned(), name: String::new(), kept: None };
        keeper.begin();
        (keeper, folder)
    }

    #[test]
    fn two_chats_that_go_on_with_one_conversation_keep_both() {
        let (mut first, folder) = keeper();
        assert_eq!(first.keep(&conversation("begun")).expect("our own folder"), None);
        let mut second = Keeper { folder: folder.path().to_owned(), name: String::new(), kept: None };
        assert_eq!(second.load_last().expect("it was kept"), conversation("begun"));
        assert_eq!(first.keep(&conversation("one")).expect("our own folder"), None);
        let other = second.keep(&conversation("two")).expect("our own folder").expect("another").to_owned();
        assert_ne!(other, first.name());
        assert_eq!(second.keep(&conversation("three")).expect("our own folder"), None);
        assert_eq!(first.load(&other).expect("it was kept"), conversation("three"));
        let name = second.list().expect("our own folder").into_iter().map(|(name, _)| name);
        assert_eq!(name.filter(|name| *name != other).count(), 1);

        second.load(&other).expect("it was kept");
        first.keep(&conversation("four")).expect("our own folder");
        second.rename("poems").expect("the name is free");
        assert_eq!(second.keep(&conversation("five")).expect("our own folder"), None);
        assert_eq!(first.load(&other).expect("it stays"), conversation("four"));
        assert_eq!(first.load("poems").expect("it was kept"), conversation("five"));
        second.rename("songs").expect("the name is free");
        assert_eq!(second.keep(&conversation("six")).expect("our own folder"), None);
        assert_eq!(first.load("poems").expect("it stays"), conversation("five"));
    }

    fn conversation(said: &str) -> Conversation {
        let messages = vec![Message::new(Role::User, said), Message::new(Role::Assistant, "yes")];
        Conversation { messages, ..Conversation::new(Some(ModelRef::new("m"))) }
    }

    #[test]
    fn a_conversation_is_kept_for_its_owner_alone_and_loaded_as_it_was() {
        let (mut keeper, _folder) = keeper();
        assert_eq!(keeper.load_last().expect_err("nothing is kept").exit_code(), 66);
        keeper.keep(&conversation("a\u{1b}")).expect("room for a small file");
        let mode = fs::metadata(keeper.file()).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(keeper.file()).expect("our own file");
        let expected = "{\n  \"version\": 1,\n  \"model\": \"m\",\n  \"messages\": [\n    {\n      \"role\": \"user\",\n      \
                        \"content\": \"a\\u001b\"\n    },\n    {\n      \"role\": \"assistant\",\n      \
                        \"content\": \"yes\"\n    }\n  ]\n}\n";
        assert_eq!(text, expected);
        assert_eq!(keeper.load_last().expect("it was kept"), conversation("a\u{1b}"));
        fs::set_permissions(keeper.file(), fs::Permissions::from_mode(0o644)).expect("our own file");
        assert_eq!(keeper.load_last().expect_err("others may read it").exit_code(), 77);
    }

    #[test]
    fn a_name_is_given_once_and_the_file_goes_with_it() {
        let (mut keeper, folder) = keeper();
        keeper.keep(&conversation("first")).expect("room for a small file");
        keeper.rename("poems").expect("a name");
        keeper.rename("poems").expect("it has that name");
        assert_eq!(fs::read_dir(folder.path()).expect("our own folder").count(), 1);
        keeper.begin();
        assert_eq!(keeper.rename("poems").expect_err("it is taken").exit_code(), 2);
        keeper.keep(&conversation("second")).expect("room for a small file");
        assert_eq!(keeper.rename("poems").expect_err("it is taken").exit_code(), 2);
        assert_eq!(keeper.load("poems").expect("it was kept"), conversation("first"));
        assert_eq!(keeper.rename("20260101-120000-5").expect_err("it may be removed").exit_code(), 2);
        for bad in ["", "../poems", "a/b", ".hidden", "a b", &"x".repeat(65)] {
            assert_eq!(keeper.rename(bad).expect_err(bad).exit_code(), 2, "{bad}");
            assert_eq!(keeper.load(bad).expect_err(bad).exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn conversations_that_begin_in_the_same_second_have_files_of_their_own() {
        let (mut keeper, _folder) = keeper();
        for n in 1..=3 {
            keeper.begin();
            keeper.keep(&conversation("hello")).expect("room for a small file");
            assert_eq!(keeper.list().expect("our own folder").len(), n);
        }
    }

    #[test]
    fn the_newest_of_those_that_nobody_named_are_kept() {
        let (keeper, folder) = keeper();
        let old = SystemTime::UNIX_EPOCH;
        let mut names: Vec<_> = (0..=UNNAMED_MAX).map(|n| format!("20260101-000000-{n}")).collect();
        names.extend(["poems", "2026-01-01", "20260101-000000", "20260101-000000-7-x"].map(str::to_owned));
        for (age, name) in names.iter().rev().enumerate() {
            let file = fs::File::create(keeper.path(name)).expect("our own folder");
            file.set_modified(old + std::time::Duration::from_secs(age as u64)).expect("our own file");
        }
        keeper.forget_old().expect("our own folder");
        let left = fs::read_dir(folder.path()).expect("our own folder").count();
        assert_eq!(left, names.len() - 1);
        assert!(!keeper.path(&names[UNNAMED_MAX]).exists(), "the oldest is gone");
        assert!(is_given(keeper.name()) && is_given(&format!("{}-2", keeper.name())));
    }

    #[test]
    fn a_damaged_file_is_refused_without_a_word_of_it() {
        let (mut keeper, folder) = keeper();
        for text in ["", "{\"version\":1,\"messages\":\"secret\"}", "{\"version\":2,\"messages\":[]}", "[]"] {
            fs::write(folder.path().join("bad.json"), text).expect("our own folder");
            fs::set_permissions(folder.path().join("bad.json"), fs::Permissions::from_mode(0o600))
                .expect("ours");
            let Failure::Told { exit_code, message, hint } = keeper.load("bad").expect_err(text) else {
                panic!("it is told")
            };
            assert!(exit_code == 65 && !message.contains("secret") && hint.is_some(), "{message}");
        }
    }

    #[test]
    fn the_system_message_stands_first_or_not_at_all() {
        let mut conversation = conversation("hello");
        conversation.set_system(Some("a".to_owned()));
        conversation.set_system(Some("b".to_owned()));
        assert_eq!((conversation.system(), conversation.messages.len()), (Some("b"), 3));
        assert_eq!(conversation.last_question(), Some((1, "hello")));
        conversation.set_system(None);
        assert_eq!((conversation.system(), conversation.messages.len()), (None, 2));
    }
}
