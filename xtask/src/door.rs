//! The queen's door, tried by others' programs against a queen of our own.
//!
//! schemathesis makes requests by the thousand from the API's description, right ones and wrong ones. A finding is an
//! answer that the description does not have, a failure of the server, a right request that is refused, or a wrong one,
//! or one without a key, that is not. slowhttptest opens connections and sends next to nothing on them: none may stay
//! open for longer than a head may take. And Chromium shows a page of another origin, which may neither create a job nor
//! read a byte.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, execute, is_installed};
use crate::{build, printer, test, tools};

/// Beside what is in `xtask/door.toml`; a run that takes longer fails.
const TIMEOUT: &str = "300";

/// What `jobs` gives a request's head, in seconds.
const HEAD_TIMEOUT_S: u64 = 10;
const SLOW_CONNECTIONS: u32 = 300;
const PAGE: &str = include_str!("../door.html");

/// Starts a queen in a folder of its own, tries its door as an operator and as a user, and stops it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let schemathesis = tools::schemathesis(workspace)?;
    build::programs(workspace, false)?;
    let model = test::test_model(workspace)?;
    // A worker that answers at once, so that no request waits for a model.
    execute(&mut workspace.cargo(["build", "--release", "--workspace", "--example", "scripted_worker"]))?;

    let home = std::env::temp_dir().join(format!("rbee-door-{}", std::process::id()));
    let queen = Queen { workspace, home: &home, model: &model };
    let tried = queen.start().and_then(|()| {
        let operator =
            fs::read_to_string(home.join("config/operator.key")).context("the queen made no key")?;
        queen.try_slowly()?;
        queen.try_from_a_page(operator.trim())?;
        queen.try_door(&schemathesis, "an operator", operator.trim())?;
        queen.try_door(&schemathesis, "a user", queen.output(&["key", "create", "a-user"])?.trim())
    });
    let stopped = queen.output(&["queen", "stop"]);
    let log = fs::read_to_string(home.join("state/queen.log")).unwrap_or_default();
    let removed = fs::remove_dir_all(&home).context("the temporary home cannot be removed");
    tried?;
    stopped?;
    removed?;
    if log.contains("panicked") {
        bail!("the queen panicked");
    }
    Ok(())
}

struct Queen<'w> {
    workspace: &'w Workspace,
    home: &'w Path,
    model: &'w Path,
}

impl Queen<'_> {
    fn start(&self) -> Result<()> {
        // So that no request has the default model fetched; the worker does not read it.
        test::place(self.model, &self.home.join("data/models").join(test::TEST_MODEL))?;
        fs::copy(self.workspace.root.join("xtask/door.toml"), self.home.join("schemathesis.toml"))
            .with_context(|| format!("cannot prepare {}", self.home.display()))?;
        self.output(&["queen", "start"]).map(drop)
    }

    fn try_door(&self, schemathesis: &Path, who: &str, key: &str) -> Result<()> {
        let url = self.url()?;
        printer::say(&format!("trying the door of {url} as {who}"));
        let mut run = self.command("timeout");
        run.arg(TIMEOUT).arg(schemathesis).args(["run", &format!("{url}/openapi.json"), "--no-color"]);
        run.arg("--continue-on-failure").env("RBEE_KEY", key);
        execute(run.current_dir(self.home)).with_context(|| format!("as {who}"))
    }

    /// Opens connections and hardly sends anything on them; the queen must close them and answer others meanwhile.
    fn try_slowly(&self) -> Result<()> {
        // Asked for help, it says so and fails.
        if Command::new("slowhttptest").arg("-h").output().is_err() {
            printer::say("slowhttptest is not installed (Debian's package has its name), so it is left out");
            return Ok(());
        }
        let url = self.url()?;
        printer::say(&format!("trying the door of {url} slowly"));
        let connections = SLOW_CONNECTIONS.to_string();
        let mut run = self.command("timeout");
        run.args([TIMEOUT, "slowhttptest", "-H", "-u", &format!("{url}/health"), "-c", &connections]);
        run.args(["-r", &connections, "-i", "3", "-l", &(2 * HEAD_TIMEOUT_S).to_string(), "-p", "3"]);
        let output = run.output().context("cannot run slowhttptest")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let seconds = said.rsplit_once("Test ended on ").and_then(|(_, rest)| rest.split_once("th second"));
        let seconds: u64 = seconds.and_then(|(seconds, _)| seconds.parse().ok()).context("it did not end")?;
        if !said.contains("No open connections left") || seconds > HEAD_TIMEOUT_S + 2 {
            bail!("connections were still open after {seconds} s");
        }
        if said.contains("service available:   NO") {
            bail!("others were not answered meanwhile");
        }
        printer::say(&format!("all of {connections} slow connections were closed within {seconds} s"));
        Ok(())
    }

    /// Shows a page of another origin in a browser and looks at what it got.
    fn try_from_a_page(&self, key: &str) -> Result<()> {
        let browsers = ["chromium", "google-chrome", "chrome"];
        let browser = browsers.into_iter().find(|name| is_installed(Command::new(name).arg("--version")));
        let Some(browser) = browser else {
            printer::say("Chromium is not installed, so no page is tried");
            return Ok(());
        };
        let job = self.output(&["infer", "--detach", "wait"])?.trim().to_owned();
        let page = PAGE.replace("{queen}", &self.url()?).replace("{key}", key).replace("{job}", &job);
        let origin = serve(page)?;
        printer::say(&format!("trying the door of {} from a page of {origin}", self.url()?));
        let mut run = self.command("timeout");
        run.args([TIMEOUT, browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
        run.args([
            "--virtual-time-budget=20000",
            &format!("--user-data-dir={}", self.home.join("browser").display()),
        ]);
        let output = run.arg(&origin).output().context("cannot run the browser")?;
        let shown = String::from_utf8_lossy(&output.stdout);
        let report = shown.split_once("<pre id=\"report\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let (report, _) = report.with_context(|| format!("the page was not shown: {shown}"))?;
        if !report.starts_with('{') {
            bail!("the page did not run: {report}");
        }
        if report.contains("read") || report.contains("loaded") {
            bail!("a page of another origin got something: {report}");
        }
        let jobs = self.output(&["job", "list", "--all", "--output", "ndjson"])?;
        if jobs.lines().count() != 1 || !jobs.contains(&job) || jobs.contains("cancelled") {
            bail!("a page of another origin did something: {jobs}");
        }
        printer::say(&format!("the page got nothing: {report}"));
        self.output(&["job", "cancel", &job]).map(drop)
    }

    fn url(&self) -> Result<String> {
        let status = self.output(&["queen", "status"])?;
        let mut words = status.split_whitespace();
        let url = words.find(|word| word.starts_with("http://")).context("the queen tells no URL")?;
        Ok(url.to_owned())
    }

    /// What `rbee` with these arguments prints, in this queen's home.
    fn output(&self, arguments: &[&str]) -> Result<String> {
        let output =
            self.command(self.workspace.program("rbee")).args(arguments).stderr(Stdio::inherit()).output();
        let output = output.context("cannot run `rbee`")?;
        if !output.status.success() {
            bail!("`rbee {}` failed ({})", arguments.join(" "), output.status);
        }
        String::from_utf8(output.stdout).context("`rbee` printed what is no text")
    }

    fn command(&self, program: impl Into<PathBuf>) -> Command {
        let worker = self.workspace.program("examples/scripted_worker");
        let mut command = self.workspace.command(program.into());
        command.env("RBEE_HOME", self.home).env("RBEE_QUEEN_LISTEN", "127.0.0.1:0");
        command.env("RBEE_WORKER_PROGRAM", worker).env("RBEE_OLLAMA", "true");
        command
    }
}

/// Serves the page to whoever asks for anything, until this process ends, and returns its URL.
fn serve(page: String) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("there is no free port")?;
    let url = format!("http://{}/", listener.local_addr().context("there is no free port")?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let length = page.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            // A browser that goes away has had enough.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(page.as_bytes()));
        }
    });
    Ok(url)
}
