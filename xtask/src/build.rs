//! Builds the programs.
//!
//! Every build selects the whole workspace and narrows it by target. Cargo unites the features of what is
//! selected, so other selections (`-p rbee`) give shared dependencies other features, and compile them, and
//! perhaps llama.cpp, again.

use std::io::{self, IsTerminal};

use anyhow::Result;

use crate::printer;
use crate::tools::Tools;
use crate::workspace::{Workspace, execute};

/// The programs that compile without C++.
const LIGHT_PROGRAMS: [&str; 3] = ["rbee", "rbee-queen", "rbee-hive"];
/// The program that carries llama.cpp.
pub(crate) const WORKER: &str = "rbee-worker";

/// Builds the programs in release mode, and `rbee-worker` too where `with_worker`.
pub(crate) fn programs(workspace: &Workspace, with_worker: bool) -> Result<()> {
    let mut build = workspace.cargo(["build", "--release", "--workspace"]);
    for program in LIGHT_PROGRAMS {
        build.args(["--bin", program]);
    }
    if with_worker {
        build.args(["--bin", WORKER]);
        Tools::obtain(workspace)?.apply(&mut build)?;
    }
    if !io::stderr().is_terminal() {
        build.arg("--quiet");
    }

    if with_worker && !workspace.program(WORKER).exists() {
        printer::say("compiling llama.cpp for this machine: about 5 minutes on two cores, this once");
    } else if LIGHT_PROGRAMS.iter().any(|program| !workspace.program(program).exists()) {
        printer::say("compiling rbee: about 2 minutes on two cores, this once");
    }
    execute(&mut build)
}
