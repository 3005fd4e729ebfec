//! What the project does to itself: build tools, tests, checks.
#![forbid(unsafe_code)]

mod build;
mod clients;
mod dist;
mod door;
mod fuzz;
mod generated;
mod leaks;
mod licenses;
mod load;
mod peers;
mod printer;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::tools::Tools;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the programs, as `./rbee` does when they are not up to date
    Build {
        /// Build `rbee-worker` too, and with it llama.cpp
        #[arg(long)]
        worker: bool,
    },
    /// Run every check and every test, obtaining what they need first
    Test {
        /// Passed on to `cargo nextest run`
        #[arg(last = true)]
        nextest: Vec<String>,
    },
    /// Try the queen's door with schemathesis, as an operator and as a user
    Door,
    /// Load real daemons: all of isolation, kill, slow, soak, disk, restart, cancel, or one of them
    Soak {
        /// Which; all without one
        name: Option<String>,
        /// Passed on to `rbee-load`, e.g. `--short`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure side by side with others
    Bench {
        /// What: `streams`, `infer` for answers, `memory` for workers' memory beside what they computed, `apis` for
        /// what it costs to speak other APIs, or `cli` for how soon commands are done
        #[arg(value_parser = ["streams", "infer", "memory", "apis", "cli"])]
        name: String,
        /// Beside what answers are measured: `build` for llama.cpp's own server, which is compiled once, or the
        /// URL of a server of the OpenAI API's style; `build` if absent
        #[arg(long, value_name = "build|URL")]
        peer: Option<String>,
        /// Passed on to `rbee-load`, e.g. `--short`, or for answers `--pairs 3 --only decode,company`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Plant each leak of `xtask/leaks` in a copy of the sources, and say which tests catch it
    Leaks {
        /// Only those with one of these in their names
        names: Vec<String>,
    },
    /// Have libFuzzer try the check of GGUF files
    Fuzz {
        /// For how long
        #[arg(long, default_value_t = 300)]
        seconds: u32,
    },
    /// Check the rules of the workspace that the compiler does not
    Tidy,
    /// Write the shell completions, the pages of the manual and the description of the API
    Gen {
        /// Only say whether the committed ones are up to date
        #[arg(long)]
        check: bool,
    },
    /// Pack what is shipped into `target/dist`, built for all processors of this kind, and try it
    Dist {
        /// Pack the programs in this folder instead of building them
        #[arg(long, value_name = "FOLDER")]
        programs: Option<PathBuf>,
    },
    /// Obtain the clients of other APIs that tests run, for whoever runs those by hand
    Clients,
    /// Obtain the tools that compile llama.cpp and print their environment as `export` lines
    Tools,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let workspace = Workspace::load()?;
    match command {
        Command::Build { worker } => build::programs(&workspace, worker),
        Command::Test { nextest } => test::run(&workspace, &nextest),
        Command::Door => door::run(&workspace),
        Command::Soak { name, arguments } => load::soak(&workspace, name.as_deref(), &arguments),
        Command::Bench { name, peer, arguments } => {
            load::bench(&workspace, &name, peer.as_deref(), &arguments)
        }
        Command::Leaks { names } => leaks::run(&workspace, &names),
        Command::Fuzz { seconds } => fuzz::run(&workspace, seconds),
        Command::Tidy => tidy::check(&workspace),
        Command::Gen { check } => {
            build::programs(&workspace, false)?;
            generated::generate(&workspace, check)
        }
        Command::Dist { programs } => dist::run(&workspace, programs.as_deref()),
        Command::Clients => clients::Clients::obtain(&workspace).map(drop),
        Command::Tools => {
            Tools::obtain(&workspace)?.exports()?.iter().for_each(|line| printer::data(line));
            Ok(())
        }
    }
}
