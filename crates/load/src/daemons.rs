//! Real daemons in a home of their own: a queen, its hive, and workers that do what they are told.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rbee_home::{Announcement, Lock};
use rbee_protocol::{
    Client, HiveReport, InferRequest, JobEvent, Message, ModelRef, Operation, Role, StopRequest,
    SubmitRequest, WorkerId,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A queen is ready within this, also after a crash.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Everything has stopped within this.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// Variables of the environment that set up the daemons.
pub(crate) type Settings<'s> = &'s [(&'s str, &'s str)];

/// A worker that does what it is told, and one that has a model.
const SCRIPTED: &str = "examples/scripted_worker";
const REAL: &str = "rbee-worker";

/// The queen and the hive of one home. Both end with this value, however it ends.
pub(crate) struct Daemons {
    setup: Setup,
    queen: Child,
    hive: Pid,
    key: String,
    /// The home, where it goes with the daemons.
    _temporary: Option<TempDir>,
}

/// What every queen of a home is started with.
struct Setup {
    home: PathBuf,
    programs: PathBuf,
    worker: &'static str,
    settings: Vec<(String, String)>,
    address: SocketAddr,
}

impl Daemons {
    /// Starts a queen and its hive from the programs in `programs`, with so many models.
    pub(crate) async fn start(programs: &Path, models: usize, settings: Settings<'_>) -> Result<Self> {
        let home = temporary()?;
        let mut daemons = Self::start_in(home.path(), programs, models, settings).await?;
        daemons._temporary = Some(home);
        Ok(daemons)
    }

    /// The same in the folder `home`, which stays.
    pub(crate) async fn start_in(
        home: &Path,
        programs: &Path,
        models: usize,
        settings: Settings<'_>,
    ) -> Result<Self> {
        // What is in the file does not matter to a worker that has no engine.
        place_models(home, models, |path| fs::write(path, ""))?;
        Self::start_with(home, programs, SCRIPTED, settings).await
    }

    /// The same with workers that do compute: so many models, each of them the one in the file `model`.
    pub(crate) async fn start_real(
        programs: &Path,
        model: &Path,
        models: usize,
        settings: Settings<'_>,
    ) -> Result<Self> {
        let home = temporary()?;
        place_models(home.path(), models, |path| {
            fs::hard_link(model, path).or_else(|_| fs::copy(model, path).map(drop))
        })?;
        let mut daemons = Self::start_with(home.path(), programs, REAL, settings).await?;
        daemons._temporary = Some(home);
        Ok(daemons)
    }

    async fn start_with(
        home: &Path,
        programs: &Path,
        worker: &'static str,
        settings: Settings<'_>,
    ) -> Result<Self> {
        for program in ["rbee-queen", "rbee-hive", worker] {
            let path = programs.join(program);
            if !path.is_file() {
                bail!("there is no {}: `cargo xtask soak` builds what is needed", path.display());
            }
        }
        // The same port for every queen, so that clients find the next one; free until the first takes it.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("there is no free port")?;
        let (home, programs) = (home.to_owned(), programs.to_owned());
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = settings.collect();
        let setup = Setup { home, programs, worker, settings, address };
        let queen = setup.spawn_queen().await?;
        let key = fs::read_to_string(setup.home.join("config/operator.key"))
            .context("the queen left no operator's key")?;
        let key = key.trim().to_owned();
        // Waits for the hive.
        let hive = pid(hive_report(address, &key).await?.pid)?;
        Ok(Self { setup, queen, hive, key, _temporary: None })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.setup.address
    }

    /// The file in which the queen keeps its jobs.
    pub(crate) fn journal(&self) -> PathBuf {
        self.setup.home.join("state/journal.sqlite")
    }

    /// The command `rbee` in this home.
    pub(crate) fn command(&self) -> Command {
        self.setup.command("rbee")
    }

    pub(crate) fn operator_key(&self) -> &str {
        &self.key
    }

    /// The queen's process.
    pub(crate) fn queen(&self) -> Result<Pid> {
        pid(self.queen.id().context("the queen has ended")?)
    }

    /// The hive's process.
    pub(crate) fn hive(&self) -> Pid {
        self.hive
    }

    /// The processes of the workers that there are at the moment, by their names.
    pub(crate) async fn workers(&self) -> Result<Vec<(WorkerId, Pid)>> {
        let report = self.hive_report().await?;
        report.workers.into_iter().map(|worker| Ok((worker.worker, pid(worker.pid)?))).collect()
    }

    /// What the hive tells about itself.
    pub(crate) async fn hive_report(&self) -> Result<HiveReport> {
        hive_report(self.setup.address, &self.key).await
    }

    /// The socket of the hive, or of a worker.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.setup.home.join("state/run").join(format!("{name}.sock"))
    }

    /// Kills the queen, as `kill -9` does, and returns when it is gone.
    pub(crate) async fn kill_queen(&mut self) -> Result<()> {
        self.queen.kill().await.context("cannot kill the queen")
    }

    /// Starts another queen in place of the one that was killed, and tells how long it took to be ready.
    pub(crate) async fn start_queen(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.queen = self.setup.spawn_queen().await?;
        Ok(began.elapsed())
    }

    /// Starts another queen and kills it after `delay`, ready or not.
    pub(crate) async fn start_and_kill_queen(&mut self, delay: Duration) -> Result<()> {
        self.queen = self.setup.command("rbee-queen").spawn().context("cannot start the queen")?;
        // How long it lives is what is being varied.
        tokio::time::sleep(delay).await;
        self.kill_queen().await
    }

    /// Stops queen, hive and workers in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let client = client(self.setup.address, &self.key)?;
        client.stop(StopRequest::default()).await.context("the queen does not take the request to stop")?;
        let status = timeout(STOP_TIMEOUT, self.queen.wait()).await.context("the queen does not stop")?;
        let status = status.context("cannot wait for the queen")?;
        if !status.success() {
            bail!("the queen stopped with {status}");
        }
        if Lock::is_held(&self.setup.home.join("state/hive.lock"))? {
            bail!("the queen stopped without its hive");
        }
        Ok(())
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        // Whatever has ended already cannot be killed. Workers end with their hive.
        let _ = self.queen.start_kill();
        let hive_runs = Lock::is_held(&self.setup.home.join("state/hive.lock")).unwrap_or(false);
        if hive_runs {
            let _ = kill_process(self.hive, Signal::KILL);
        }
    }
}

/// A job that does what `script` says on the model of this number.
pub(crate) fn infer(model_index: usize, script: String) -> SubmitRequest {
    SubmitRequest::new(Operation::Infer(InferRequest {
        model: Some(model(model_index)),
        messages: vec![Message::new(Role::User, script)],
        ..Default::default()
    }))
}

/// The folder with the programs of the same build as this one.
pub(crate) fn programs_beside() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    Ok(program.parent().context("a program is in a folder")?.to_owned())
}

/// The name of the model of this number.
pub(crate) fn model(index: usize) -> ModelRef {
    ModelRef::new(format!("load-{index}"))
}

fn temporary() -> Result<TempDir> {
    tempfile::Builder::new().prefix("rbee-load-").tempdir().context("cannot create a temporary folder")
}

/// Puts so many models into the store of the home in `home`, the file of each made by `make`.
fn place_models(home: &Path, models: usize, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    let folder = home.join("data/models");
    fs::create_dir_all(&folder).context("cannot create the folder for models")?;
    for index in 0..models {
        make(&folder.join(format!("{}.gguf", model(index).as_str())))
            .context("cannot create a model's file")?;
    }
    Ok(())
}

impl Setup {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env("RBEE_HOME", &self.home)
            .env("RBEE_QUEEN_LISTEN", self.address.to_string())
            .env("RBEE_WORKER_PROGRAM", self.programs.join(self.worker))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is for this program, which then stops the others.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    async fn spawn_queen(&self) -> Result<Child> {
        let mut queen = self.command("rbee-queen").spawn().context("cannot start the queen")?;
        let stdout = queen.stdout.take().context("stdout was asked to be piped")?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        timeout(READY_TIMEOUT, stdout.read_line(&mut line))
            .await
            .context("the queen does not become ready")?
            .context("the queen cannot be heard")?;
        match Announcement::parse(&line) {
            Some(Announcement::Ready(_)) => Ok(queen),
            Some(Announcement::Failed { message, .. }) => bail!("the queen does not start: {message}"),
            Some(Announcement::Working) | None => bail!("the queen ended before it was ready"),
        }
    }
}

/// What the hive tells about itself, once it is there.
async fn hive_report(address: SocketAddr, key: &str) -> Result<HiveReport> {
    let client = client(address, key)?;
    let job = client.submit(&SubmitRequest::new(Operation::HiveStatus { hive: None })).await?;
    let mut follow = client.follow(&job.job_id, 0);
    while let Some(followed) = follow.next().await? {
        match followed.event {
            JobEvent::Result { result } => {
                return serde_json::from_value(result).context("the hive's report makes no sense");
            }
            JobEvent::End(end) => bail!("the hive did not come up: {:?}", end.error),
            _ => {}
        }
    }
    bail!("the hive said nothing")
}

fn client(address: SocketAddr, key: &str) -> Result<Client> {
    Ok(Client::tcp(&format!("http://{address}"), key)?)
}

fn pid(raw: u32) -> Result<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw).with_context(|| format!("{raw} is no process"))
}
